"""Refuse a manifest that cannot be rendered as it stands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.errors import ManifestError
from lensflow.lensing.rows import GAMMA_RULE, RULES

_Problem = tuple[str, str, NDArray[np.bool_]]


def check_manifest(manifest: xr.Dataset) -> None:
    """Refuse a manifest that cannot be rendered as it stands.

    Parameters
    ----------
    manifest : Dataset
        In memory; its rows sorted by host.

    Raises
    ------
    StoreError
        If a variable of ``schema.MANIFEST`` is missing.
    ManifestError
        Naming the first row that is wrong, its value and how many others there are.
    """
    schema.check("manifest", manifest)
    for name, rule, bad in _problems(manifest):
        if bad.any():
            row = int(np.argmax(bad))
            raise ManifestError(
                f"manifest row {row} (row_id {int(manifest['row_id'].values[row])}): {name} is "
                f"{manifest[name].values[row]}; {rule}. {int(bad.sum()) - 1} other row(s) alike."
            )
    ids = np.sort(manifest["row_id"].values)
    twice = ids[1:][ids[1:] == ids[:-1]]
    if twice.size:
        times = int((ids == twice[0]).sum())
        raise ManifestError(f"row_id {twice[0]} appears {times} times; row ids must be unique.")


def _problems(manifest: xr.Dataset) -> Iterator[_Problem]:
    control = manifest["is_control"].values
    model = manifest["lens_model"].values
    host, theta_e = manifest["host_index"].values, manifest["theta_e_arcsec"].values
    yield "host_index", "rows must be sorted by host_index", np.diff(host, prepend=host[:1]) < 0
    yield "lens_model", "CONTROL is the model of controls, and only theirs", (model == "CONTROL") != control
    yield "theta_e_arcsec", "a control has theta_e_arcsec 0", control & (theta_e != 0)
    image = manifest["src_id"].values != ""
    yield "src_id", "a control has no source", control & image
    for name, (rule, holds) in RULES.items():
        value = manifest[name].values
        # An image has neither a Sersic index nor an axis ratio of its own to go by.
        asked = ~control & ~image if name in ("src_n", "src_q") else ~control
        yield name, f"an injection needs {name} {rule}", asked & ~(np.isfinite(value) & holds(value))
    gamma = manifest["lens_gamma"].values
    yield "lens_gamma", f"an injection needs lens_gamma {GAMMA_RULE[0]}", ~control & ~GAMMA_RULE[1](gamma)
    flux = manifest["src_flux_nmgy"].values
    yield "src_flux_nmgy", "src_flux_nmgy must be finite and >= 0", ~((flux >= 0) & np.isfinite(flux)).all(axis=1)
