"""Render rows of pairs whose pixels are not stored: the bits that a run with stored pixels has.

Everything is found from the store itself: the settings in its identity (a config file may have changed since), the
manifest and the cutouts beside it. Every row is compared with the checksum that was kept when it was first rendered, so
that other code, hosts, images or another machine's arithmetic is an error and never another pixel.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import RenderedPixelsError, StoreError
from lensflow.injection import Room, inject_block
from lensflow.injection.rounding import as_stored
from lensflow.store import objects, resume
from lensflow.store.blocks import hosts_among, hosts_of, read_manifest_block
from lensflow.store.read import open_array, read_array, store_group
from lensflow.store.receipts import ROW_CHECKS
from lensflow.store.regions import Region
from lensflow.store.row_checks import checksums_of_rows
from lensflow.store.run_folder import Places, settings_of_identity

if TYPE_CHECKING:
    from lensflow.manifest.source_bank import SourceBank

# Most bytes of arrays that were rendered beside a wanted one and may be wanted next.
KEPT_BYTES = 2**28

Pixels = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class _Recipe:
    config: RunConfig
    sources: SourceBank | None
    # Array -> its column of the rows' checksums.
    columns: dict[str, int]


def render_rows(
    places: Places,
    group: zarr.Group,
    numbers: NDArray[np.int64],
    out: Pixels,
    manifest: xr.Dataset | None = None,
    hosts: xr.Dataset | None = None,
    keep_others: bool = False,
) -> None:
    """Render rows of one region into arrays.

    Parameters
    ----------
    places : Places
    group : zarr.Group
        The pairs, opened by :func:`lensflow.store.read.store_group`.
    numbers : ndarray of int64, shape (n,)
        Rows of the manifest, rising.
    out : mapping
        Array that the store renders -> where its rows belong, shape (n, band, y, x).
    manifest, hosts : Dataset, optional
        Those rows of the manifest and (at least) their hosts, if they are in memory already.
    keep_others : bool
        Whether arrays that are rendered beside the wanted ones are kept for whoever wants them next: for Dask, which
        asks for one array at a time.

    Raises
    ------
    RenderedPixelsError
        If the code is not the run's, or a row has other bits than it had.
    """
    if not len(numbers):
        return
    refuse_other_code(places.pairs, group)
    recipe = _recipe(places, str(group.attrs["fingerprint"]), str(group.attrs.get("layout", "")))
    others = [name for name in recipe.columns if name not in out]
    n_bytes = sum(values.nbytes for values in out.values())
    in_turn = numbers[-1] - numbers[0] + 1 == len(numbers)
    if not (keep_others and others and in_turn) or n_bytes > KEPT_BYTES:
        _render(places, group, recipe, numbers, out, manifest, hosts)
        return
    key = (*places, str(group.attrs["fingerprint"]), int(numbers[0]), len(numbers))
    with _kept.flight(key):
        had = _kept.take(key)
        if set(out) <= set(had):
            for name, values in out.items():
                values[...] = had[name]
            return
        like = next(iter(out.values()))
        spare = {name: np.empty_like(like) for name in others}
        _render(places, group, recipe, numbers, {**out, **spare}, manifest, hosts)
        _kept.keep(key, spare)


def refuse_other_code(url: str, group: zarr.Group) -> None:
    """Refuse to render pixels of a run that was made by other code than this.

    Raises
    ------
    RenderedPixelsError
    """
    identity: Any = group.attrs.get("identity", {})
    made, here = identity.get("lensflow.code"), resume.code_fingerprint()
    if made != here:
        raise RenderedPixelsError(
            f"{url}: its pixels are not stored (store.pixels) but rendered when they are read, and this code may "
            f"render others: the run was made by lensflow {identity.get('lensflow.version')} (code {made}), and this "
            f"is code {here}. Read it with that version, or let that version store the pixels once: "
            f"`lensflow materialise {objects.run_of(url)}`. Metrics, flags, manifest and results can be read by any."
        )


@lru_cache(maxsize=16)
def _recipe(places: Places, _fingerprint: str, _layout: str) -> _Recipe:
    group = store_group(places.pairs, "pairs")
    identity: Any = group.attrs["identity"]
    config = settings_of_identity(identity, objects.run_of(places.pairs))
    columns: Any = open_array(places.pairs, group, ROW_CHECKS).attrs["columns"]
    return _Recipe(config, _sources(config), {str(name): k for k, name in enumerate(columns)})


def _sources(config: RunConfig) -> SourceBank | None:
    if config.plan.sources is None:
        return None
    from lensflow.manifest.image_sources import bank_of  # the image library is only read if there are images

    return bank_of(config)


def _render(
    places: Places,
    group: zarr.Group,
    recipe: _Recipe,
    numbers: NDArray[np.int64],
    out: Pixels,
    manifest: xr.Dataset | None,
    hosts: xr.Dataset | None,
) -> None:
    first, last = int(numbers[0]), int(numbers[-1])
    if manifest is None:
        manifest = read_manifest_block(places.manifest, Region(0, first, last + 1))
        if len(numbers) < last + 1 - first:
            manifest = manifest.isel(sample=numbers - first)
    _refuse_other_manifest(places, group, manifest)
    host_index = manifest["host_index"].values
    if hosts is None:
        hosts = hosts_of(places.cutouts, host_index)
    checks = read_array(places.pairs, group, ROW_CHECKS, slice(first, last + 1))[numbers - first]
    parts = list(Region(0, 0, len(numbers)).parts())
    room = Room.of(max(part.size for part in parts), hosts)
    for part in parts:
        rows = part.slice
        some = manifest.isel(sample=rows)
        theirs = hosts_among(hosts, host_index[rows])
        block = inject_block(theirs, some, recipe.config.injection, recipe.sources, room=room)
        block = as_stored(block, theirs, some, recipe.config.store, with_ctrl=False)
        for name, wanted in out.items():
            values = np.ascontiguousarray(block[name].values, dtype=np.float32)
            other = checksums_of_rows(values) != checks[rows, recipe.columns[name]]
            if other.any():
                raise _other_bits(places, group, recipe.config, int(numbers[rows][np.argmax(other)]), name)
            wanted[rows] = values


def _refuse_other_manifest(places: Places, group: zarr.Group, manifest: xr.Dataset) -> None:
    identity: Any = group.attrs["identity"]
    if manifest.attrs.get("fingerprint") != identity.get("inputs.manifest"):
        raise RenderedPixelsError(
            f"{places.manifest}: not the manifest that {places.pairs} was made from, whose pixels are rendered when "
            "they are read. Put that manifest back, or make the run again in another out."
        )


def _other_bits(places: Places, group: zarr.Group, config: RunConfig, row: int, name: str) -> RenderedPixelsError:
    """Say what may be behind a row's other bits."""
    identity: Any = group.attrs["identity"]
    way_out = "Put back what the run was made of, or make it again in another out."
    folder, limit = objects.folder_of(places.cutouts), config.plan.limit_hosts
    try:
        cutouts = resume.finished_content(folder, places.cutouts, "cutouts", "lensflow cut", limit)
    except StoreError as error:
        cutouts = str(error)
    bank = _sources(config)
    if cutouts != identity.get("inputs.cutouts"):
        why = f"{places.cutouts} has not the hosts that the run was made of"
    elif bank is not None and fingerprint(bank.content()) != identity.get("inputs.sources"):
        why = "the images of plan.sources are not those that the run was made of"
    else:
        why = "settings, code, manifest and hosts are the run's, so it is this machine"
        way_out = (
            "Another type of processor, or another version of a library, rounds otherwise. Read the run on a machine "
            "like the one that made it, or store its pixels there: "
            f"`lensflow materialise {objects.run_of(places.pairs)}`."
        )
    return RenderedPixelsError(
        f"{places.pairs}: row {row} is rendered here with another {name} than it had, by the checksum that the run "
        f"keeps: {why}. {way_out}"
    )


class _Kept:
    """Arrays that were rendered beside a wanted one, until they are wanted or others take their place."""

    def __init__(self) -> None:
        self._lock, self._flights = threading.Lock(), [threading.Lock() for _ in range(64)]
        self._arrays: OrderedDict[tuple[Any, ...], dict[str, NDArray[np.float32]]] = OrderedDict()

    def flight(self, key: tuple[Any, ...]) -> threading.Lock:
        """Lock under which one thread renders what others wait for."""
        return self._flights[hash(key) % len(self._flights)]

    def take(self, key: tuple[Any, ...]) -> dict[str, NDArray[np.float32]]:
        """Arrays of a key, which are no longer kept; none if there are none."""
        with self._lock:
            return self._arrays.pop(key, {})

    def keep(self, key: tuple[Any, ...], arrays: dict[str, NDArray[np.float32]]) -> None:
        """Keep arrays; the oldest go where there are too many bytes."""
        with self._lock:
            self._arrays[key] = arrays
            while sum(a.nbytes for of in self._arrays.values() for a in of.values()) > KEPT_BYTES:
                self._arrays.popitem(last=False)


_kept = _Kept()
