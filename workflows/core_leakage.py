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

from claims import PUBLISHED_AUC, core_claims
from replay import parse, write

import lensflow as lf


def main(arguments: Sequence[str] | None = None) -> int:
    """Inject, measure, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    config = parse(parser, "core_leakage", arguments).config

    with lf.connect(config.cluster):
        cutouts = lf.cut(config)
        manifest = lf.plan_injections(cutouts, config)
        pairs = lf.write_pairs(lf.inject(cutouts, manifest, config), config)
        results = lf.measure_core(pairs, config)

    judged = "\n".join(f"| {c.text} | {c.published} | {c.measured} | **{c.judgement}** |" for c in core_claims(results))
    text = f"""# {config.name}

{sum(r.name == "none" and r.n_rows for r in results)} arcs on {max(r.n_hosts for r in results)} hosts.

{lf.core_table(results, published=PUBLISHED_AUC)}
| conclusion | published | measured here | judgement |
|---|---|---|---|
{judged}
"""
    write(config, "core_leakage", text, lf.core_figure(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
