"""Settings of the store and the cluster: how a run is worked off."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from lensflow.config.base import Positive, Section

Codec = Literal["auto", "lz4-bitshuffle", "zstd1-bitshuffle", "zstd1-shuffle", "zstd3-bitshuffle", "zstd3-shuffle"]


_SKY = re.compile(r"sky/([1-9][0-9]*)")


class StoreConfig(Section):
    """How pixels are laid out, compressed and rounded on disk."""

    shard_mb: Positive = Field(
        64, description="uncompressed MB of one pixel array in one region; sizes the regions where rows are not given"
    )
    samples_per_region: int | None = Field(
        None, ge=1, description="samples in one region of pairs: one shard an array, one task"
    )
    hosts_per_region: int | None = Field(None, ge=1, description="hosts in one region of the cutouts")
    inner_chunk: int = Field(16, ge=1, description="rows in one compressed chunk: what random access reads")
    codec: Codec = Field(
        "auto", description="auto: lz4-bitshuffle; zstd3-shuffle for arrays that are rounded (benchmarks/store.py)"
    )
    quantize: str = Field(
        "none",
        description="none, or sky/N: stamps and controls are rounded, without bias, to steps of at most 1/N of the "
        "host's sky sigma in the band",
    )
    quantize_arc: str | None = Field(
        None, description="the same for the noiseless arc; null: four times finer steps than quantize"
    )
    quantize_step: Literal["power_of_two", "float"] = Field(
        "power_of_two", description="steps rounded down to a power of two (compresses best), or as they are"
    )
    copy_ctrl: bool = Field(False, description="store the control image with every pair; else served from the cutouts")

    @field_validator("quantize", "quantize_arc")
    @classmethod
    def _is_a_step(cls, value: str | None) -> str | None:
        if value not in (None, "none") and not _SKY.fullmatch(value):
            raise ValueError("must be none or sky/N with a whole number N, such as sky/16")
        return value

    @model_validator(mode="after")
    def _whole_chunks(self) -> StoreConfig:
        for name in ("samples_per_region", "hosts_per_region"):
            given = getattr(self, name)
            if given is not None and given % self.inner_chunk:
                raise ValueError(f"{name} must be a multiple of inner_chunk ({self.inner_chunk})")
        return self

    @property
    def stamp_steps_per_sigma(self) -> int:
        """N of ``quantize: sky/N``; 0 where stamps are stored as they are."""
        return _steps_per_sigma(self.quantize)

    @property
    def arc_steps_per_sigma(self) -> int:
        """N of ``quantize_arc``, or what ``quantize`` makes of it; 0 where arcs are stored as they are."""
        if self.quantize_arc is None:
            return 4 * self.stamp_steps_per_sigma
        return _steps_per_sigma(self.quantize_arc)


def _steps_per_sigma(text: str) -> int:
    return 0 if text == "none" else int(text.removeprefix("sky/"))


class ClusterConfig(Section):
    """Where the tasks run."""

    kind: Literal["local", "threads", "address"] = Field("local", description="processes, threads, a running scheduler")
    workers: int | None = Field(None, ge=1, description="processes; default one per core")
    memory_limit: str = Field("2GiB", description="per worker, for kind: local")
    address: str | None = Field(None, description="scheduler address, for kind: address")
    dashboard: str | None = Field(":0", description="dashboard address; :0 picks a free port; null turns it off")

    @model_validator(mode="after")
    def _has_address(self) -> ClusterConfig:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError("address is needed with kind: address, and only there")
        return self
