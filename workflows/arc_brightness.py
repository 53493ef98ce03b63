"""How the gates' AUC depends on the brightness of the arcs: one population of sources, cut by magnitude.

    python workflows/arc_brightness.py --config workflows/configs/arc_brightness.yaml

Without --config: that one where its stamps are at hand, else arc_brightness_synthetic.yaml.

Injects sources of all magnitudes into the same hosts, runs the gates on each magnitude bin by itself, as a run whose
sources had these magnitudes would, and draws the AUC with its interval over hosts against the sources' magnitude.
Writes arc_brightness.md and arc_brightness.png into the run's folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from replay import parse, write

import lensflow as lf


def main(arguments: Sequence[str] | None = None) -> int:
    """Inject, gate bin by bin, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=float, default=1.0, help="width of the magnitude bins")
    given = parse(parser, "arc_brightness", arguments)
    config = given.config

    with lf.connect(config.cluster):
        cutouts = lf.cut(config)
        manifest = lf.plan_injections(cutouts, config)
        pairs = lf.write_pairs(lf.inject(cutouts, manifest, config), config)
        ends = config.plan.src_mag_range
        if ends is None:
            parser.error("the config needs plan.src_mag_range: the magnitudes to cut into bins")
        edges = np.arange(ends.min, ends.max + given.bin / 2, given.bin)
        results = lf.gate_by_magnitude(pairs, config, edges)

    text = f"# {config.name}\n\n{lf.brightness_table(results)}"
    write(config, "arc_brightness", text, lf.brightness_figure(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
