"""How the gates' AUC depends on the brightness of the arcs: one population of sources, binned by magnitude.

    python workflows/arc_brightness.py --config workflows/configs/arc_brightness.yaml

Without --config: this one if its stamps are present, else arc_brightness_synthetic.yaml.

Injects sources of all magnitudes into the same hosts, runs the gates on each magnitude bin as if it were a separate
run, and plots the AUC with its interval over hosts against the sources' magnitude. Writes arc_brightness.md and
arc_brightness.png into the run's folder.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer
from options import Out, command
from replay import ReplayConfig, load, write

import lensflow as lf


@command(__doc__)
def main(
    config: ReplayConfig = None,
    out: Out = None,
    width: Annotated[float, typer.Option("--bin", help="width of the magnitude bins")] = 1.0,
) -> None:
    """Inject, gate bin by bin, write."""
    run = load("arc_brightness", config, out)
    with lf.connect(run.cluster):
        cutouts = lf.cut(run)
        manifest = lf.plan_injections(cutouts, run)
        pairs = lf.write_pairs(lf.inject(cutouts, manifest, run), run)
        ends = run.plan.src_mag_range
        if ends is None:
            raise typer.BadParameter("needs plan.src_mag_range: the magnitudes to cut into bins", param_hint="--config")
        edges = np.arange(ends.min, ends.max + width / 2, width)
        results = lf.gate_by_magnitude(pairs, run, edges)

    text = f"# {run.name}\n\n{lf.brightness_table(results)}"
    write(run, "arc_brightness", text, lf.brightness_figure(results))


if __name__ == "__main__":
    main()
