"""Regression of the core offset on the rows' properties.

Ordinary least squares from sums X'X, X'y, y'y per host; standard errors are cluster-robust (sandwich, by host),
since rows of one host share its pixels (Cameron & Miller 2015, Journal of Human Resources 50, 317).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from lensflow.measure.measurement import Settings
from lensflow.measure.pixels.block import Block
from lensflow.stats.estimate import with_interval
from lensflow.stats.hostsums import Floats, HostSums, flat_rows, named, ratio, same_layout

PREDICTORS = ("theta_e_arcsec", "total_injected_flux_nmgy", "arc_snr")
PREDICTOR_UNITS = ("arcsec", "nMgy", "1")
# Total flux and peak SNR use the same pixels as the core offset: a slope there proves nothing.
CONTAINS_RESPONSE = (False, True, True)
TERMS = ("theta_e_arcsec", "log10_src_flux_nmgy", "src_reff_arcsec", "src_offset_arcsec")
# The simple regressions once more, of what is left in the core without the arc: their slopes should be 0.
RESIDUAL_MODELS = tuple(range(len(PREDICTORS) + 1, 2 * len(PREDICTORS) + 1))
# Below this share of its sum of squares a predictor's variation is rounding: it is constant.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class Fit:
    """Least squares with an intercept: coefficients (intercept first), their errors and sample sizes."""

    coefficient: Floats
    std_error: Floats
    p_value: Floats
    r2: float
    n_rows: int
    n_units: int


@dataclass(frozen=True, eq=False)
class Regression:
    """Regressions of the mean of ``stamp - ctrl`` over r < 5 pix, per band."""

    bands: tuple[str, ...]
    hosts: HostSums  # columns: for each model and band the upper triangle of [1, x, y]'[1, x, y]

    @classmethod
    def from_block(cls, block: Block) -> Regression:
        """Summarise one block of pairs."""
        d = block.differences
        response, rest = (ratio(d.inside(v), d.inside(d.pixels)[:, None]) for v in (d.difference, d.residual))
        n, n_bands = d.covered.shape

        flux = d.per_band("src_flux_nmgy")
        values = {name: d.per_band(name) for name in (*PREDICTORS, "src_reff_arcsec")}
        values["log10_src_flux_nmgy"] = np.log10(flux, out=np.full(flux.shape, np.nan), where=flux > 0)
        values["src_offset_arcsec"] = np.hypot(d.per_band("src_x_arcsec"), d.per_band("src_y_arcsec"))

        rows, cells = [], []
        for k, names in enumerate(_models()):
            y = rest if k in RESIDUAL_MODELS else response
            design = np.stack([np.ones((n, n_bands)), *(values[name] for name in names), y], axis=-1)
            used = d.covered & np.isfinite(design).all(axis=-1)
            design = np.where(used[..., None], design, 0.0)
            upper = np.triu_indices(design.shape[-1])
            rows.append(flat_rows(design[..., upper[0]] * design[..., upper[1]]))
            cells.append(used)
        return cls(d.bands, HostSums.from_rows(d.host_index, np.concatenate(rows, 1), np.concatenate(cells, 1)))

    def __add__(self, other: Regression) -> Regression:
        same_layout(self.bands, other.bands)
        return Regression(self.bands, self.hosts + other.hosts)

    def fit(self, model: int, band: int) -> Fit:
        """Fit of one model (one per predictor, the manifest parameters together, the residual's) in one band."""
        sizes = [len(names) + 2 for names in _models()]
        widths = [s * (s + 1) // 2 for s in sizes]
        first = sum(widths[:model]) * len(self.bands) + widths[model] * band
        return least_squares(_unpack(self.hosts.sums[:, first : first + widths[model]], sizes[model]))

    def result(self, settings: Settings) -> xr.Dataset:
        """Slopes, intercepts, R^2 and p per predictor and band; no random number is drawn."""
        n_bands = len(self.bands)
        n_hosts = self.hosts.n_hosts.reshape(-1, n_bands)
        simple = [[self.fit(p, b) for b in range(n_bands)] for p in range(len(PREDICTORS))]
        joint = [self.fit(len(PREDICTORS), b) for b in range(n_bands)]
        left = [[self.fit(p, b) for b in range(n_bands)] for p in RESIDUAL_MODELS]

        def table(what: str, term: int) -> Floats:
            return np.array([[getattr(f, what)[term] for f in row] for row in simple])

        def joint_table(what: str) -> Floats:
            return np.array([getattr(f, what) for f in joint]).T

        reach = np.array([[_t95(f.n_units) for f in row] for row in simple])
        slope, error = table("coefficient", 1), table("std_error", 1)
        rest, rest_error = (
            np.array([[getattr(f, k)[1] for f in row] for row in left]) for k in ("coefficient", "std_error")
        )
        dims, terms = ["predictor", "band"], ["term", "band"]
        per = "nMgy/pixel per unit of the predictor"
        robust = "cluster-robust by host (sandwich, t with hosts - 1 degrees of freedom)"
        out = {
            **with_interval(
                "slope",
                dims,
                (slope, (slope - reach * error, slope + reach * error)),
                per,
                "slope of the mean of stamp - ctrl over r < 5 pix on the predictor",
                interval=f"95 % interval, {robust}",
            ),
            "slope_expected": named(dims, slope - rest, per, "slope of the noiseless arcs of the same rows"),
            **with_interval(
                "slope_excess",
                dims,
                (rest, (rest - reach * rest_error, rest + reach * rest_error)),
                per,
                "slope - slope_expected; 0 is expected",
                interval=f"95 % interval, {robust}",
            ),
            "intercept": named(dims, table("coefficient", 0), "nMgy/pixel", "intercept of that line"),
            "r2": named(dims, [[f.r2 for f in row] for row in simple], "1", "share of the variance explained"),
            "p_value": named(dims, table("p_value", 1), "1", f"two-sided p of slope = 0, {robust}"),
            "n_rows": named(dims, [[f.n_rows for f in row] for row in simple], "1", "rows with all values"),
            "n_hosts": named(dims, n_hosts[: len(PREDICTORS)], "1", "hosts of those rows"),
            "predictor_contains_response": named(
                ["predictor"], CONTAINS_RESPONSE, "", "the predictor is made of the core's own pixels, among others"
            ),
            "manifest_coefficient": named(
                terms,
                joint_table("coefficient"),
                per,
                "regression on manifest parameters together; NaN for a parameter that does not vary",
            ),
            "manifest_std_error": named(terms, joint_table("std_error"), per, f"standard error, {robust}"),
            "manifest_p_value": named(terms, joint_table("p_value"), "1", f"two-sided p of 0, {robust}"),
            "manifest_r2": named(["band"], [f.r2 for f in joint], "1", "share of the variance explained"),
            "manifest_n_rows": named(["band"], [f.n_rows for f in joint], "1", "rows with all values"),
            "manifest_n_hosts": named(["band"], n_hosts[len(PREDICTORS)], "1", "hosts of those rows"),
        }
        units = named(["predictor"], list(PREDICTOR_UNITS), "", "unit of the predictor")
        return xr.Dataset(
            out,
            coords={
                "predictor": list(PREDICTORS),
                "band": list(self.bands),
                "term": ["intercept", *TERMS],
                "predictor_units": units,
            },
            attrs={"title": "core offset regression", "errors": robust},
        )


def _models() -> tuple[tuple[str, ...], ...]:
    return (*((name,) for name in PREDICTORS), TERMS, *((name,) for name in PREDICTORS))


def _unpack(packed: Floats, size: int) -> Floats:
    upper = np.triu_indices(size)
    out = np.empty((packed.shape[0], size, size))
    out[:, upper[0], upper[1]] = packed
    out[:, upper[1], upper[0]] = packed
    return out


def _t95(n_units: int) -> float:
    return float(stdtrit(n_units - 1, 0.975)) if n_units >= 2 else np.nan


def least_squares(grams: Floats) -> Fit:
    """Ordinary least squares with cluster-robust errors.

    Parameters
    ----------
    grams : ndarray, shape (clusters, p + 2, p + 2)
        [1, x, y]'[1, x, y] of each cluster.

    Returns
    -------
    Fit
        NaN for predictors that do not vary (they are left out), and for all if the rest is collinear or has too
        few rows.
    """
    gram = grams.sum(axis=0)
    size = gram.shape[0] - 1
    n = round(float(gram[0, 0]))
    n_units = int((grams[:, 0, 0] > 0).sum())
    coefficient, error, p = (np.full(size, np.nan) for _ in range(3))
    nothing = Fit(coefficient, error, p, np.nan, n, n_units)
    if n < 2:
        return nothing
    mean = gram[0] / n
    centred = gram - n * np.outer(mean, mean)
    scale = np.sqrt(np.maximum(np.diag(centred), 0.0))
    varies = np.diag(centred) > _CONSTANT * np.diag(gram)
    use = np.flatnonzero(varies[1:size]) + 1
    if use.size == 0 or n <= use.size + 1:
        return nothing
    unit = centred[np.ix_(use, use)] / np.outer(scale[use], scale[use])
    if np.linalg.cond(unit) > 1 / _CONSTANT:
        return nothing
    slope = np.linalg.solve(unit, centred[use, size] / scale[use]) / scale[use]
    terms = np.concatenate([[0], use])
    beta = np.concatenate([[mean[size] - mean[use] @ slope], slope])
    coefficient[terms] = beta
    rest = max(centred[size, size] - slope @ centred[use, size], 0.0)
    r2 = 1 - rest / centred[size, size] if varies[size] else np.nan
    if n_units >= 2:
        variance = _sandwich(grams, terms, beta, n, n_units)
        error[terms] = np.sqrt(np.maximum(np.diag(variance), 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            p[terms] = 2 * stdtr(n_units - 1, -np.abs(beta / error[terms]))
    return Fit(coefficient, error, p, float(r2), n, n_units)


def _sandwich(grams: Floats, terms: NDArray[np.int64], beta: Floats, n: int, n_units: int) -> Floats:
    size = grams.shape[-1] - 1
    inner = grams[:, terms[:, None], terms[None, :]]
    score = grams[:, terms, size] - inner @ beta  # X'e of each cluster
    total = inner.sum(axis=0)
    scale = np.sqrt(np.diag(total))
    bread = np.linalg.inv(total / np.outer(scale, scale)) / np.outer(scale, scale)
    few = n_units / (n_units - 1) * (n - 1) / (n - terms.size)
    return few * bread @ (score.T @ score) @ bread
