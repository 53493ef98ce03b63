"""Settings of the cost estimate of a plan."""

from __future__ import annotations

from pydantic import Field

from lensflow.config.base import Positive, Section


class EstimateConfig(Section):
    """Expected cost of a plan: shown by ``lensflow plan`` before anything is drawn, and by ``lensflow doctor``.

    The rates are those of benchmarks/README.md (two shared cores, local disk), rates of rows at about four fifths of
    the measured ones; measure yours with ``benchmarks/scale.py``. Small runs take longer: start-up is not included.
    """

    hosts_per_s_per_core: Positive = Field(
        40.0, description="cutting, three bands: cautious for bricks over a network; 300 measured from a disk"
    )
    rows_planned_per_s: Positive = Field(100_000.0, description="drawing the manifest, one process")
    rows_per_s_per_core: Positive = Field(
        1_200.0,
        description="injecting: render, measure and write, three bands; measured in the tasks: 1,514 to 1,601",
    )
    measured_rows_per_s_per_core: Positive = Field(
        1_700.0, description="diagnostics: read and measure the pairs, three bands; measured: 1,909 to 2,200"
    )
    gated_pairs_per_s_per_core: Positive = Field(
        2_000.0,
        description="pairs of one linear gate, including its controls, at most gate.max_pairs; measured: 2,400 to "
        "3,700",
    )
    compression: Positive = Field(1.25, description="compression ratio of the pairs, lossless; measured: 1.26")
    compression_rounded: Positive = Field(
        5.0, description="the same for rounded stamps and arcs (store.quantize); measured for sky/16: 5.9"
    )
    usd_per_vcpu_hour: float = Field(0.05, ge=0, description="price of one virtual core for an hour")
