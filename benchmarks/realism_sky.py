"""How often a comparison with real lenses is balanced, right and wrong, on a synthetic sky of your choice.

    python benchmarks/realism_sky.py [--draws 60] [--lenses 80] [--which second]

Galaxies of a synthetic survey get one arc each. In every draw some of them are the real lenses (with their own arcs,
with redder or with brighter ones, or chosen among the bluer and brighter galaxies) and the others the run's hosts;
matching, balance and the area of the readable features are those of ``lensflow realism``. A verdict here is balance
and interval alone: PASS below ``max_auc``, FAIL at or above it.

``first`` is the sky on which the covariates were chosen; ``second`` has another seed, redder and fainter hosts, better
seeing and Einstein radii of 0.6 to 1.2".
"""

from __future__ import annotations

import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, replace
from unittest.mock import patch

import numpy as np
import typer
import xarray as xr

import lensflow as lf
from lensflow.config import RealismConfig
from lensflow.measure.realism.features import NAMES, pairs_features
from lensflow.measure.realism.host_light import measured_covariates
from lensflow.measure.realism.matching import match
from lensflow.measure.realism.probe import probe
from lensflow.measure.realism.samples import MatchedRows
from lensflow.run.realism.hosts import reliability
from lensflow.survey.synthetic import draw, sky
from lensflow.units import nmgy_of_mag

SETTINGS = RealismConfig(bootstrap=200, permutations=99)


@dataclass(frozen=True)
class Sky:
    """What a sky is made of: what is added to hosts' r, g - r and r - z, and multiplied with the PSF's width."""

    seed: int
    fainter: float
    redder: float
    seeing: float
    theta_e: tuple[float, float]
    source_mag: tuple[float, float]


SKIES = {
    "first": Sky(7, 0.0, 0.0, 1.0, (1.2, 2.0), (20.5, 22.5)),
    "second": Sky(1907, 0.5, 0.15, 0.85, (0.6, 1.2), (21.0, 23.0)),
    "blurred": Sky(2711, 0.5, 0.15, 1.15, (0.6, 1.2), (21.0, 23.0)),
}
# Change of the real lenses' arcs, magnitudes in g, r, z.
ARCS = {"the same": (0.0, 0.0, 0.0), "redder by 0.5 in g": (0.5, 0.0, 0.0), "1 mag brighter": (-1.0, -1.0, -1.0)}


@dataclass(frozen=True, eq=False)
class Measured:
    """Covariates of every galaxy without an arc and, by the arcs' change, with one; features with one."""

    bare: xr.Dataset
    light: dict[str, xr.Dataset]
    features: dict[str, np.ndarray]


def measured(which: Sky, bricks: int, hosts: int) -> Measured:
    """Make a sky and measure it."""
    recipes = {
        b: replace(r, psfsize_median_arcsec=r.psfsize_median_arcsec * which.seeing) for b, r in sky.RECIPES.items()
    }
    with ExitStack() as stack:
        for name, shift in (("HOST_R_MAG", which.fainter), ("HOST_G_R", which.redder), ("HOST_R_Z", which.redder)):
            stack.enter_context(patch.object(draw, name, tuple(v + shift for v in getattr(draw, name))))
        for module in (sky, draw):
            stack.enter_context(patch.object(module, "RECIPES", recipes))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        config = lf.load_config({
            "out": folder, "seed": which.seed,
            "survey": {"synthetic": {"n_bricks": bricks, "brick_size_pix": 1000, "hosts_per_brick": hosts,
                                     "bricks_without_g": 0}, "failure_budget": 1.0},
            "plan": {"preset": "realistic", "psf_beta": 3.5, "injections_per_host": 1, "controls_per_host": 0,
                     "theta_e_from": "prior", "theta_e_arcsec": dict(zip(("min", "max"), which.theta_e, strict=True)),
                     "src_mag_range": dict(zip(("min", "max"), which.source_mag, strict=True))},
            "cluster": {"kind": "threads", "workers": 1, "dashboard": None},
        })  # fmt: skip
        cutouts = lf.cut(config).load()
    usable = cutouts["status"].values != 2
    cutouts = cutouts.isel(host=np.flatnonzero(usable))
    manifest = lf.plan_injections(cutouts, config)
    light, features = {}, {}
    for name, change in ARCS.items():
        flux = manifest["src_flux_nmgy"] * (nmgy_of_mag(np.array(change)) / nmgy_of_mag(0.0))
        flux = flux.assign_attrs(manifest["src_flux_nmgy"].attrs)
        pairs = lf.inject(cutouts, manifest.assign(src_flux_nmgy=flux), config).load()
        on = cutouts.isel(host=pairs["host_index"].values)
        light[name] = measured_covariates(on.assign(image=(on["image"].dims, pairs["stamp"].values)))
        rows = pairs_features(pairs, cutouts).rows
        features[name] = np.stack([rows[n].values for n in NAMES], axis=1)
    bare = measured_covariates(cutouts.isel(host=pairs["host_index"].values))
    return Measured(bare, light, features)


def chance(bare: xr.Dataset) -> np.ndarray:
    """Chance of a bluer, brighter galaxy to be a real lens."""
    scores = []
    for name in ("g_r", "mag_z"):
        v = bare[name].values
        scores.append(np.clip(np.nan_to_num((np.nanmedian(v) - v) / np.nanstd(v), nan=-9.0), -9, 3))
    return np.where(scores[0] > -9, np.exp(scores[0] + 0.5 * scores[1]), 0.0)


def one(
    seed: int, of: Measured, arcs: str, bluer: bool, bare: bool, n_lenses: int, k: int, caliper_sd: float
) -> list[float]:
    """One draw: sets, balanced, g - r before matching, true g - r after, AUC and its interval."""
    random = np.random.default_rng(seed)
    n = of.bare.sizes["host"]
    weight = chance(of.bare) if bluer else np.ones(n)
    lenses = random.choice(n, n_lenses, replace=False, p=weight / weight.sum())
    hosts = np.setdiff1d(np.arange(n), lenses)
    names = xr.DataArray([f"{i:05d}" for i in range(n)], dims="host")
    sides = [(of.bare if bare else of.light[a]).assign(host_id=names) for a in (arcs, "the same")]
    own, theirs = sides[0].isel(host=lenses), sides[1].isel(host=hosts)
    share = None if bare else reliability(of.bare.isel(host=hosts), theirs)
    found = match(own, theirs, k=k, caliper_sd=caliper_sd, seed=seed, reliability=share)
    real, matched = lenses[found.sets["real_row"].values], hosts[found.sets["host_row"].values]
    of_real, of_host = of.features[arcs], of.features["the same"]
    seen = of_host[matched, 0] >= SETTINGS.min_arc_snr
    kept = (of_real[real, 0] >= SETTINGS.min_arc_snr) & seen.any(axis=1)
    real, matched, seen = real[kept], matched[kept], seen[kept]
    g_r = of.bare["g_r"].values
    after = (np.nanmean(g_r[real]) - np.nanmean(g_r[matched])) / np.nanstd(g_r) if real.size else np.nan
    before = float(found.balance["smd_before"].sel(covariate="g_r"))
    if real.size < 10:
        return [real.size, float(found.reason == ""), before, after, np.nan, np.nan, np.nan]
    sets = np.arange(real.size)
    rows = MatchedRows.of(
        NAMES, np.concatenate([of_real[real], of_host[matched[seen]]]), np.arange(real.size + seen.sum()) < real.size,
        np.concatenate([sets, np.broadcast_to(sets[:, None], matched.shape)[seen]]),
    )  # fmt: skip
    area = probe(rows, SETTINGS, seed, "benchmark", permutations=0).area
    return [real.size, float(found.reason == ""), before, after, area.value, area.low, area.high]


def main(draws: int = 60, lenses: int = 80, which: str = "second", bricks: int = 6, hosts: int = 165, per_lens: int = 2,
         caliper_sd: float = 0.25) -> None:  # fmt: skip
    """Print shares of verdicts."""
    warnings.filterwarnings("ignore")
    of = measured(SKIES[which], bricks, hosts)
    snr = of.features["the same"]
    mag = np.nanmedian(snr[:, list(NAMES).index("arc_mag")])
    share = ", ".join(f"{k} {v:.2f}" for k, v in reliability(of.bare, of.light["the same"]).items())
    print(f"{which}: {of.bare.sizes['host']} galaxies; arcs of r = {mag:.2f} as measured, "
          f"arc_snr {np.nanmedian(snr[:, 0]):.0f}, "
          f"psfsize {np.nanmedian(of.bare['psfsize_r_arcsec']):.2f}; reliability {share}", flush=True)  # fmt: skip
    for arcs, bluer, bare in (("the same", False, False), ("the same", False, True), ("the same", True, False),
                              ("the same", True, True), ("redder by 0.5 in g", False, False),
                              ("1 mag brighter", False, False)):  # fmt: skip
        v = np.array([one(s, of, arcs, bluer, bare, lenses, per_lens, caliper_sd) for s in range(draws)])
        balanced, low, high = v[:, 1] > 0, v[:, 5], v[:, 6]
        apart = (low > 0.5) | (high < 0.5)
        side = f"{'bluer, brighter' if bluer else 'the same':15s} covariates {'without arcs' if bare else 'as now':12s}"
        print(f"arcs {arcs:18s} hosts {side}: sets {v[:, 0].mean():.0f}, g - r before {v[:, 2].mean():+.2f}, "
              f"balanced {balanced.mean():.0%}, true g - r after {np.nanmean(v[:, 3]):+.2f}, "
              f"AUC {np.nanmean(v[:, 4]):.2f} +- {np.nanstd(v[:, 4]):.2f}, "
              f"PASS {(balanced & (high < SETTINGS.max_auc)).mean():.0%}, "
              f"FAIL {(balanced & (low >= SETTINGS.max_auc)).mean():.0%}, interval without 0.5 {apart.mean():.0%}, "
              f"of the balanced {apart[balanced].mean():.0%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
