"""Draw the injections for the hosts that were cut, freeze them, and say what was drawn.

    python workflows/plan_injections.py --config workflows/configs/laptop.yaml

Everything random is drawn here, once; a second call reads what stands there. Needs build_cutouts.py first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import lensflow as lf

SHOWN = ("theta_e_arcsec", "lens_q", "shear", "src_reff_arcsec", "src_n", "src_q")


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan, print the ranges that were drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of the run")
    parser.add_argument("--out", help="folder of the run; replaces the config's out")
    given = parser.parse_args(arguments)
    config = lf.load_config(given.config, out=given.out)

    manifest = lf.plan(config)
    injected = ~manifest["is_control"].values
    print(f"{manifest.sizes['sample']} rows: {injected.sum()} injections, {(~injected).sum()} controls")
    print(f"{'drawn':16} {'min':>8} {'median':>8} {'max':>8}")
    for name in SHOWN:
        low, middle, high = np.percentile(manifest[name].values[injected], (0, 50, 100))
        print(f"{name:16} {low:8.3f} {middle:8.3f} {high:8.3f}")
    for k, band in enumerate(manifest["band"].values):
        psf = manifest["psf_fwhm_arcsec"].values[injected, k]
        print(f"band {band}: {np.isfinite(psf).mean():.1%} of the injections can carry an arc there")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
