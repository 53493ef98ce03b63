"""Extend a finished run: more rows per host, or more hosts, after the existing rows.

A row's random numbers depend on the seed, its host and its replicate alone, so a larger plan holds every row of a
smaller one, to the bit. The new rows go behind the old ones: the manifest is the rows of the first plan, then those
that the second one adds (sorted by host again), and so on. Old rows keep their number, their row_id, their shards and
their bytes; only the last region, where it was not full, is done again. docs/decisions/0011-extending.md says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lensflow.config import RunConfig, fingerprint
from lensflow.errors import StaleStoreError
from lensflow.run.identity import cutouts_content, manifest_identity
from lensflow.run.plan_size import EXTENDABLE, extends, is_larger, sizes_of
from lensflow.store import create, objects, paths, receipts
from lensflow.store.open import stored_regions
from lensflow.store.run_folder import RunFolder


def parts_of(config: RunConfig) -> list[dict[str, int | None]]:
    """Sizes of the plans of a run's rows, in order; the config's own is the last.

    Read from the stores: the pairs know the parts that they have, the manifest may be a part ahead.
    """
    folder, now = RunFolder.of(config), sizes_of(config)
    known: list[dict[str, int | None]] = []
    for url in (folder.pairs, folder.manifest):
        if not paths.group_exists(url):
            continue
        attrs = objects.open_group(url).attrs
        identity: Any = attrs.get("identity")
        if not isinstance(identity, Mapping):
            continue
        found: Any = attrs.get("parts") or [{name: identity.get(f"plan.{name}") for name in EXTENDABLE}]
        if len(found) > len(known):
            known = [dict(p) for p in found]
    before = [p for p in known if is_larger(p, now)]
    return [*before, now]


def configs_of(config: RunConfig, parts: Sequence[Mapping[str, int | None]]) -> list[RunConfig]:
    """The config as it was for each part."""
    return [config.model_copy(update={"plan": config.plan.model_copy(update=dict(p))}) for p in parts]


def extend_pairs(
    config: RunConfig, wanted: Mapping[str, Any], n_rows: int, guard: objects.Guard = objects.unguarded
) -> bool:
    """Lengthen the pairs of a smaller plan, if the folder has such.

    Parameters
    ----------
    config : RunConfig
    wanted : mapping
        Identity of the pairs that there shall be.
    n_rows : int
        Rows of the larger manifest.
    guard : callable, optional
        Raises once the folder is another run's.

    Returns
    -------
    bool
        Whether the store was extended.

    Notes
    -----
    In this order, so that the same call continues wherever it was stopped: the receipt of a last region that is not
    full goes; the arrays grow; the receipts of full regions take the new fingerprint; then the store does. Until then
    the store counts as the smaller one.
    """
    folder = RunFolder.of(config)
    if not paths.group_exists(folder.pairs):
        return False
    stored: Any = objects.open_group(folder.pairs).attrs.get("identity")
    if not extends(stored, wanted):
        return False
    _refuse_other_cutouts(config, stored)
    guard()
    regions = stored_regions(folder.pairs, "pairs")
    old, new = fingerprint(stored), fingerprint(wanted)
    if regions.n_rows % regions.rows and n_rows > regions.n_rows:
        receipts.remove_receipts(folder.receipts("pairs"), [regions[len(regions) - 1]])
    create.grow_store(folder.pairs, n_rows)
    full = [r for r in regions if r.size == regions.rows or n_rows == regions.n_rows]
    receipts.restamp(folder.receipts("pairs"), full, old, new)
    attrs = {"identity": dict(wanted), "fingerprint": new, "n_rows": n_rows, "parts": parts_of(config)}
    guard()
    create.seal_grown(folder.pairs, attrs)
    return True


def _refuse_other_cutouts(config: RunConfig, stored: Mapping[str, Any]) -> None:
    """Check that the hosts of the smaller plan are those of its rows."""
    smaller = configs_of(config, [{name: stored[f"plan.{name}"] for name in EXTENDABLE}])[0]
    if cutouts_content(smaller) != stored.get("inputs.cutouts"):
        raise StaleStoreError(
            f"{RunFolder.of(config).pairs}: the cutouts are not those of its rows, so it cannot be extended. Choose "
            f"another out."
        )


def manifest_extends(config: RunConfig) -> bool:
    """Whether the folder's manifest belongs to a smaller plan that this config extends.

    Raises
    ------
    StaleStoreError
        If its hosts are not those that were cut.
    """
    folder = RunFolder.of(config)
    if not paths.group_exists(folder.manifest):
        return False
    stored: Any = objects.open_group(folder.manifest).attrs.get("identity")
    if not extends(stored, manifest_identity(config, cutouts_content(config))):
        return False
    _refuse_other_cutouts(config, stored)
    return True
