"""Settings of the store and the cluster: how a run is executed."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from lensflow.config.base import Positive, Section
from lensflow.errors import ConfigError

Codec = Literal[
    "auto", "lz4-bitshuffle", "lz4-shuffle", "zstd1-bitshuffle", "zstd1-shuffle", "zstd3-bitshuffle", "zstd3-shuffle"
]  # fmt: skip


_SKY = re.compile(r"sky/([1-9][0-9]*)")


class StoreConfig(Section):
    """How pixels are laid out, compressed and rounded on disk."""

    shard_mb: Positive = Field(
        64, description="uncompressed MB of one pixel array in one region; sets the regions' size unless rows are given"
    )
    samples_per_region: int | None = Field(
        None, ge=1, description="samples in one region of pairs: one shard per array, one task"
    )
    hosts_per_region: int | None = Field(None, ge=1, description="hosts in one region of the cutouts")
    inner_chunk: int = Field(16, ge=1, description="rows in one compressed chunk: the unit of random access")
    codec: Codec = Field(
        "auto",
        description="auto: lz4-shuffle for pairs, lz4-bitshuffle for cutouts, zstd3-shuffle for rounded arrays "
        "(benchmarks/store.py)",
    )
    quantize: str = Field(
        "none",
        description="none, or sky/N: stamps and controls are rounded, without bias, to steps of at most 1/N of the "
        "host's sky sigma in the band",
    )
    quantize_arc: str | None = Field(
        None, description="the same for the noiseless arc; null: steps four times finer than quantize"
    )
    quantize_step: Literal["power_of_two", "float"] = Field(
        "power_of_two", description="steps rounded down to a power of two (compresses best), or exact"
    )
    copy_ctrl: bool = Field(False, description="store the control image with every pair; else served from the cutouts")
    pixels: Literal["full", "stamp", "virtual"] = Field(
        "full",
        description="pixels of pairs that are stored: stamps and arcs; stamps; or none. What is not stored is rendered "
        "when it is read, bit for bit. Read when the pairs are created; `lensflow materialise` stores the rest later",
    )

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
        if self.pixels == "virtual" and self.copy_ctrl:
            raise ValueError("pixels: virtual stores no pixels of pairs; copy_ctrl would store the controls of all")
        return self

    @property
    def rendered(self) -> tuple[str, ...]:
        """Pixel arrays of pairs that are not stored, but rendered when they are read."""
        return {"full": (), "stamp": ("arc",), "virtual": ("arc", "stamp")}[self.pixels]

    @property
    def stamp_steps_per_sigma(self) -> int:
        """N of ``quantize: sky/N``; 0 if stamps are stored exactly."""
        return _steps_per_sigma(self.quantize)

    @property
    def arc_steps_per_sigma(self) -> int:
        """N of ``quantize_arc``, or the value derived from ``quantize``; 0 if arcs are stored exactly."""
        if self.quantize_arc is None:
            return 4 * self.stamp_steps_per_sigma
        return _steps_per_sigma(self.quantize_arc)


def _steps_per_sigma(text: str) -> int:
    return 0 if text == "none" else int(text.removeprefix("sky/"))


class StorageConfig(Section):
    """Access to an ``out`` on S3. Credentials come from the environment, a profile or a role."""

    endpoint_url: str | None = Field(
        None, description="S3-compatible server, https://host:port; default: AWS_ENDPOINT_URL, else AWS itself"
    )
    region: str | None = Field(None, description="region of the bucket; default: AWS_DEFAULT_REGION or the profile's")
    library: Literal["s3fs", "obstore"] = Field(
        "s3fs", description="library that transfers pixels; obstore needs lensflow[obstore]"
    )
    anonymous: bool | Literal["inputs"] = Field(
        False,
        description="S3 without credentials, for public buckets. inputs: only survey, targets and other tables; true: "
        "also out, which can then usually only be read",
    )

    @field_validator("endpoint_url")
    @classmethod
    def _is_a_server(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            bad = parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query
        except ValueError:
            bad = True
        if bad:
            raise ValueError("must be http(s)://host or http(s)://host:port")
        if parts.username or parts.password:
            raise ValueError("must not hold credentials: they come from the environment, a profile or a role")
        return value.rstrip("/")


class KubernetesConfig(Section):
    """A DaskCluster of the dask-kubernetes operator: deploy/kubernetes, docs/deploy-kubernetes.md."""

    name: str = Field("lensflow", pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", description="name of the DaskCluster")
    namespace: str | None = Field(None, description="default: the one of the kubeconfig's context")
    context: str | None = Field(None, description="context of the kubeconfig; default: its current one")
    manifest: str | None = Field(
        None, description="YAML with the DaskCluster to create if there is none of that name; it is deleted afterwards"
    )


class YarnConfig(Section):
    """A YARN application, for example on EMR (docs/deploy-emr.md); null settings come from Dask's ``yarn:`` section."""

    environment: str | None = Field(
        None,
        description="packed environment (tar.gz; any URL that YARN reads), venv:///path or python:///path/to/python",
    )
    queue: str | None = Field(None, description="YARN queue")
    deploy_mode: Literal["remote", "local"] | None = Field(
        None, description="scheduler in the application (remote) or in this process (local)"
    )
    worker_vcores: int | None = Field(None, ge=1, description="cores, and threads, of a worker's container")
    worker_memory: str | None = Field(None, description="memory of a worker's container, '4 GiB'")
    scheduler_memory: str | None = Field(None, description="memory of the scheduler's container")


class ClusterConfig(Section):
    """Where the tasks run. The config may also have sections for other kinds: ``kind`` decides."""

    kind: Literal["local", "threads", "address", "kubernetes", "yarn"] = Field(
        "local",
        description="processes, threads, a running scheduler, a DaskCluster on Kubernetes, a YARN application",
    )
    workers: int | None = Field(
        None, ge=1, description="workers; default: one per core for local, else the cluster's own settings"
    )
    workers_max: int | None = Field(
        None, ge=1, description="for local and yarn: scale adaptively between workers and this"
    )
    memory_limit: str | None = Field(
        None,
        description="per worker, for kind: local; default: 90% of this machine's (or container's) memory, "
        "divided among workers",
    )
    address: str | None = Field(None, description="scheduler address, tls://host:port, for kind: address")
    tls: bool = Field(False, description="for kind: local: encrypt also between the processes of this machine")
    tls_ca_file: str | None = Field(None, description="CA certificate; default: Dask's distributed.comm.tls settings")
    tls_cert: str | None = Field(None, description="this client's certificate")
    tls_key: str | None = Field(None, description="the certificate's private key")
    insecure: bool = Field(False, description="allow an unencrypted tcp:// scheduler on another machine")
    start_timeout_s: float = Field(
        300.0, gt=0, description="seconds within which a cluster must start; then an error says why"
    )
    min_workers: int = Field(
        1, ge=0, description="workers that must have joined; 0 for a cluster that scales from none"
    )
    no_workers_timeout_s: float | None = Field(
        600.0, gt=0, description="seconds that work waits without any worker before the run stops; null: forever"
    )
    dashboard: str | None = Field(
        "127.0.0.1:0", description="dashboard address of kind: local; port 0 picks a free one; null turns it off"
    )
    performance_reports: bool = Field(
        False, description="keep Dask's performance report of each stage of a run, as report/dask-<stage>.html"
    )
    kubernetes: KubernetesConfig = KubernetesConfig()
    yarn: YarnConfig = YarnConfig()

    @model_validator(mode="after")
    def _has_address(self) -> ClusterConfig:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError("address is needed with kind: address, and only there")
        if self.address is not None:
            scheme, _, rest = self.address.rpartition("://")
            host = rest.rpartition(":")[0].strip("[]")
            if scheme not in ("tls", "tcp") or not host:
                raise ValueError(f"address is tls://host:port, not {self.address!r}")
            if scheme == "tcp" and host not in ("localhost", "127.0.0.1", "::1") and not self.insecure:
                raise ValueError(
                    f"{self.address} is not encrypted: whoever reaches it can run code as you. Use tls:// with "
                    "tls_ca_file, tls_cert and tls_key, or say insecure: true"
                )
        return self

    @model_validator(mode="after")
    def _belong_together(self) -> ClusterConfig:
        files = (self.tls_ca_file, self.tls_cert, self.tls_key)
        if any(files) and not all(files):
            raise ValueError("tls_ca_file, tls_cert and tls_key belong together: give all three or none")
        if self.workers_max is not None:
            if self.kind not in ("local", "yarn"):
                raise ValueError(
                    "workers_max is for kind: local and yarn (Kubernetes: the DaskAutoscaler of the manifest)"
                )
            if self.workers_max < (self.workers or 1):
                raise ValueError(f"workers_max must be at least workers ({self.workers})")
        return self

    def switched(self, **changes: Any) -> ClusterConfig:
        """Return these settings with some replaced, validated again; an address is dropped with its kind.

        Raises
        ------
        ConfigError
            If the settings do not go together.
        """
        changes = {k: v for k, v in changes.items() if v is not None}
        tree = self.model_dump() | changes
        if changes.get("kind", "address") != "address":
            tree["address"] = changes.get("address")
        try:
            return ClusterConfig.model_validate(tree)
        except ValidationError as error:
            lines = [".".join(["cluster", *map(str, e["loc"])]) + f": {e['msg']}" for e in error.errors()]
            raise ConfigError("; ".join(lines).replace("Value error, ", "")) from None
