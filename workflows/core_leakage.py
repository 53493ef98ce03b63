"""The original investigation of core leakage, replayed: do correct arcs give themselves away in the core?

    python workflows/core_leakage.py --config workflows/configs/core_leakage.yaml

Without --config: that one where its stamps are at hand, else core_leakage_synthetic.yaml.

Injects arcs into real luminous red galaxies (or, where those are not at hand, into a synthetic survey), measures what
each handling of the core leaves for a gate to see, prints the table beside the published numbers, and says which of
the original conclusions hold. Writes core_leakage.md and core_leakage.png into the run's folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lensflow as lf

CONFIGS = Path(__file__).parent / "configs"


def choose_config() -> Path:
    """Return the config of the real stamps where they are, else the synthetic one."""
    real = lf.load_config(CONFIGS / "core_leakage.yaml")
    here = real.survey.stamps is not None and all(Path(f).exists() for f in real.survey.stamps.files.values())
    return CONFIGS / ("core_leakage.yaml" if here else "core_leakage_synthetic.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Inject, measure, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="YAML file of the run; default: real stamps, else synthetic")
    parser.add_argument("--out", help="folder of the run; replaces the config's out")
    given = parser.parse_args(arguments)
    config = lf.load_config(given.config or choose_config(), out=given.out)

    with lf.connect(config.cluster):
        cutouts = lf.cut(config)
        manifest = lf.plan_injections(cutouts, config)
        pairs = lf.write_pairs(cutouts, manifest, config)
        results = lf.measure_core(pairs, config)

    claims = lf.core_claims(results)
    judged = "\n".join(f"| {c.text} | {c.published} | {c.measured} | **{c.judgement}** |" for c in claims)
    text = f"""# {config.name}

{sum(r.name == "none" and r.n_rows for r in results)} arcs on {max(r.n_hosts for r in results)} hosts.

{lf.core_table(results)}
| conclusion | published | measured here | judgement |
|---|---|---|---|
{judged}
"""
    folder = Path(config.out)
    (folder / "core_leakage.md").write_text(text)
    (folder / "core_leakage.png").write_bytes(lf.core_figure(results).png)
    print(text)
    print(f"Written to {folder / 'core_leakage.md'} and core_leakage.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
