"""Unpack stored tables into variables, with the meaning of their codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dask.array as da
import xarray as xr

from lensflow import schema
from lensflow.errors import StoreError
from lensflow.schema import Variable
from lensflow.store.create import packed_of


def _codes() -> dict[str, dict[str, Any]]:
    """CF attributes for the meaning of a variable's numbers: ``flag_values``, or ``flag_masks`` for bits."""
    kinds = {"status": schema.Status, "psf_source": schema.PsfSource, "host_shape_source": schema.HostShape}
    names = {n: {int(c): c.name for c in kind} for n, kind in kinds.items()}
    names["split"] = dict(enumerate((*schema.SPLITS, "guard")))
    values = {n: {"flag_values": [*of], "flag_meanings": " ".join(of.values())} for n, of in names.items()}
    reasons = {
        "flag_masks": [int(r) for r in schema.Reason],
        "flag_meanings": " ".join(str(r.name) for r in schema.Reason),
    }
    return {**values, "reasons": reasons, "band_reasons": reasons}


_CODES = _codes()


def explained(opened: xr.Dataset) -> xr.Dataset:
    """Add the meaning of every code as attributes; values stay."""
    for name in [n for n in _CODES if n in opened]:
        opened[name].attrs.update(_CODES[name])
    return opened


def without_radius_of_controls(pairs: xr.Dataset) -> xr.Dataset:
    """Pairs with NaN as the Einstein radius of controls, where the manifest has 0."""
    theta_e = pairs["theta_e_arcsec"]
    attrs = {**theta_e.attrs, "long_name": str(theta_e.attrs.get("long_name", "")).replace("0 for", "NaN for")}
    return pairs.assign(theta_e_arcsec=theta_e.where(~pairs["is_control"]).assign_attrs(attrs))


def unpack(
    table: Any, store: str, columns: Sequence[str], variables: Iterable[Variable], bands: Sequence[str]
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, str]]]:
    """Named variables of a packed table (numpy or Dask), with the registry's dtypes and attrs.

    ``variables`` are the layout's; of a manifest, the further ones that this one has come with them.
    """
    if store == "manifest":
        variables = packed_of(schema.variables_of_columns(columns, bands))
    where = {c: k for k, c in enumerate(columns)}
    out = {}
    for v in variables:
        names = schema.packed_columns([v], bands)
        missing = [n for n in names if n not in where]
        if missing:
            raise StoreError(f"packed table has no column {missing[0]!r}: the store has another schema version")
        values = table[:, [where[n] for n in names]].astype(v.stored_dtype)
        values = values.map_blocks(v.decode, dtype=v.dtype) if isinstance(table, da.Array) else v.decode(values)
        out[v.name] = (v.dims, values if len(v.dims) > 1 else values[:, 0], v.attrs)
    return out
