"""Findings, looks, and their shared inputs, each read once on first use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import xarray as xr

from lensflow.config import RunConfig
from lensflow.manifest.table import InjectionTable, read_injection_table
from lensflow.run.sources import survey_layout, table_targets
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.stamps import read_stamps

T = TypeVar("T")

# Bricks whose files are checked, spread over the table; hosts cut as a trial.
SAMPLE_BRICKS = 8
TRIAL_HOSTS = 3


class Level(StrEnum):
    """How grave a finding is: only FAIL stops a run."""

    OK = "ok"
    WARN = "warning"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    check : str
        What was looked at, in a word or two.
    level : Level
    what : str
        What was found, with names and numbers.
    advice : str
        The way out; empty where there is nothing to do.
    """

    check: str
    level: Level
    what: str
    advice: str = ""


class Unseen(Exception):
    """An input cannot be read and an earlier look has reported it: this look is skipped."""


class Seen:
    """Shared inputs of the looks of one config; each is read on first use.

    The first look that meets an error raises it, and so reports it. Later looks that need the same thing get
    :class:`Unseen`, and are left out: one cause is one finding.

    Parameters
    ----------
    config : RunConfig
    """

    def __init__(self, config: RunConfig):
        self.config = config
        self._failed: set[str] = set()

    def _once(self, name: str, read: Callable[[], T]) -> T:
        if name in self._failed:
            raise Unseen
        try:
            return read()
        except Exception:
            self._failed.add(name)
            raise

    @cached_property
    def targets(self) -> xr.Dataset | None:
        """Targets of a survey of bricks, selected by the config; None for stamps and synthetic surveys."""
        if self.config.survey.root is None:
            return None
        return self._once("targets", lambda: table_targets(self.config))

    @cached_property
    def stamps(self) -> xr.Dataset | None:
        """Every stamp of ``survey.stamps`` as cutouts, in memory; None for surveys of bricks."""
        stamps, survey = self.config.survey.stamps, self.config.survey
        if stamps is None:
            return None
        return self._once("stamps", lambda: read_stamps(stamps, self.config.bands, survey))

    @cached_property
    def layout(self) -> Layout | None:
        """Location of the bricks; None for stamps and for synthetic surveys, which do not exist yet."""
        return survey_layout(self.config) if self.config.survey.root is not None else None

    @cached_property
    def bricks(self) -> list[str]:
        """Names of a sample of the targets' bricks, spread over the table."""
        if self.targets is None:
            return []
        every = np.unique(self.targets["brickname"].values)
        return [str(b) for b in every[np.linspace(0, every.size - 1, min(SAMPLE_BRICKS, every.size)).astype(int)]]

    @cached_property
    def trial(self) -> xr.Dataset | None:
        """A few hosts as the run would cut them, with pixels, in memory; None for a synthetic survey."""
        if self.stamps is not None:
            return self.stamps.isel(host=_spread(self.stamps.sizes["host"]))
        targets, layout = self.targets, self.layout
        if targets is None or layout is None or targets.sizes["host"] == 0:
            return None
        some = targets.isel(host=_spread(targets.sizes["host"]))
        return self._once("trial", lambda: cut_block(some, layout, self.config.bands, self.config.survey))

    @cached_property
    def pixel_scale_arcsec(self) -> float | None:
        """Pixel scale of the stamps' config or of the trial's bricks; None if unknown."""
        if self.config.survey.stamps is not None:
            return float(self.config.survey.stamps.pixel_scale_arcsec)
        trial = self.trial
        found = None if trial is None else trial.attrs.get("pixel_scale_arcsec")
        # NaN where no image of the trial could be read, which is reported as such.
        return None if found is None or math.isnan(found) else float(found)

    @cached_property
    def table(self) -> InjectionTable | None:
        """The table of ``plan.table``, read and checked; None without one."""
        plan = self.config.plan
        if plan.table is None:
            return None
        path = plan.table
        return self._once("table", lambda: read_injection_table(path, self.config.bands, plan.table_ignore))


def _spread(n_hosts: int) -> np.ndarray:
    return np.unique(np.linspace(0, n_hosts - 1, min(TRIAL_HOSTS, n_hosts)).astype(int))


class Look(NamedTuple):
    """A named check: ``look(seen)`` yields findings. A LensflowError that it raises becomes a FAIL."""

    name: str
    look: Callable[[Seen], Iterator[Finding]]
