"""The published set of injections: a parquet file with every injection, its density and what became of it.

It stands alone: units and meaning are with every column, and the file says how it is used with pandas.
:mod:`lensflow.measure.completeness.population.publish` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from pydantic import ValidationError

from lensflow import schema
from lensflow._version import __version__
from lensflow.config import PlanConfig
from lensflow.config.base import first_problem
from lensflow.config.place import like
from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import CURVES
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.reweight import Rows
from lensflow.store import paths

# Changes where an older file would be read wrongly; metadata of the file stands under the key.
FORMAT, KEY = 1, b"lensflow"
LOG_Q = "log_q_"


@dataclass(frozen=True, eq=False)
class InjectionSet:
    """A published set of injections, read.

    Attributes
    ----------
    path : str
        Of the file.
    rows : Dataset
        Every planned injection of the split, over ``sample`` and ``band``; units and meaning in the attrs.
    about : mapping
        Scorer, split, thresholds, plan, fingerprints, and how the file is used without lensflow.
    """

    path: str
    rows: xr.Dataset
    about: Mapping[str, Any]

    @cached_property
    def prior(self) -> InjectedPrior:
        """The prior that the rows were drawn from."""
        of = self.about
        try:
            plan = PlanConfig.model_validate(of["plan"])
        except ValidationError as error:
            raise CompletenessError(
                f"{self.path}: its plan is none of lensflow {__version__} (made by {of['lensflow']}): "
                f"{first_problem(error)}. Publish it again, or use its columns log_q_* with pandas"
            ) from error
        return InjectedPrior(plan, tuple(of["bands"]), tuple(of["given"]), of["rows_dropped"])

    @property
    def axes(self) -> list[Ranges]:
        """Axes of the selection function that the run has."""
        return [Ranges.of(a["variable"], a["edges"]) for a in self.about["axes"]]

    def threshold(self, wanted: int | None = None) -> int:
        """Number of a threshold; the only one, where none is named.

        Parameters
        ----------
        wanted : int, optional
            From 0 on.

        Returns
        -------
        int

        Raises
        ------
        ConfigError
            If there is no such threshold, or several and none is named.
        """
        of = self.about["thresholds"]
        if wanted is None and len(of) == 1:
            return 0
        if wanted is None or not 0 <= wanted < len(of):
            listed = "; ".join(f"{k}: tau {t['tau']:.6g}" + (f", fpr {t['rate']:g}" if t["rate"] else "")
                               for k, t in enumerate(of))  # fmt: skip
            raise ConfigError(f"{self.path}: threshold: name one by its number, not {wanted} ({listed})")
        return wanted

    def at(self, threshold: int | None = None, curve: str = "all") -> Rows:
        """Rows at one threshold, of one curve.

        Parameters
        ----------
        threshold : int, optional
            Its number in ``about["thresholds"]``; needed if there are several.
        curve : str
            ``all``, ``clean`` or ``no_psf_fallback``.

        Returns
        -------
        Rows

        Raises
        ------
        ConfigError
            If there is no such threshold or curve.
        """
        threshold = self.threshold(threshold)
        if curve not in CURVES:
            raise ConfigError(f"{self.path}: curve: one of {', '.join(CURVES)}, not {curve!r}")
        of = np.ones(self.rows.sizes["sample"], bool) if curve == "all" else self.rows[f"is_{curve}"].values
        log_q = {str(k).removeprefix(LOG_Q): v.values for k, v in self.rows.items() if str(k).startswith(LOG_Q)}
        valid, found = (self.rows[k].values & of for k in ("valid", f"recovered_{threshold}"))
        return Rows(self.rows, self.prior, valid, found, log_q)


def read_injection_set(path: str) -> InjectionSet:
    """Read a published set of injections.

    Parameters
    ----------
    path : str
        Of the parquet file, any fsspec URL.

    Returns
    -------
    InjectionSet

    Raises
    ------
    CompletenessError
        If there is no such file, or it is no set that this version reads.
    """
    fs, place = paths.filesystem(str(path))
    try:
        with paths.explain_errors(str(path)), fs.open(place, "rb") as file:
            table = pq.read_table(file)
    except FileNotFoundError as error:
        raise CompletenessError(
            f"{path}: no such file. `lensflow completeness RUN SCORER --publish` writes it"
        ) from error
    except pa.ArrowInvalid as error:
        raise CompletenessError(f"{path}: not a parquet file, or cut short ({error})") from error
    about = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
    if about.get("format") != FORMAT:
        raise CompletenessError(f"{path}: no set of injections that lensflow {__version__} reads (format "
                                f"{about.get('format')!r}, not {FORMAT})")  # fmt: skip
    return InjectionSet(str(path), _dataset(table, about["bands"]), about)


def about_of(path: str) -> dict[str, Any] | None:
    """Metadata of a published set; None if there is no file that this version reads."""
    fs, place = paths.filesystem(path)
    try:
        with paths.explain_errors(path), fs.open(place, "rb") as file:
            metadata = pq.read_schema(file).metadata
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    about: dict[str, Any] = json.loads((metadata or {}).get(KEY, b"{}"))
    return about if about.get("format") == FORMAT else None


def _dataset(table: pa.Table, bands: Sequence[str]) -> xr.Dataset:
    columns = {f.name: (table[f.name].to_numpy(), {k.decode(): v.decode() for k, v in (f.metadata or {}).items()})
               for f in table.schema}  # fmt: skip
    data: dict[str, Any] = {}
    for v in schema.MANIFEST:
        if v.dims == ("sample", "band"):
            parts = [columns.pop(f"{v.name}_{b}")[0] for b in bands]
            data[v.name] = (("sample", "band"), np.stack(parts, axis=1), v.attrs)
    data |= {k: ("sample", values.astype(str) if values.dtype.kind == "O" else values, attrs)
             for k, (values, attrs) in columns.items()}  # fmt: skip
    return xr.Dataset(data, coords={"band": [*bands]})


def injections_beside(results: str) -> str:
    """URL of the set that goes with a result file of a completeness."""
    return like(results, results.removesuffix(".json") + ".injections.parquet")
