"""Refuse a manifest that cannot be rendered, or disagrees with what it declares."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.errors import ManifestError, StoreError
from lensflow.lensing.components import OF_BANDS, check_components
from lensflow.lensing.image_positions import image_positions
from lensflow.lensing.rows import GAMMA_RULE, RULES, SIS_RULE
from lensflow.manifest.cosmology import theta_e_from_redshifts

_Problem = tuple[str, str, NDArray[np.bool_]]


def check_manifest(manifest: xr.Dataset) -> None:
    """Refuse a manifest that cannot be rendered.

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
    _check_components(manifest)
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


def _check_components(manifest: xr.Dataset) -> None:
    """Refuse bulges and knots that cannot be rendered, and those of controls."""
    if not any(v.name in manifest for v in schema.COMPONENTS):
        return
    wrong = [v.name for v in schema.COMPONENTS if v.name not in manifest or manifest[v.name].dims != v.dims]
    if wrong:
        raise StoreError(f"not a manifest dataset: {wrong[0]} is missing, or has other dims than bulges and knots have")
    columns = {v.name: manifest[v.name].values.astype(np.float64) for v in schema.COMPONENTS}
    control, row_id = manifest["is_control"].values, manifest["row_id"].values

    def refuse(bad: NDArray[np.bool_], values: NDArray[Any], column: str, rule: str) -> None:
        if bad.any():
            where = tuple(int(v) for v in np.argwhere(bad)[0])
            raise ManifestError(
                f"manifest row {where[0]} (row_id {int(row_id[where[0]])}): {column} is {values[where]:g}; it must be "
                f"{rule}."
            )

    check_components(columns, ~control, ~control & (manifest["src_id"].values != ""), refuse)
    for name in (*OF_BANDS, "src_knots"):
        value = columns[name].reshape(len(control), -1)
        refuse(control[:, None] & (value != 0), value, name, "0 in a control, which has no source")


def _problems(manifest: xr.Dataset) -> Iterator[_Problem]:
    control = manifest["is_control"].values
    model = manifest["lens_model"].values
    host, theta_e = manifest["host_index"].values, manifest["theta_e_arcsec"].values
    yield "host_index", "rows must be sorted by host_index", np.diff(host, prepend=host[:1]) < 0
    yield "lens_model", "CONTROL is the model of controls, and only theirs", (model == "CONTROL") != control
    yield "theta_e_arcsec", "a control has theta_e_arcsec 0", control & (theta_e != 0)
    round_lens = (model == "SIS") & (manifest["lens_q"].values != 1)
    yield "lens_q", f"lens_q must be {SIS_RULE}", round_lens
    image = manifest["src_id"].values != ""
    yield "src_id", "a control has no source", control & image
    for name, (rule, holds) in RULES.items():
        value = manifest[name].values
        # An image has neither a Sersic index nor an axis ratio.
        asked = ~control & ~image if name in ("src_n", "src_q") else ~control
        yield name, f"an injection needs {name} {rule}", asked & ~(np.isfinite(value) & holds(value))
    gamma = manifest["lens_gamma"].values
    yield "lens_gamma", f"an injection needs lens_gamma {GAMMA_RULE[0]}", ~control & ~GAMMA_RULE[1](gamma)
    passed = manifest["mw_transmission"].values
    wrong = ~((passed > 0) & (passed <= 1)).all(axis=1)
    yield "mw_transmission", "an injection needs mw_transmission in (0, 1]", ~control & wrong
    flux = manifest["src_flux_nmgy"].values
    yield "src_flux_nmgy", "src_flux_nmgy must be finite and >= 0", ~((flux >= 0) & np.isfinite(flux)).all(axis=1)


def check_declared(
    manifest: xr.Dataset, hosts: xr.Dataset, declared: Mapping[str, Any], given: Collection[str] = (), first: int = 0
) -> None:
    """Refuse a block of a manifest that disagrees with what it declares.

    Parameters
    ----------
    manifest : Dataset
        Rows, in memory.
    hosts : Dataset
        The cutouts' tables of hosts ``first``, ``first + 1``, ... as far as the rows need them.
    declared : mapping
        The manifest's attribute ``declared``.
    given : collection of str
        Columns that a user's table gave (attribute ``given``).
    first : int
        Host index of the first of ``hosts``.

    Raises
    ------
    ManifestError
        Naming the first row that is not as declared, and how many others there are.
    """
    for name, rule, bad in _undeclared(manifest, hosts, declared, given, first):
        if bad.any():
            row = int(np.argmax(bad))
            raise ManifestError(
                f"manifest row {row} (row_id {int(manifest['row_id'].values[row])}): {name} is "
                f"{manifest[name].values[row]}; declared is {rule}. {int(bad.sum()) - 1} other row(s) alike."
            )


def _undeclared(
    manifest: xr.Dataset, hosts: xr.Dataset, declared: Mapping[str, Any], given: Collection[str], first: int
) -> Iterator[_Problem]:
    arcs = ~manifest["is_control"].values
    model, theta_e = manifest["lens_model"].values, manifest["theta_e_arcsec"].values
    yield "lens_q", "a round lens (SIS)", arcs & (model == "SIS") & (manifest["lens_q"].values != 1)
    isothermal = (model == "SIS") | (model == "SIE")
    yield "lens_gamma", "an isothermal lens (SIS, SIE)", arcs & isothermal & (manifest["lens_gamma"].values != 2)
    least = declared.get("theta_e_min_arcsec", 0.0)
    yield "theta_e_arcsec", f"no less than {least:g}", arcs & (theta_e < least)
    if "theta_e_arcsec" not in given:
        src_z, lens_z, sigma_v = (manifest[n].values for n in ("src_z", "lens_z", "lens_sigma_v_km_s"))
        known = arcs & np.isfinite(src_z) & np.isfinite(lens_z) & np.isfinite(sigma_v)
        yield "src_z", "a source behind its lens", known & (src_z <= lens_z)
        known &= src_z > lens_z
        expected = np.full(len(arcs), np.nan)
        expected[known] = theta_e_from_redshifts(sigma_v[known], lens_z[known], src_z[known])
        wrong = known & ~np.isclose(theta_e, expected, rtol=1e-6, atol=0)
        yield "theta_e_arcsec", "that of the row's lens_sigma_v_km_s, lens_z and src_z", wrong
        of = manifest["host_index"].values - first
        for name, column in (("lens_z", "z_lens"), ("lens_sigma_v_km_s", "sigma_v_km_s")):
            if name not in given:
                of_host = _of_hosts(hosts, column)[of]
                yield name, f"the host's {column}", known & (of_host > 0) & (manifest[name].values != of_host)
    images = int(declared.get("src_min_images", 1))
    counted = np.flatnonzero(arcs & isothermal)
    if images > 1 and counted.size:
        names = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec")
        count = image_positions(*(manifest[n].values[counted] for n in names)).count
        few = np.zeros(len(arcs), bool)
        few[counted] = (count < images) & (count != -1)
        yield "src_x_arcsec", f"a position with {images} images or more", few


def _of_hosts(hosts: xr.Dataset, name: str) -> NDArray[np.float64]:
    known = name in hosts
    return hosts[name].values.astype(np.float64) if known else np.full(hosts.sizes["host"], np.nan)
