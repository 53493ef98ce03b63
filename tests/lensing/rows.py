"""Rows to render, hypothesis strategies, and the one statistic that errors are judged by."""

import numpy as np
from hypothesis import strategies as st

Manifest = dict[str, np.ndarray]

BENIGN = {
    "lens_model": "SIE",
    "theta_e_arcsec": 1.4,
    "lens_q": 0.7,
    "lens_phi_rad": 0.6,
    "shear": 0.04,
    "shear_phi_rad": 2.1,
    "src_x_arcsec": 0.22,
    "src_y_arcsec": -0.15,
    "src_reff_arcsec": 0.4,
    "src_n": 1.0,
    "src_q": 0.8,
    "src_phi_rad": 1.1,
    "src_flux_nmgy": [3.0, 5.0, 8.0],
    "psf_fwhm_arcsec": [1.5, 1.3, 1.2],
    "x_center": 31.7,
    "y_center": 31.4,
}


def one_row(**changes) -> Manifest:
    """A manifest of one easy row, with changes."""
    row = {**BENIGN, **changes}
    return {k: np.array([v]) for k, v in row.items()}


def random_rows(n: int, seed: int = 1, bands: int = 3, **changes) -> Manifest:
    """Rows in the usual ranges; every fourth an SIS, ``changes`` as whole columns or scalars."""
    rng = np.random.default_rng(seed)
    rows = {
        "lens_model": np.where(np.arange(n) % 4 == 3, "SIS", "SIE"),
        "theta_e_arcsec": rng.uniform(0.4, 2.5, n),
        "lens_q": rng.uniform(0.4, 1, n),
        "lens_phi_rad": rng.uniform(0, np.pi, n),
        "shear": rng.uniform(0, 0.1, n),
        "shear_phi_rad": rng.uniform(0, np.pi, n),
        "src_x_arcsec": rng.uniform(-0.5, 0.5, n),
        "src_y_arcsec": rng.uniform(-0.5, 0.5, n),
        "src_reff_arcsec": rng.uniform(0.15, 0.6, n),
        "src_n": np.ones(n),
        "src_q": rng.uniform(0.3, 1, n),
        "src_phi_rad": rng.uniform(0, np.pi, n),
        "src_flux_nmgy": rng.uniform(1, 20, (n, bands)),
        "psf_fwhm_arcsec": rng.uniform(1.1, 1.7, (n, bands)),
        "x_center": rng.uniform(31, 32, n),
        "y_center": rng.uniform(31, 32, n),
    }
    for key, value in changes.items():
        rows[key] = np.broadcast_to(np.asarray(value), rows[key].shape).copy()
    rows["lens_q"][rows["lens_model"] == "SIS"] = 1
    return rows


def with_components(rows: Manifest, seed: int = 0, knots: int = 4, places: int = 6, **changes) -> Manifest:
    """Rows with a red bulge and blue knots in their discs; ``changes`` as for ``random_rows``."""
    rng = np.random.default_rng(seed)
    n, bands = rows["src_flux_nmgy"].shape
    away = np.full((2, n, places), np.nan)
    away[..., :knots] = rng.normal(0, 0.7, (2, n, knots)) * rows["src_reff_arcsec"][:, None]
    reff, weight = np.full((n, places), np.nan), np.full((n, places), np.nan)
    reff[:, :knots] = rng.uniform(0.02, 0.08, (n, knots))
    weight[:, :knots] = rng.dirichlet(np.ones(knots), n)
    columns = {
        "src_bulge_share": np.linspace(0.1, 0.4, bands) * np.ones((n, 1)),
        "src_bulge_reff_arcsec": 0.3 * rows["src_reff_arcsec"],
        "src_bulge_n": rng.uniform(1, 4, n),
        "src_bulge_q": rng.uniform(0.6, 1, n),
        "src_bulge_phi_rad": rng.uniform(0, np.pi, n),
        "src_knots": np.full(n, knots),
        "src_knots_share": np.linspace(0.4, 0.1, bands) * np.ones((n, 1)),
        "src_knot_x_arcsec": away[0],
        "src_knot_y_arcsec": away[1],
        "src_knot_reff_arcsec": reff,
        "src_knot_weight": weight,
    }
    for name, value in changes.items():
        columns[name] = np.broadcast_to(np.asarray(value, dtype=np.float64), columns[name].shape).copy()
    return rows | columns


def take(rows: Manifest, index) -> Manifest:
    """The rows at ``index`` (a slice, list or array)."""
    return {k: v[index] for k, v in rows.items()}


def scalars(rows: Manifest, i: int = 0) -> dict:
    """Row ``i`` as the reference renderer takes it."""
    return {k: v[i] for k, v in rows.items()}


def error_over_peak(arc: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Largest error over the truth's peak, per row: the worst of its bands."""
    arc, truth = np.asarray(arc, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    return (np.abs(arc - truth).max(axis=(2, 3)) / truth.max(axis=(2, 3))).max(axis=1)


def wide_rows(n: int, seed: int, model: str = "SIE", index: float = 1.0, size: int = 64) -> Manifest:
    """Rows over the whole ranges that the accuracy is promised for; sources in reach of the caustics."""
    rng = np.random.default_rng(seed)
    theta_e = rng.uniform(0.2, 3, n)
    offset, angle = theta_e * np.sqrt(rng.uniform(0, 0.8, n)), rng.uniform(0, 2 * np.pi, n)
    offset[::3] *= 0.15
    middle = (size - 1) / 2
    rows = {
        "lens_model": np.where(np.arange(n) % 4 == 3, "SIS", "SIE") if model == "SIE" else np.full(n, model),
        "theta_e_arcsec": theta_e,
        "lens_q": rng.uniform(0.33, 1, n),
        "lens_phi_rad": rng.uniform(0, np.pi, n),
        "lens_gamma": rng.uniform(1.7, 2.3, n),
        "shear": rng.uniform(0, 0.1, n),
        "shear_phi_rad": rng.uniform(0, np.pi, n),
        "src_x_arcsec": offset * np.cos(angle),
        "src_y_arcsec": offset * np.sin(angle),
        "src_reff_arcsec": np.exp(rng.uniform(np.log(0.04), np.log(1.5), n)),
        "src_n": np.full(n, index),
        "src_q": rng.uniform(0.25, 1, n),
        "src_phi_rad": rng.uniform(0, np.pi, n),
        "src_flux_nmgy": np.ones((n, 2)),
        "psf_fwhm_arcsec": np.exp(rng.uniform(np.log(0.8), np.log(3.8), (n, 2))),
        "x_center": middle + rng.uniform(-0.5, 0.5, n),
        "y_center": middle + rng.uniform(-0.5, 0.5, n),
    }
    rows["lens_q"][rows["lens_model"] == "SIS"] = 1
    return rows


def alternating_models(n: int) -> np.ndarray:
    """One PSF model per row."""
    return np.where(np.arange(n) % 2 == 0, "moffat", "gaussian")


def flux_error(arc: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Relative error of the stamp's flux, per row: the worst of its bands."""
    sums = (np.asarray(a, dtype=np.float64).sum(axis=(2, 3)) for a in (arc, truth))
    ours, theirs = sums
    return np.abs(ours / theirs - 1).max(axis=1)


axis_ratios = st.floats(0.33, 1.0)
angles = st.floats(0.0, np.pi)
einstein_radii = st.floats(0.2, 3.0)
positions = st.floats(-5.0, 5.0)
