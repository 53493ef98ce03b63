"""Write the published set of injections: every injection of a split with its density and what a scorer recovered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from lensflow import schema
from lensflow._version import __version__
from lensflow.config.completeness import AxisConfig
from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.counts import CURVES, REASONS, Counted
from lensflow.measure.completeness.population.injected_prior import InjectedPrior, host_magnitude
from lensflow.measure.completeness.population.injection_set import FORMAT, KEY, LOG_Q
from lensflow.measure.completeness.variables import values_of
from lensflow.store import paths

_ROWS_AT_ONCE = 65_536
_LEFT_OUT = ("is_control", "split")


@dataclass(frozen=True, eq=False)
class Contents:
    """What a set is made of.

    Attributes
    ----------
    rows : Dataset
        Over ``sample`` and ``band``: what :meth:`Counted.from_rows` takes, controls among them; in memory or lazy.
    prior : InjectedPrior
    taus, rates : sequence of float
        Thresholds, and the false-positive rates that were asked for (NaN: none was).
    axes : sequence of AxisConfig
        Of the selection function; their values become columns.
    about : mapping
        Scorer, split, fingerprints, ...: plain JSON.
    """

    rows: xr.Dataset
    prior: InjectedPrior
    taus: Sequence[float]
    rates: Sequence[float]
    axes: Sequence[AxisConfig]
    about: Mapping[str, Any]


def write_injection_set(contents: Contents, url: str) -> int:
    """Write the injections of a split with their densities and what a scorer recovered, in pieces, atomically.

    Parameters
    ----------
    contents : Contents
    url : str
        Of a parquet file.

    Returns
    -------
    int
        Rows written.
    """
    count, writer = 0, None
    metadata = {KEY: json.dumps(_about(contents)).encode()}
    with paths.replacing(url) as path:
        try:
            for table in _tables(contents):
                if writer is None:
                    writer = pq.ParquetWriter(path, table.schema.with_metadata(metadata), compression="zstd")
                writer.write_table(table.replace_schema_metadata(metadata), row_group_size=_ROWS_AT_ONCE)
                count += table.num_rows
        finally:
            if writer is not None:
                writer.close()
        if not count:
            raise CompletenessError("injection set: there is no injection to publish")
    return count


def _tables(contents: Contents) -> Iterator[pa.Table]:
    rows = contents.rows
    for start in range(0, rows.sizes["sample"], _ROWS_AT_ONCE):
        block = rows.isel(sample=slice(start, start + _ROWS_AT_ONCE)).load()
        counted = Counted.from_rows(block)
        if len(counted.rows):
            yield _table(contents, block.isel(sample=counted.rows), counted)


def _table(contents: Contents, rows: xr.Dataset, counted: Counted) -> pa.Table:
    prior, bands = contents.prior, [str(b) for b in rows["band"].values]
    columns: dict[str, tuple[Any, str, str]] = {
        "host_id": (rows["host_id"].values.astype(str), "", "host galaxy; rows of one host share its pixels"),
        "score": (counted.score, "1", "what the scorer gave the image"),
        "valid": (counted.valid, "", "the row can be recovered or missed; all others are left out of a completeness"),
        "lost": (np.array([*REASONS, ""])[counted.lost], "", "why a row is not valid; empty where it is"),
    }
    for k, tau in enumerate(contents.taus):
        text = f"valid, and the score is at least {tau!r}"
        columns[f"recovered_{k}"] = (counted.recovered([tau])[0], "", text)
    for k, curve in enumerate(CURVES[1:], 1):
        columns[f"is_{curve}"] = (counted.curves[k], "", f"the row belongs to the curve {curve}")
    for name, density in prior.known().items():
        text = f"log density of {name} in the plan ({density.words})"
        if density.given:
            text += f", given {', '.join(density.given)}"
        units = "1" if density.is_discrete else f"log(1/{density.units})"
        columns[LOG_Q + name] = (prior.log_q([name], rows), units, text)
    for v in schema.manifest_variables(rows.variables):
        if v.name in _LEFT_OUT:
            continue
        if v.dims == ("sample",):
            columns[v.name] = (rows[v.name].values, v.units, v.meaning)
            continue
        values, names = rows[v.name].transpose(*v.dims).values, schema.packed_columns([v], bands)
        columns |= {
            name: (values[:, k], v.units, f"{v.meaning}; {name.rpartition('_')[2]}") for k, name in enumerate(names)
        }
    if "aperture_flux_nmgy" in rows:
        mags = host_magnitude(rows, bands.index(prior.reference_band))
        columns["host_reference_mag"] = (mags, "mag", f"host in {prior.reference_band}, above the Galaxy's dust")
    for axis in contents.axes:
        if axis.variable not in columns:
            columns[axis.variable] = (values_of(axis.variable, rows), "", "axis of the selection function")
    fields = [
        pa.field(k, _type_of(np.asarray(v)), metadata={"units": u, "long_name": t}) for k, (v, u, t) in columns.items()
    ]
    return pa.Table.from_arrays([pa.array(v, f.type) for (v, _, _), f in zip(columns.values(), fields, strict=True)],
                                schema=pa.schema(fields))  # fmt: skip


def _type_of(values: np.ndarray) -> pa.DataType:
    return pa.string() if values.dtype.kind in "UO" else pa.from_numpy_dtype(values.dtype)


def _about(contents: Contents) -> dict[str, Any]:
    prior = contents.prior
    known = prior.known()
    unknown = {}
    for name in prior.parameters:
        if name not in known:
            try:
                prior.density(name)
            except ConfigError as error:
                unknown[name] = str(error)
    return {
        "format": FORMAT,
        "lensflow": __version__,
        **contents.about,
        "plan": prior.plan.model_dump(mode="json"),
        "bands": [*prior.bands],
        "given": sorted(prior.given),
        "rows_dropped": dict(prior.dropped or {}),
        "thresholds": [{"column": f"recovered_{k}", "tau": tau, "rate": None if np.isnan(rate) else rate}
                       for k, (tau, rate) in enumerate(zip(contents.taus, contents.rates, strict=True))],
        "axes": [a.model_dump(mode="json") for a in contents.axes],
        "prior": {name: d.words for name, d in known.items()},
        "prior_unknown": unknown,
        "how_to_use": how_to_use(prior),
    }  # fmt: skip


def how_to_use(prior: InjectedPrior) -> str:
    """Ten lines of Python with pandas that weigh a set to another population.

    Parameters
    ----------
    prior : InjectedPrior

    Returns
    -------
    str
        Python that needs ``PATH``; it sets completeness, sd, n_det.
    """
    known = prior.known()
    name = (
        "theta_e_arcsec" if "theta_e_arcsec" in known else next((k for k, d in known.items() if not d.is_discrete), "")
    )
    if not name:
        return "# No parameter of this plan has a density: the rows can be counted, not weighed."
    column = {"lens_e": "(1 - rows.lens_q) / (1 + rows.lens_q)"}.get(name, f"rows.{name}")
    return f"""import numpy as np, pandas as pd
rows = pd.read_parquet(PATH)
rows = rows[rows.valid]                                # rows that can be recovered or missed
x = {column}
p = np.exp(-x / 0.5)                                   # your population in {name}, up to a constant factor
w = p / np.exp(rows.{LOG_Q}{name})                    # over the density of the injections
completeness = (w * rows.recovered_0).sum() / w.sum()
of_host = (w * (rows.recovered_0 - completeness)).groupby(rows.host_id).sum()   # rows of a host share pixels
sd = np.sqrt(len(of_host) / (len(of_host) - 1) * (of_host**2).sum()) / w.sum()
n_det = w[rows.recovered_0].sum() ** 2 / (w[rows.recovered_0] ** 2).sum()       # below 10: do not quote it
"""
