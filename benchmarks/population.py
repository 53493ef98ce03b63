"""What the presets draw, on hosts of the synthetic survey: the tables of docs/population.md.

    python benchmarks/population.py [--per-host 25]

Every galaxy of four synthetic bricks gets the arcs of a preset, rendered with its own PSF and depth; printed are the
5, 50 and 95 % quantiles of all rows, and of those that Collett (2015) would call discoverable: a matched SNR above 20
in g or r, a magnification above 3, theta_E^2 > R_e^2 + (seeing/2)^2 and magnification x R_e > seeing.
"""

from __future__ import annotations

import tempfile
import warnings

import numpy as np
import typer
import xarray as xr
from numpy.typing import NDArray

import lensflow as lf
from lensflow.units import mag_of_flux

QUANTILES = (0.05, 0.5, 0.95)


def columns(pairs: xr.Dataset) -> dict[str, NDArray[np.float64]]:
    """Numbers of every row, by what they are called in the tables."""
    source, arc = (mag_of_flux(pairs[name].values) for name in ("src_flux_nmgy", "total_injected_flux_nmgy"))
    return {
        "theta_E": pairs["theta_e_arcsec"].values,
        "sigma_v": pairs["lens_sigma_v_km_s"].values,
        "lens redshift": pairs["lens_z"].values,
        "source redshift": pairs["src_z"].values,
        "lens axis ratio": pairs["lens_q"].values,
        "shear": pairs["shear"].values,
        "source r": source[:, 1],
        "half-light radius": pairs["src_reff_arcsec"].values,
        "g - r": source[:, 0] - source[:, 1],
        "r - z": source[:, 1] - source[:, 2],
        "magnification": pairs["magnification"].values,
        "arc, total r": arc[:, 1],
        "arc over host, r": pairs["arc_over_host"].values[:, 1],
        "brightest pixel's SNR, best band": np.nanmax(pairs["snr_peak"].values, axis=1),
        "matched SNR, best band": np.nanmax(pairs["snr_matched"].values, axis=1),
    }


def visible(pairs: xr.Dataset, hosts: xr.Dataset) -> NDArray[np.bool_]:
    """Rows that an arc finder would see, by Collett (2015)."""
    seeing, reff = hosts["psfsize_arcsec"].values[pairs["host_index"].values, 1], pairs["src_reff_arcsec"].values
    large = pairs["magnification"].values
    resolved = pairs["theta_e_arcsec"].values ** 2 > reff**2 + (seeing / 2) ** 2
    bright = np.nanmax(pairs["snr_matched"].values[:, :2], axis=1) > 20
    return bright & (large > 3) & resolved & (large * reff > seeing)


def main(per_host: int = 25) -> None:
    """Print the quantiles of ``realistic`` and ``legacy_surveys``."""
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        tree = {
            "out": folder,
            "seed": 1,
            "survey": {"synthetic": {"n_bricks": 4, "hosts_per_brick": 100, "bricks_without_g": 0}},
            "cluster": {"kind": "threads", "dashboard": None},
        }
        cutouts = lf.cut(lf.load_config(tree)).load()
        for preset in ("realistic", "legacy_surveys"):
            plan = {"preset": preset, "injections_per_host": per_host, "controls_per_host": 0}
            config = lf.load_config({**tree, "plan": plan})
            manifest = lf.plan_injections(cutouts, config)
            pairs = lf.inject(cutouts, manifest, config).drop_vars(["arc", "stamp", "ctrl"], errors="ignore").compute()
            pairs = pairs.isel(sample=~pairs["is_control"].values)
            seen = visible(pairs, cutouts)
            host = mag_of_flux(cutouts["flux_nmgy"].values[np.unique(pairs["host_index"].values), 1])
            print(f"\n{preset}: {seen.size:,} rows, {seen.mean():.1%} visible; hosts r {_three(host)}")
            print(f"  {'':34s} {'all':>28s} {'visible':>28s}")
            for name, values in columns(pairs).items():
                print(f"  {name:34s} {_three(values):>28s} {_three(values[seen]):>28s}", flush=True)


def _three(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{v:.3g}" for v in np.nanquantile(values, QUANTILES))


if __name__ == "__main__":
    typer.run(main)
