"""Test whether the data on disk belong to this run; if not, name the settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from lensflow._version import __version__
from lensflow.config import RunConfig, fingerprint
from lensflow.errors import DamagedStoreError, StaleStoreError, StoreError
from lensflow.store import code_identity, objects, paths, receipts
from lensflow.store.read import read_attrs, stored_regions

# Code whose change can change stored bytes; reports and diagnostics do not.
_PIXEL_CODE = (
    *("geometry.py", "rng.py", "schema.py"),
    *("presets", "lensing", "fits", "survey", "targets", "manifest", "injection"),
)
# Code whose change can change the results of diagnostics and gates for the same bytes.
_MEASURING_CODE = (*_PIXEL_CODE, "stats", "measure")


def code_fingerprint() -> str:
    """Return the fingerprint (16 hex digits) of the code that decides stored bytes; other code never resumes them."""
    return _digest(_PIXEL_CODE)


def measuring_code_fingerprint() -> str:
    """Return the fingerprint (16 hex digits) of the measuring code, so that old results are not taken for new."""
    return _digest(_MEASURING_CODE)


@cache
def _digest(parts: tuple[str, ...]) -> str:
    return code_identity.digest_of(parts)


def identity(config: RunConfig, stage: str, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that a stage's stored result depends on, as flat keys.

    Parameters
    ----------
    config : RunConfig
    stage : {"cutouts", "manifest", "pairs"}
    inputs : mapping
        Name -> fingerprint of what the stage reads.
    """
    return {
        **config.settings_of(stage),
        **{f"inputs.{k}": v for k, v in inputs.items()},
        "lensflow.version": __version__,
        "lensflow.code": code_fingerprint(),
    }


def may_resume(url: str, wanted: Mapping[str, Any], unknown: Collection[str] = ()) -> bool:
    """Return whether a store at ``url`` can be continued; False if there is none.

    Parameters
    ----------
    url : str
    wanted : mapping
        As :func:`identity`.
    unknown : collection of str
        Keys that are not compared, because they are not known yet.

    Raises
    ------
    StaleStoreError
        If a store made with other settings, inputs or code is there; the message names the differing keys.
    """
    if not paths.group_exists(url):
        if paths.list_names(url) and paths.exists(objects.record_url(url)):
            raise DamagedStoreError(url, objects.ROOT, "is missing")
        return False
    attrs = dict(objects.open_group(url).attrs)
    stored = attrs.get("identity")
    if not isinstance(stored, Mapping):
        raise StoreError(f"{url}: a zarr store that lensflow did not make is in the way. Choose another out.")
    if attrs.get("complete") is False:
        return False  # its creation was interrupted: it cannot contain anything yet
    if not unknown and attrs.get("fingerprint") == fingerprint(wanted):
        return True
    keys = [k for k in differing_keys(stored, wanted) if k not in unknown]
    if unknown and not keys:
        return True
    shown = [f"  {k}: stored {_short(stored, k)}, now {_short(wanted, k)}" for k in keys[:12]]
    more = f"\n  and {len(keys) - 12} more" if len(keys) > 12 else ""
    raise StaleStoreError(
        f"{url}: holds the result of another run; {len(keys)} key(s) differ:\n"
        + "\n".join(shown)
        + more
        + "\nChoose another out, restore those settings, or delete this folder to start over."
    )


def differing_keys(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Keys in which two identities differ."""
    return sorted(k for k in {*stored, *wanted} if stored.get(k, _MISSING) != wanted.get(k, _MISSING))


def finished_content(folder: str, store_url: str, store: str, command: str, first_rows: int | None = None) -> str:
    """Fingerprint of a finished store's values, and of the attributes that results depend on.

    Parameters
    ----------
    folder : str
        Its receipts.
    store_url, store : str
    command : str
        The command that finishes the store, for the message.
    first_rows : int, optional
        Only the regions with the first N rows matter; by default, all.

    Raises
    ------
    StoreError
        If a region lacks a valid receipt.
    """
    whole = stored_regions(store_url, store)
    regions = [r for r in whole if first_rows is None or r.start < first_rows]
    done = receipts.read_receipts(folder)
    expected = str(read_attrs(store_url, store).get("fingerprint"))
    todo = receipts.without_receipt(done, regions, expected)
    if todo:
        raise StoreError(
            f"{store_url}: {len(todo)} of {len(regions)} regions are not finished. Run `{command}` again: it continues "
            "where it stopped."
        )
    created = objects.read_created(store_url)
    return fingerprint(created.meaning, [(r.index, done[r.index].values) for r in regions])


def other_inputs(pairs_url: str, manifest_url: str, cutouts_url: str) -> dict[str, str]:
    """Of manifest and cutouts, what pairs were not made from: name -> URL of what is in its place.

    Parameters
    ----------
    pairs_url, manifest_url, cutouts_url : str

    Notes
    -----
    What the pairs do not name, and stores that are not there or not whole, count as theirs: who reads them says what is
    wrong.
    """
    identity: Any = read_attrs(pairs_url, "pairs").get("identity", {})
    limit, folder, found = identity.get("plan.limit_hosts"), objects.folder_of(cutouts_url), {}
    there: dict[str, Callable[[], Any]] = {
        "manifest": lambda: read_attrs(manifest_url, "manifest").get("fingerprint"),
        "cutouts": lambda: finished_content(folder, cutouts_url, "cutouts", "lensflow cut", limit),
    }
    for name, url in (("manifest", manifest_url), ("cutouts", cutouts_url)):
        with suppress(StoreError):
            if (made_of := identity.get(f"inputs.{name}")) is not None and there[name]() != made_of:
                found[name] = url
    return found


def refuse_other_inputs(pairs_url: str, manifest_url: str, cutouts_url: str) -> None:
    """Refuse a manifest or cutouts that pairs were not made from: truth, controls and stamps would be of other rows.

    Raises
    ------
    StaleStoreError
    """
    stores = pairs_url, manifest_url, cutouts_url
    files = [paths.join(url, objects.ROOT) for url in stores]
    files += [objects.record_url(cutouts_url), objects.folder_of(cutouts_url)]
    state = paths.state_of(*files)
    if state is not None and _refused_nothing.get(stores) == state:
        return
    for url in other_inputs(*stores).values():
        raise StaleStoreError(
            f"{url}: not what {pairs_url} was made from, so these stores do not belong together: its truth or its "
            "controls would be those of other rows. Put back what was there, or make the run again in another out."
        )
    if state is not None:
        if len(_refused_nothing) >= _KEPT:
            _refused_nothing.clear()
        _refused_nothing[stores] = state


# Stores on a local disk that belong together, and what their metadata, and the folder of the receipts, were then.
_refused_nothing: dict[tuple[str, str, str], Any] = {}
_KEPT = 64
_MISSING = object()


def _short(mapping: Mapping[str, Any], key: str) -> str:
    text = repr(mapping[key]) if key in mapping else "(not set)"
    return text if len(text) <= 60 else text[:57] + "..."
