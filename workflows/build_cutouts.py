"""Cut every target of a config out of the survey, and say what became of each.

    python workflows/build_cutouts.py --config workflows/configs/laptop.yaml

Stopped in between, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import lensflow as lf
from lensflow.schema import SPLITS, PsfSource, Status


def counts(values: np.ndarray, names: Sequence[str]) -> str:
    """Categories with their numbers."""
    return ", ".join(f"{names[k]} {n}" for k, n in zip(*np.unique(values, return_counts=True), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Cut, print the counts; 0 when every target has its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of the run")
    parser.add_argument("--out", help="folder of the run; replaces the config's out")
    parser.add_argument("--cluster", help="local, threads, address, kubernetes or yarn; replaces cluster.kind")
    parser.add_argument("--address", help="tls://host:port of a running scheduler, with --cluster address")
    given = parser.parse_args(arguments)
    config = lf.load_config(given.config, out=given.out)

    cluster = config.cluster.switched(kind=given.cluster, address=given.address)
    with lf.connect(cluster) as client:
        if link := lf.dashboard_link(client, cluster):
            print(f"Dask dashboard: {link}")
        cutouts = lf.cut(config)

    print(f"{cutouts.sizes['host']} hosts in {config.out}")
    print("status:", counts(cutouts["status"].values, [s.name for s in Status]))
    print("split: ", counts(cutouts["split"].values, [*SPLITS, "guard"]))
    for band in cutouts["band"].values:
        psf = cutouts.sel(band=band)
        sources = counts(psf["psf_source"].values, [s.name for s in PsfSource])
        print(f"PSF {band}: median {float(psf['psfsize_arcsec'].median()):.3f} arcsec, {sources}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
