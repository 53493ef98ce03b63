"""Draw the injections for the cutouts, store them, and print what was drawn.

    python workflows/plan_injections.py --config workflows/configs/laptop.yaml

All random numbers are drawn here, once; a second call reads the stored manifest. Needs build_cutouts.py first.
"""

from __future__ import annotations

import numpy as np
from options import Config, Out, command

import lensflow as lf

SHOWN = ("theta_e_arcsec", "lens_q", "shear", "src_reff_arcsec", "src_n", "src_q")


@command(__doc__)
def main(config: Config, out: Out = None) -> None:
    """Plan, print the ranges that were drawn."""

    manifest = lf.plan(lf.load_config(config, out=out))
    injected = ~manifest["is_control"].values
    print(f"{manifest.sizes['sample']} rows: {injected.sum()} injections, {(~injected).sum()} controls")
    print(f"{'drawn':16} {'min':>8} {'median':>8} {'max':>8}")
    for name in SHOWN:
        low, middle, high = np.percentile(manifest[name].values[injected], (0, 50, 100))
        print(f"{name:16} {low:8.3f} {middle:8.3f} {high:8.3f}")
    for k, band in enumerate(manifest["band"].values):
        psf = manifest["psf_fwhm_arcsec"].values[injected, k]
        print(f"band {band}: {np.isfinite(psf).mean():.1%} of the injections can carry an arc there")


if __name__ == "__main__":
    main()
