"""Paths of everything that a run writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from lensflow.config import RunConfig, StorageConfig, load_config
from lensflow.config.place import Place, carried_by
from lensflow.config.yaml_text import parse_yaml
from lensflow.errors import ConfigError, StoreError
from lensflow.store import paths
from lensflow.store.regions import rows_per_region

STORES = ("cutouts", "manifest", "pairs")


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, any fsspec URL."""

    root: str

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """Return the folder of a config's run, reached as its ``storage`` says."""
        return cls(Place(config.out.rstrip("/"), config.storage))

    def path(self, *parts: str) -> str:
        """Path below the run's folder."""
        return paths.join(self.root, *parts)

    @property
    def survey(self) -> str:
        """The synthetic survey, if the run makes one."""
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
    def parts(self) -> str:
        """Parts of regions while cutouts are cut; deleted at the end."""
        return self.path("parts")

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
    def gate_draws(self) -> str:
        """Areas of the gates in bootstrap draws of hosts: what pairs them with those of another run."""
        return self.path("summaries", "gate_draws.json")

    @property
    def scorers(self) -> str:
        """Folder of the scorers' results: one file per scorer and split."""
        return self.path("summaries", "scorers")

    @property
    def completeness(self) -> str:
        """Folder of the scorers' completeness: one file per scorer and split."""
        return self.path("summaries", "completeness")

    @property
    def training(self) -> str:
        """Folder of the reference training: network, history, scores, verdicts."""
        return self.path("summaries", "training")

    @property
    def sweeps(self) -> str:
        """Folder of the sweeps that start from this run: one folder per factor, with an ordinary run for each arm."""
        return self.path("sweeps")

    @property
    def realism(self) -> str:
        """Folder of the comparisons with real lenses: one file per table and scorer."""
        return self.path("summaries", "realism")

    @property
    def zoo(self) -> str:
        """Matrix of known faults and the diagnostics that detect them, with the code that measured the run."""
        return self.path("summaries", "zoo.json")

    @property
    def certificate(self) -> str:
        """The certificate: the gates' verdicts, bound to the data."""
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

    def require_some_store(self) -> None:
        """Refuse a folder in which no step of a run was made.

        Raises
        ------
        StoreError
        """
        if not any(paths.group_exists(self.store(s)) for s in STORES):
            raise StoreError(f"{self.root}: no run here yet, no step of it was made. `lensflow run` makes it.")

    def receipts(self, stage: str) -> str:
        """Receipts of a stage (``cutouts`` or ``pairs``)."""
        return self.path("receipts", stage)


class Places(NamedTuple):
    """URLs of pairs and of what they are rendered of."""

    pairs: str
    manifest: str
    cutouts: str

    @classmethod
    def beside(cls, pairs: str) -> Places:
        """Places of a run's folder."""
        return cls(pairs, *(paths.join(paths.parent(pairs), f"{name}.zarr") for name in ("manifest", "cutouts")))


def settings_of_identity(identity: Mapping[str, Any], out: str) -> RunConfig:
    """Settings that a store was made with, as its identity has them; what no stored bit depends on is the default.

    Parameters
    ----------
    identity : mapping
        As :func:`lensflow.store.resume.identity`.
    out : str
        The run's folder.
    """
    tree: dict[str, Any] = {"out": out}
    for key, value in identity.items():
        *above, name = key.split(".")
        if above[:1] in (["inputs"], ["lensflow"]):
            continue
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[name] = value
    return RunConfig.model_validate(tree)


def largest_region_bytes(config: RunConfig) -> float:
    """Uncompressed bytes of one pixel array in the largest region that a config allows."""
    row_bytes = 4 * len(config.bands) * config.survey.stamp_size**2
    given = [n for n in (config.store.samples_per_region, config.store.hosts_per_region) if n is not None]
    derived = [] if len(given) == 2 else [max(1e6 * config.store.shard_mb, row_bytes * config.store.inner_chunk)]
    return max([*derived, *(n * row_bytes for n in given)])


def rows_of_a_region(config: RunConfig, n_rows: int) -> int:
    """Rows of a region of ``n_rows`` hosts or samples, unless the config gives them."""
    row_bytes = 4 * len(config.bands) * config.survey.stamp_size**2
    return rows_per_region(n_rows, row_bytes, config.store.shard_mb, config.store.inner_chunk)


def config_of(run: str, out: str | None = None) -> RunConfig:
    """Config of a run: the one in its folder, or a YAML file.

    A folder may have been moved: ``out`` of its config is replaced by the present path.

    Parameters
    ----------
    run : str
        Folder of a run (any fsspec URL), one of the stores in it, or a YAML file.
    out : str, optional
        Replaces the config's ``out``.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    run = run.rstrip("/")
    if run.endswith((".yaml", ".yml")) or (paths.is_local(run) and paths.local_path(run).is_file()):
        folder = paths.parent(run) if run.endswith("/config.yaml") else ""
        # The config in a run's folder has the folder's original path.
        if out is None and folder and any(paths.group_exists(paths.join(folder, f"{name}.zarr")) for name in STORES):
            out = folder
        return _load(run, run, out)
    if run.endswith(tuple(f"{name}.zarr" for name in STORES)):
        run = paths.parent(run)
    return _load(paths.join(run, "config.yaml"), run, out or run)


def _load(place: str, run: str, out: str | None) -> RunConfig:
    if paths.is_local(place):
        if place != run and not paths.local_path(place).exists():
            raise ConfigError(_NO_RUN.format(run=run, place=place))
        return load_config(paths.local_path(place), out=out)
    try:
        text = paths.read_text(place)
    except StoreError:
        raise ConfigError(_NO_RUN.format(run=run, place=place)) from None
    tree, reached = parse_yaml(text, place), carried_by(run)
    # A run that was copied there names no server, or that of another place: none of its own gives way to the URL's.
    if reached != StorageConfig() and isinstance(tree, dict) and _names_no_server(tree):
        tree = {**tree, "storage": reached.model_dump(mode="json")}
    return load_config(tree, out=out)


def _names_no_server(tree: dict[str, Any]) -> bool:
    return bool((tree.get("storage") or {}) in ({}, StorageConfig().model_dump(mode="json")))


_NO_RUN = "{run}: neither a YAML file nor the folder of a run (no {place}). A run's first step writes its config there."
