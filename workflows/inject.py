"""Render the planned arcs into their hosts and store the pairs, region by region.

    python workflows/inject.py --config workflows/configs/laptop.yaml

If interrupted, run the same command again to continue. Needs build_cutouts.py and plan_injections.py first.
"""

from __future__ import annotations

from options import Address, Cluster, Config, Out, command, session

import lensflow as lf


@command(__doc__)
def main(config: Config, out: Out = None, cluster: Cluster = None, address: Address = None) -> None:
    """Inject, print the counts."""
    loaded = lf.load_config(config, out=out)

    cutouts = lf.open_cutouts(f"{loaded.out}/cutouts.zarr")
    manifest = lf.open_manifest(f"{loaded.out}/manifest.zarr")
    with session(loaded, cluster, address):
        pairs = lf.write_pairs(lf.inject(cutouts, manifest, loaded), loaded)

    print(
        f"{manifest.sizes['sample']} pairs in {loaded.out}, of which {pairs.attrs['n_sealed']} in the sealed test split"
    )
    injections = pairs.isel(sample=~pairs["is_control"].values)
    for name in ("is_clean", "band_absent", "render_not_converged", "low_stamp_flux"):
        print(f"{name}: {int(injections[name].sum())} of {injections.sizes['sample']} injections (train and val)")


if __name__ == "__main__":
    main()
