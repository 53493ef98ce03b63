"""Render the planned arcs into their hosts and store the pairs, region by region.

    python workflows/inject.py --config workflows/configs/laptop.yaml

Stopped in between, the same command goes on where it was. Needs build_cutouts.py and plan_injections.py first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import lensflow as lf


def main(arguments: Sequence[str] | None = None) -> int:
    """Inject, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of the run")
    parser.add_argument("--out", help="folder of the run; replaces the config's out")
    parser.add_argument("--cluster", help="local, threads, address, kubernetes or yarn; replaces cluster.kind")
    parser.add_argument("--address", help="tls://host:port of a running scheduler, with --cluster address")
    given = parser.parse_args(arguments)
    config = lf.load_config(given.config, out=given.out)

    cutouts = lf.open_cutouts(f"{config.out}/cutouts.zarr")
    manifest = lf.open_manifest(f"{config.out}/manifest.zarr")
    cluster = config.cluster.switched(kind=given.cluster, address=given.address)
    with lf.connect(cluster) as client:
        if link := lf.dashboard_link(client, cluster):
            print(f"Dask dashboard: {link}")
        pairs = lf.write_pairs(lf.inject(cutouts, manifest, config), config)

    print(
        f"{manifest.sizes['sample']} pairs in {config.out}, of which {pairs.attrs['n_sealed']} in the sealed test split"
    )
    injections = pairs.isel(sample=~pairs["is_control"].values)
    for name in ("is_clean", "band_absent", "render_not_converged", "low_stamp_flux"):
        print(f"{name}: {int(injections[name].sum())} of {injections.sizes['sample']} injections (train and val)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
