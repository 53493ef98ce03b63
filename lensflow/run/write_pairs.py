"""Store lazy pairs: only what they are, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import xarray as xr

from lensflow import schema
from lensflow.config import RunConfig, fingerprint
from lensflow.errors import ConfigError, StoreError
from lensflow.manifest.image_sources import bank_of
from lensflow.run.cut import freeze_cutouts
from lensflow.run.execute import Progress, silent
from lensflow.run.inject import inject_step
from lensflow.run.lazy import Origin, dask_names, origins, variables_of
from lensflow.run.plan import freeze_manifest

# What of a config's store decides bits.
_ROUNDING = ("stamp_steps_per_sigma", "arc_steps_per_sigma", "quantize_step")


def write(pairs: xr.Dataset, config: RunConfig, progress: Progress = silent) -> xr.Dataset:
    """Store what :func:`lensflow.run.lazy.inject` gave, region by region; see :func:`lensflow.api.write_pairs`."""
    origin = origin_of(pairs)
    _refuse_other_settings(origin, config)
    freeze_cutouts(origin.cutouts, config)
    freeze_manifest(origin.manifest, config)
    return inject_step(config, progress)


def origin_of(pairs: xr.Dataset) -> Origin:
    """Cutouts, manifest and settings that lazy pairs were made of.

    A Dask array's name says what it computes, so arrays are compared by their names; the manifest's columns by value.

    Raises
    ------
    StoreError
        If they are not exactly what :func:`inject` gave; the message names what was changed.
    """
    names = dask_names(pairs)
    found = [o for name in names.values() if (o := origins.get(name.rpartition("-")[2])) is not None]
    way_out = (
        "To leave out or edit rows, do it in the manifest, and hand on lf.inject(cutouts, manifest, config); what is "
        "yours can be stored with pairs.to_zarr(...)."
    )
    if not found:
        raise StoreError(
            f"write_pairs takes what lf.inject gave, before rows were selected and before compute or persist. {way_out}"
        )
    origin = found[0]
    changes = [*_changed_pixels(pairs, origin, names), *_changed_rows(pairs, origin)]
    if changes:
        more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
        raise StoreError(f"pairs are not those that lf.inject gave: {', '.join(changes[:5])}{more}. {way_out}")
    return origin


def _changed_pixels(pairs: xr.Dataset, origin: Origin, names: dict[str, str]) -> Iterator[str]:
    for v in variables_of(origin.columns):
        if v.name not in names:
            yield f"no {v.name}"
        elif names[v.name] != origin.name(v.name) or pairs[v.name].dims != v.dims:
            yield f"{v.name} was changed"


def _changed_rows(pairs: xr.Dataset, origin: Origin) -> Iterator[str]:
    known = {v.name for v in variables_of(origin.columns)}
    stored = {*(v.name for v in schema.manifest_variables(origin.columns.variables)), "host_id", "band"}
    yield from (f"{n} is no column of a manifest" for n in origin.columns.variables if n not in stored)
    for name in map(str, origin.columns.variables):
        if name not in pairs.variables:
            yield f"no {name}"
        elif not _same(pairs[name].variable, origin.columns[name].variable):
            yield f"{name} was changed"
    yield from (f"{n} was added" for n in pairs.variables if n not in known and n not in origin.columns.variables)
    attrs = origin.columns.attrs
    for key in sorted({*attrs, *pairs.attrs}):
        if key not in pairs.attrs or key not in attrs or not _equal(attrs[key], pairs.attrs[key]):
            yield f"attrs[{key!r}] was changed"


def _same(one: xr.Variable, other: xr.Variable) -> bool:
    if one.dims != other.dims or one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.chunks is not None or other.chunks is not None:
        return bool(getattr(one.data, "name", None) == getattr(other.data, "name", ""))
    return one.values is other.values or one.values.tobytes() == other.values.tobytes()


def _equal(one: Any, other: Any) -> bool:
    return fingerprint(repr(one)) == fingerprint(repr(other))


def _refuse_other_settings(origin: Origin, config: RunConfig) -> None:
    """Refuse a config with which other bits would be written than the pairs have.

    Raises
    ------
    ConfigError
        Naming the first setting that differs.
    """
    made, now = origin.config.model_dump(), config.injection.model_dump()
    differ: list[tuple[str, Any, Any]] = [(f"injection.{k}", made[k], now[k]) for k in now if made[k] != now[k]]
    stores = ((k, getattr(origin.store, k), getattr(config.store, k)) for k in _ROUNDING)
    differ += [(f"store.quantize ({k})", was, wanted) for k, was, wanted in stores if was != wanted]
    bank = bank_of(config)
    was_of, now_of = ("no images" if b is None else fingerprint(b.content())[:12] for b in (origin.sources, bank))
    if was_of != now_of:
        differ.append(("plan.sources", was_of, now_of))
    if differ:
        name, was, wanted = differ[0]
        raise ConfigError(
            f"{name}: the pairs were made with {was}, this config has {wanted} ({len(differ) - 1} other(s) differ). "
            "Make them with this config: lf.inject(cutouts, manifest, config)."
        )
