"""The selection function beside the results of a completeness, as zarr: whose it is, and of which run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import xarray as xr
import yaml

from lensflow._version import __version__
from lensflow.config import RunConfig
from lensflow.errors import StoreError
from lensflow.measure.completeness.selection.selection_file import from_file, to_file
from lensflow.run.certificate import parse_certificate
from lensflow.run.completeness.files import results_of
from lensflow.run.identity import pairs_content, stored_key
from lensflow.run.selection import STORE
from lensflow.store import paths, resume
from lensflow.store.arrays import CONTENT, read_arrays, write_arrays
from lensflow.store.digests import sha256_of
from lensflow.store.objects import ROOT
from lensflow.store.open import read_attrs
from lensflow.store.results import current_results
from lensflow.store.run_folder import RunFolder

# Tables that the file keeps; all others are in the results' JSON.
IN_FILE = ("selection", "smooth")
# Attributes that are brought up to date when gates are run or the run is certified.
_OF_THE_DATA = ("data_gates", "certificate_seal")


def selection_of(config: RunConfig, scorer: str) -> str:
    """URL of the zarr store with the selection function of a scorer."""
    return results_of(config, scorer, "zarr")


def keep_selection(config: RunConfig, identity: Mapping[str, str], found: Mapping[str, xr.Dataset]) -> None:
    """Write the selection function; where nothing could be measured, remove an older one.

    Parameters
    ----------
    config : RunConfig
    identity : mapping
        Scorer, fingerprints of what it was made from, key of pixels and settings.
    found : mapping
        As :func:`lensflow.measure.completeness.summary.completeness` gives.
    """
    url = selection_of(config, identity["scorer"])
    if "selection" not in found:
        paths.remove_folder(url)
        return
    content = pairs_content(config)
    about = {**_identity(identity), **_about(config, content, found), **_of_the_data(config, content)}
    write_arrays(url, to_file(found, about), STORE)


def kept_selection(
    config: RunConfig, identity: Mapping[str, str], kept: Mapping[str, Any]
) -> dict[str, xr.Dataset] | None:
    """Tables of the stored selection function; None where it is to be measured again.

    What is known of the data (gates, certificate) is brought up to date in the file.

    Parameters
    ----------
    config : RunConfig
    identity : mapping
        As :func:`keep_selection` takes it.
    kept : mapping
        Tables that the results' JSON holds; without thresholds nothing was measured, and nothing is in the file.

    Returns
    -------
    dict of Dataset, or None
    """
    if "thresholds" not in kept:
        return {}
    url = selection_of(config, identity["scorer"])
    try:
        table = read_arrays(url, STORE)
    except StoreError:
        return None  # absent, half written or damaged
    if any(table.attrs.get(k) != v for k, v in _identity(identity).items()):
        return None
    known = _of_the_data(config, pairs_content(config))
    if any(table.attrs.get(k) != v for k, v in known.items()):
        write_arrays(url, table.assign_attrs(known), STORE)
    return from_file(table)


def selection_digest(url: str) -> str | None:
    """SHA-256 over every byte of a stored selection function, for certificates.

    Parameters
    ----------
    url : str
        Of its zarr store.

    Returns
    -------
    str or None
        None where there is none. What the file says of the data as they stand now (gates, certificate) is left out: a
        certificate cannot hold its own seal. Its checksum guards that, and a file that does not open has no digest
        that an intact one has.
    """
    keys = sorted(paths.sizes_below(url))
    if not keys:
        return None
    parts = {key: paths.sha256(paths.join(url, key)) for key in keys if key != ROOT}
    root: Any = paths.sha256(paths.join(url, ROOT))
    try:
        read_arrays(url, STORE)
        root = json.loads(paths.read_text(paths.join(url, ROOT)))
        root["attributes"] = {k: v for k, v in root["attributes"].items() if k not in (*_OF_THE_DATA, CONTENT)}
    except StoreError:
        pass  # its bytes as they are
    return sha256_of([parts, root])


def outside_the_file(found: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Tables that the results' JSON keeps: all but those of the selection function, which may have millions of cells.

    Parameters
    ----------
    found : mapping

    Returns
    -------
    dict of Dataset
    """
    return {name: ds for name, ds in found.items() if name not in IN_FILE}


def _identity(identity: Mapping[str, str]) -> dict[str, str]:
    names = {"made_from_source": "scorer_fingerprint", "made_from_kind": "scorer_kind"}
    named = {names.get(k, k.replace("made_from_negatives", "negatives_source")): v for k, v in identity.items()}
    return {**named, "code": resume.measuring_code_fingerprint()}


def _about(config: RunConfig, content: str, found: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    of, thresholds = config.completeness, found["thresholds"]
    return {
        "split": of.split,
        "threshold_source": "" if of.threshold is None else next(k for k, v in of.threshold if v is not None),
        "negatives": str(thresholds.attrs["negatives"]),
        "n_negatives": int(thresholds["n_negatives"]),
        "negatives_fingerprint": str(thresholds.attrs["negatives_fingerprint"]),
        **{k: str(found["funnel"].attrs[k]) for k in ("verdict", "reason")},
        **{k: str(thresholds.attrs[k]) for k in ("tautology", "wall", "scorer_note")},
        "prior": yaml.safe_dump(config.effective()["plan"], sort_keys=False),
        "run": config.name,
        "run_fingerprint": str(read_attrs(RunFolder.of(config).pairs, "pairs").get("fingerprint")),
        "pairs_content": content,
        "min_rows": of.min_rows,
        "min_hosts": of.min_hosts,
        "area_deg2": of.sky.area_deg2,
        "lensflow_version": __version__,
        "Conventions": "CF-1.11",
    }


def _of_the_data(config: RunConfig, content: str) -> dict[str, Any]:
    """Verdicts of the gates on these pixels, and the seal of the certificate, as they stand now."""
    folder = RunFolder.of(config)
    gates: Any = current_results(folder.gates, stored_key(config, "gates", content), any_code=True)
    certificate = paths.read_object(folder.certificate)
    seal = None if certificate is None else str(parse_certificate(certificate, folder.certificate)["seal"])
    return dict(zip(_OF_THE_DATA, ({g["name"]: str(g["verdict"]) for g in gates or ()}, seal), strict=True))
