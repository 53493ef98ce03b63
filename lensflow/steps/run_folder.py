"""Names of everything that a run writes."""

from __future__ import annotations

from dataclasses import dataclass

from lensflow.config import RunConfig
from lensflow.store import paths, s3
from lensflow.store.regions import rows_per_region


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, any fsspec URL."""

    root: str

    @classmethod
    def of(cls, config: RunConfig) -> RunFolder:
        """Return the folder of a config's run, which this process reaches as ``storage`` says from now on."""
        s3.use({config.out: config.storage})
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
        return self.store("cutouts")

    @property
    def manifest(self) -> str:
        """The manifest store."""
        return self.store("manifest")

    @property
    def pairs(self) -> str:
        """The pairs store."""
        return self.store("pairs")

    def store(self, name: str) -> str:
        """Zarr store of a name (``cutouts``, ``manifest``, ``pairs``)."""
        return self.path(f"{name}.zarr")

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
    def scorers(self) -> str:
        """Folder of what was found out about scorers: one file for each and split."""
        return self.path("summaries", "scorers")

    @property
    def zoo(self) -> str:
        """Which diagnostic notices which known fault, with the code that measured the run."""
        return self.path("summaries", "zoo.json")

    @property
    def certificate(self) -> str:
        """What the gates said, bound to the data."""
        return self.path("certificate.json")

    @property
    def core(self) -> str:
        """Folder of the core's tuning: ``tuning.json``, the figure, the tables."""
        return self.path("core")

    @property
    def core_tuning(self) -> str:
        """Results of the core's tuning."""
        return paths.join(self.core, "tuning.json")

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


def rows_of_a_region(config: RunConfig, n_rows: int) -> int:
    """Rows of a region of ``n_rows`` hosts or samples, where the config does not give them."""
    row_bytes = 4 * len(config.bands) * config.survey.stamp_size**2
    return rows_per_region(n_rows, row_bytes, config.store.shard_mb, config.store.inner_chunk)
