"""The original investigation of core leakage, repeated: do correct arcs give themselves away in the core?

    python workflows/core_leakage.py --config workflows/configs/core_leakage.yaml

Without --config: this one if its stamps are present, else core_leakage_synthetic.yaml.

Injects arcs into real luminous red galaxies (or, if those are absent, into a synthetic survey), measures what a gate
still sees with each handling of the core, prints the table beside the published numbers, and says which of the original
conclusions hold. Writes core_leakage.md and core_leakage.png into the run's folder.
"""

from __future__ import annotations

from claims import PUBLISHED_AUC, core_claims
from options import Out, command
from replay import ReplayConfig, load, write

import lensflow as lf


@command(__doc__)
def main(config: ReplayConfig = None, out: Out = None) -> None:
    """Inject, measure, judge, write."""
    run = load("core_leakage", config, out)
    with lf.connect(run.cluster):
        cutouts = lf.cut(run)
        manifest = lf.plan_injections(cutouts, run)
        pairs = lf.write_pairs(lf.inject(cutouts, manifest, run), run)
        results = lf.measure_core(pairs, run)

    judged = "\n".join(f"| {c.text} | {c.published} | {c.measured} | **{c.judgement}** |" for c in core_claims(results))
    text = f"""# {run.name}

{sum(r.name == "none" and r.n_rows for r in results)} arcs on {max(r.n_hosts for r in results)} hosts.

{lf.core_table(results, published=PUBLISHED_AUC)}
| conclusion | published | measured here | judgement |
|---|---|---|---|
{judged}
"""
    write(run, "core_leakage", text, lf.core_figure(results))


if __name__ == "__main__":
    main()
