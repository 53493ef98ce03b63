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
from pathlib import Path

import numpy as np

import lensflow as lf

CONFIGS = Path(__file__).parent / "configs"


def choose_config() -> Path:
    """Return the config of the real stamps where they are, else the synthetic one."""
    real = lf.load_config(CONFIGS / "arc_brightness.yaml")
    here = real.survey.stamps is not None and all(Path(f).exists() for f in real.survey.stamps.files.values())
    return CONFIGS / ("arc_brightness.yaml" if here else "arc_brightness_synthetic.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Inject, gate bin by bin, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML file of the run; default: real stamps, else synthetic")
    parser.add_argument("--out", help="folder of the run; replaces the config's out")
    parser.add_argument("--bin", type=float, default=1.0, help="width of the magnitude bins")
    given = parser.parse_args(arguments)
    config = lf.load_config(given.config or choose_config(), out=given.out)

    with lf.connect(config.cluster):
        cutouts = lf.cut(config)
        manifest = lf.plan_injections(cutouts, config)
        pairs = lf.write_pairs(cutouts, manifest, config)
        ends = config.plan.src_mag_range
        if ends is None:
            parser.error("the config needs plan.src_mag_range: the magnitudes to cut into bins")
        edges = np.arange(ends.min, ends.max + given.bin / 2, given.bin)
        results = lf.gate_by_magnitude(pairs, config, edges)

    text = f"# {config.name}\n\n{lf.brightness_table(results)}"
    folder = Path(config.out)
    (folder / "arc_brightness.md").write_text(text)
    (folder / "arc_brightness.png").write_bytes(lf.brightness_figure(results).png)
    print(text)
    print(f"Written to {folder / 'arc_brightness.md'} and arc_brightness.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
