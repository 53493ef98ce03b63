"""Settings of what a plan is expected to cost."""

from __future__ import annotations

from pydantic import Field

from lensflow.config.base import Positive, Section


class EstimateConfig(Section):
    """What a plan is expected to cost: shown by ``lensflow plan`` before anything is drawn, and by ``lensflow doctor``.

    The rates are those of benchmarks/README.md (two shared cores, local disk), those of rows at about four fifths of
    what was measured; measure yours with ``benchmarks/scale.py``. Small runs take longer: starting is not counted.
    """

    hosts_per_s_per_core: Positive = Field(
        40.0, description="cutting, three bands: cautious for bricks over a network; 300 measured from a disk"
    )
    rows_planned_per_s: Positive = Field(100_000.0, description="drawing the manifest, one process")
    rows_per_s_per_core: Positive = Field(
        1_200.0,
        description="injecting: render, measure and write, three bands; 1,514 to 1,601 were measured in the tasks",
    )
    measured_rows_per_s_per_core: Positive = Field(
        1_700.0, description="diagnostics: read the pairs and measure them, three bands; 1,909 to 2,200 were measured"
    )
    gated_pairs_per_s_per_core: Positive = Field(
        2_000.0,
        description="pairs of one linear gate, its controls included, gate.max_pairs at most; 2,400 to 3,700 were "
        "measured",
    )
    compression: Positive = Field(
        1.25, description="uncompressed bytes of the pairs over those stored, lossless; 1.26 was measured"
    )
    compression_rounded: Positive = Field(
        5.0, description="the same where stamps and arcs are rounded (store.quantize); 5.9 was measured for sky/16"
    )
    usd_per_vcpu_hour: float = Field(0.05, ge=0, description="price of one virtual core for an hour")
