"""Settings of the store and the cluster: how a run is worked off."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lensflow.config.base import Section


class StoreConfig(Section):
    """Sizes of what one task reads and writes."""

    samples_per_region: int = Field(256, ge=1, description="samples in one shard: one task, about 50 MB at 512")
    hosts_per_region: int = Field(64, ge=1, description="hosts in one shard of the cutouts")
    inner_chunk: int = Field(16, ge=1, description="rows in one compressed chunk: what random access reads")

    @model_validator(mode="after")
    def _whole_chunks(self) -> StoreConfig:
        for name in ("samples_per_region", "hosts_per_region"):
            if getattr(self, name) % self.inner_chunk:
                raise ValueError(f"{name} must be a multiple of inner_chunk ({self.inner_chunk})")
        return self


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
