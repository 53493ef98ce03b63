"""Known differences between arcs and the sky, and the readable feature that names each.

The sky is a small run of smooth sources; each difference is put into the injections of other hosts, and every feature
of the two is compared as real lenses and injections are. A feature names a difference if it tells the sides apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lensflow import rng
from lensflow.config import RealismConfig, RunConfig
from lensflow.lensing.render import Rendering, render
from lensflow.measure.lens_light import Light
from lensflow.measure.realism.compare import compare
from lensflow.measure.realism.features import NAMES, pairs_features
from lensflow.measure.realism.samples import MatchedRows
from lensflow.measure.zoo.small_run import SmallRun, small_run
from lensflow.units import nmgy_of_mag

Columns = Mapping[str, Any]
Renderer = Callable[..., Rendering]
# Clumps of a source: how many, their share of its light, their half-light radius, and how far they lie from its centre
# in half-light radii of the source.
CLUMPS, CLUMP_SHARE, CLUMP_REFF_ARCSEC, CLUMP_SPREAD = 5, 0.6, 0.04, 1.2
INJECTIONS_PER_SET = 4


def _with(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Renderer:
    """Make a renderer of rows and settings that were changed."""

    def faulty(manifest: Columns, **how: Any) -> Rendering:
        rows, settings = dict(manifest), dict(how)
        change(rows, settings)
        return render(rows, **settings)

    return faulty


def _fainter(rows: dict[str, Any], how: dict[str, Any]) -> None:
    rows["src_flux_nmgy"] = nmgy_of_mag(22.5 + 1.0) * np.asarray(rows["src_flux_nmgy"])


def _redder(rows: dict[str, Any], how: dict[str, Any]) -> None:
    # g, r, z: half a magnitude in either colour, r as it was.
    rows["src_flux_nmgy"] = np.asarray(rows["src_flux_nmgy"]) * 10 ** (-0.4 * np.array([0.5, 0.0, -0.5]))


def _wider(rows: dict[str, Any], how: dict[str, Any]) -> None:
    rows["psf_fwhm_arcsec"] = 1.2 * np.asarray(rows["psf_fwhm_arcsec"])


def _gaussian(rows: dict[str, Any], how: dict[str, Any]) -> None:
    how["psf_model"] = "gaussian"


def _gaussian_and_wider(rows: dict[str, Any], how: dict[str, Any]) -> None:
    _wider(rows, how)
    _gaussian(rows, how)


def _radial(rows: dict[str, Any], how: dict[str, Any]) -> None:
    # Sources far outside the caustic: one image each, hardly stretched.
    for name in ("src_x_arcsec", "src_y_arcsec"):
        rows[name] = 4.0 * np.asarray(rows[name])


def clumpy(colours: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Renderer:
    """Make a renderer whose sources have clumps.

    Parameters
    ----------
    colours : (float, float, float)
        Factors on the clumps' light in g, r and z; the rest of the source loses what they gain, so that the source
        keeps its flux in each band.
    """

    def faulty(manifest: Columns, **how: Any) -> Rendering:
        lit = np.isfinite(np.asarray(manifest["src_reff_arcsec"])) & (np.asarray(manifest["theta_e_arcsec"]) > 0)
        reff = np.where(lit, manifest["src_reff_arcsec"], np.nan)
        ids = np.asarray(manifest["row_id"], dtype=np.uint64)
        place = rng.normal(1, ids, "zoo.clumps", 2 * CLUMPS).reshape(-1, CLUMPS, 2) * CLUMP_SPREAD / np.sqrt(2)
        away, there = reff[:, None, None] * place, np.where(lit, 1.0, np.nan)[:, None] * np.ones(CLUMPS)
        clumps = {
            "src_knots": np.where(lit, CLUMPS, 0),
            "src_knots_share": np.where(lit[:, None], CLUMP_SHARE * np.asarray(colours), 0.0),
            "src_knot_x_arcsec": away[..., 0],
            "src_knot_y_arcsec": away[..., 1],
            "src_knot_reff_arcsec": CLUMP_REFF_ARCSEC * there,
            "src_knot_weight": there / CLUMPS,
        }
        return render({**manifest, **clumps}, **how)

    return faulty


@dataclass(frozen=True)
class Difference:
    """One known difference.

    Attributes
    ----------
    name, what : str
    named_by : tuple of str
        Features that must tell the sides apart; others may.
    renderer : callable
        What renders the injections.
    hosts : int
        Galaxies of a sky on which it is found (:func:`sky`).
    """

    name: str
    what: str
    named_by: tuple[str, ...]
    renderer: Renderer
    hosts: int = 240


DIFFERENCES = (
    Difference("arcs + 1 mag", "injections fainter by a magnitude", ("arc_mag", "arc_mu"), _with(_fainter)),
    Difference("colours + 0.5", "g - r and r - z redder by half a magnitude", ("arc_gr", "arc_rz"), _with(_redder)),
    Difference("gaussian for moffat", "a Gaussian PSF of the Moffat's FWHM", ("local_var",), _with(_gaussian)),
    Difference("moffat x 1.2", "a PSF of 1.2 times the FWHM", ("local_var",), _with(_wider)),
    # A Gaussian of 1.2 times the FWHM has the noise-equivalent area of a Moffat of beta 3.5: only how a knot falls off
    # tells them apart.
    Difference("gaussian for moffat x 1.2", "both at once", ("peak_shape",), _with(_gaussian_and_wider),
               hosts=480),
    Difference("clumpy sources", "60 % of a source's light in five clumps", ("knots", "local_var"), clumpy()),
    Difference("blue clumps", "the same, the clumps bluer than the rest", ("colour_scatter",), clumpy((1.5, 1.0, 0.6))),
    Difference("sources far out", "sources four times farther from the lens", ("arc_radius", "arc_fill"),
               _with(_radial)),
)  # fmt: skip


def settings(per_host: int = 4, seed: int = 5) -> RunConfig:
    """Config of a run whose arcs are as bright as those that surveys from the ground show.

    Parameters
    ----------
    per_host : int
        Injections.
    seed : int
    """
    plan = {
        "preset": "realistic",
        "theta_e_from": "prior",
        "theta_e_arcsec": {"min": 1.0, "max": 1.8},
        "src_mag_range": {"min": 20.5, "max": 22.5, "distribution": "uniform"},
        "injections_per_host": per_host,
    }
    return RunConfig.model_validate({"out": "-", "seed": seed, "survey": {"root": "-", "targets": "-"}, "plan": plan})


def sky(hosts: int = 240, seed: int = 5) -> SmallRun:
    """Galaxies without neighbours, and the plan of their arcs.

    Parameters
    ----------
    hosts, seed : int
    """
    return small_run(hosts, config=settings(seed=seed), light=(0.1, 0.4), survey_sky=True, neighbours=0)


@dataclass(frozen=True, eq=False)
class Sides:
    """Features of a run's injections, of the sky and of each difference, measured once."""

    run: SmallRun
    light: Light = "radial"

    def features(self, renderer: Renderer = render) -> xr.Dataset:
        """Features of the injection rows, in the manifest's order."""
        rows = self.run.manifest.isel(sample=np.flatnonzero(~self.run.manifest["is_control"].values))
        return pairs_features(self.run.pairs(renderer, rows), self.run.hosts, light=self.light).rows


def compared(real: xr.Dataset, injected: xr.Dataset, seed: int = 1) -> xr.Dataset:
    """Compare every feature of the sky with that of injections on other hosts.

    Parameters
    ----------
    real, injected : Dataset
        Of the same rows (:meth:`Sides.features`): of the first, one row of each even host; of the second, rows of odd
        ones.
    seed : int

    Returns
    -------
    Dataset
        :func:`lensflow.measure.realism.compare.compare`.
    """
    host = real["host_index"].values
    even = np.flatnonzero(host % 2 == 0)
    lenses = even[np.unique(host[even], return_index=True)[1]]
    others = np.flatnonzero(host % 2 == 1)
    n = min(len(lenses), len(others) // INJECTIONS_PER_SET)
    lenses, others = lenses[:n], others[: n * INJECTIONS_PER_SET]
    values = [np.stack([ds[name].values[at] for name in NAMES], axis=1)
              for ds, at in ((real, lenses), (injected, others))]  # fmt: skip
    sets = np.concatenate([np.arange(n), np.repeat(np.arange(n), INJECTIONS_PER_SET)])
    rows = MatchedRows.of(NAMES, np.concatenate(values), np.arange(len(sets)) < n, sets)
    return compare(rows, RealismConfig(bootstrap=200, permutations=499), seed)


def table(
    run: SmallRun | None = None,
    light: Light = "radial",
    seed: int = 1,
    differences: Sequence[Difference] = DIFFERENCES,
) -> xr.Dataset:
    """Compare the sky with every difference, and with itself.

    Parameters
    ----------
    run : SmallRun, optional
        By default :func:`sky`: half a minute of one core.
    light : {"radial", "smooth"}
        Model of the lens's light.
    seed : int
    differences : sequence of Difference, optional
        Those that take a larger sky (``hosts``) are in the table, too, and may not be found.

    Returns
    -------
    Dataset, dims put_in, feature
        ``auc`` (0.5: alike; above: larger on the sky), ``difference`` of the means in standard deviations, ``p_holm``
        (corrected for the number of features) and ``named``: the feature must tell the sides apart. The first row,
        ``none``, is the sky against itself.
    """
    sides = Sides(sky() if run is None else run, light)
    real = sides.features()
    found = [compared(real, real, seed), *(compared(real, sides.features(d.renderer), seed) for d in differences)]
    out = xr.concat([ds[["auc", "difference", "p_holm"]] for ds in found], "put_in", join="exact")
    named = np.zeros((len(found), len(NAMES)), bool)
    for k, d in enumerate(differences, start=1):
        named[k] = np.isin(NAMES, d.named_by)
    out["named"] = (("put_in", "feature"), named)
    return out.assign_coords(put_in=["none", *(d.name for d in differences)])
