"""What the numbers of coded variables mean, as attributes of the opened datasets."""

from __future__ import annotations

from typing import Any

import xarray as xr

from lensflow import schema


def _codes() -> dict[str, dict[str, Any]]:
    """CF attributes that say what the numbers of a variable mean: ``flag_values``, or ``flag_masks`` of bits."""
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
    """Let every code say what it means; its values stay."""
    for name in [n for n in _CODES if n in opened]:
        opened[name].attrs.update(_CODES[name])
    return opened
