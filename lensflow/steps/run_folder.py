"""Names of everything that a run writes."""

from __future__ import annotations

from dataclasses import dataclass

from lensflow.config import RunConfig
from lensflow.store import paths


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, any fsspec URL."""

    root: str

    @classmethod
    def of(cls, config: RunConfig) -> RunFolder:
        """Return the folder of a config's run."""
        return cls(config.out.rstrip("/"))

    def path(self, *parts: str) -> str:
        """Path below the run's folder."""
        return paths.join(self.root, *parts)

    @property
    def survey(self) -> str:
        """The synthetic survey, where the run makes one."""
        return self.path("survey")

    @property
    def cutouts(self) -> str:
        """The cutouts store."""
        return self.path("cutouts.zarr")

    @property
    def manifest(self) -> str:
        """The manifest store."""
        return self.path("manifest.zarr")

    @property
    def pairs(self) -> str:
        """The pairs store."""
        return self.path("pairs.zarr")

    @property
    def config(self) -> str:
        """The effective config."""
        return self.path("config.yaml")

    @property
    def diagnostics(self) -> str:
        """Results of the diagnostics."""
        return self.path("summaries", "diagnostics.json")

    @property
    def gates(self) -> str:
        """Results of the gates."""
        return self.path("summaries", "gates.json")

    @property
    def certificate(self) -> str:
        """What the gates said, bound to the data."""
        return self.path("certificate.json")

    @property
    def timings(self) -> str:
        """Seconds, rows and peak memory by stage."""
        return self.path("summaries", "timings.json")

    @property
    def report(self) -> str:
        """Folder of the report."""
        return self.path("report")

    def receipts(self, stage: str) -> str:
        """Receipts of a stage (``cutouts`` or ``pairs``)."""
        return self.path("receipts", stage)
