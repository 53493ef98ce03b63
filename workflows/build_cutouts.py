"""Cut every target of a config out of the survey, and print the status counts.

    python workflows/build_cutouts.py --config workflows/configs/laptop.yaml

If interrupted, run the same command again to continue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from options import Address, Cluster, Config, Out, command, session

import lensflow as lf
from lensflow.schema import SPLITS, PsfSource, Status


def counts(values: np.ndarray, names: Sequence[str]) -> str:
    """Categories with their counts."""
    return ", ".join(f"{names[k]} {n}" for k, n in zip(*np.unique(values, return_counts=True), strict=True))


@command(__doc__)
def main(config: Config, out: Out = None, cluster: Cluster = None, address: Address = None) -> None:
    """Cut, print the counts; 0 when every target has its row."""
    loaded = lf.load_config(config, out=out)

    with session(loaded, cluster, address):
        cutouts = lf.cut(loaded)

    print(f"{cutouts.sizes['host']} hosts in {loaded.out}")
    print("status:", counts(cutouts["status"].values, [s.name for s in Status]))
    print("split: ", counts(cutouts["split"].values, [*SPLITS, "guard"]))
    for band in cutouts["band"].values:
        psf = cutouts.sel(band=band)
        sources = counts(psf["psf_source"].values, [s.name for s in PsfSource])
        print(f"PSF {band}: median {float(psf['psfsize_arcsec'].median()):.3f} arcsec, {sources}")


if __name__ == "__main__":
    main()
