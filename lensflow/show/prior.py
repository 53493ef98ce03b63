"""The prior as drawn: declared and actual ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.manifest.parameters import ANGLES, parameters
from lensflow.show.numbers import MISSING, number
from lensflow.show.table import Cell, Table, words

Floats = NDArray[np.float64]

# Enough for ranges; a longer manifest is thinned evenly.
_MAX_ROWS = 100_000


def drawn_parameters(manifest: xr.Dataset, bands: Sequence[str], reference_band: int) -> dict[str, Floats]:
    """Parameters of the injections but for angles, as :func:`lensflow.manifest.parameters.parameters` gives them.

    Parameters
    ----------
    manifest : Dataset
        Thinned evenly beyond 100,000 rows.
    bands : sequence of str
    reference_band : int
    """
    rows = manifest.isel(sample=slice(None, None, max(1, manifest.sizes["sample"] // _MAX_ROWS)))
    rows = rows.isel(sample=~rows["is_control"].values)
    square = manifest.attrs.get("declared", {}).get("src_offset") == "square"
    found = parameters(rows, bands, reference_band, square)
    return {name: values for name, values in found.items() if name not in ANGLES}


def declared_range(declared: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Declared range of a parameter; None if its prior is not bounded."""
    if name == "theta_e_arcsec" and declared.get("theta_e_from", "prior") != "prior":
        return None
    if (name, declared.get("lens_shape")) == ("lens_e", "host_light"):
        return None
    if name == "src_offset" and "src_offset_max" in declared:
        return float(declared.get("src_offset_min", 0.0)), float(declared["src_offset_max"])
    prior = declared.get({"g-r": "g_r", "r-z": "r_z"}.get(name, name))
    if name in ("g-r", "r-z"):
        clip = declared.get("colour_clip") or ()
        return (float(clip[0]), float(clip[1])) if clip else None
    if isinstance(prior, Mapping):
        return (float(prior["min"]), float(prior["max"])) if "min" in prior else None
    return (float(min(prior)), float(max(prior))) if isinstance(prior, Sequence) and prior else None


def outside_of_declared(values: Floats, ends: tuple[float, float] | None) -> int:
    """Rows whose value lies outside of the declared range (but for rounding)."""
    if ends is None:
        return 0
    slack = 1e-6 * max(1.0, abs(ends[0]), abs(ends[1]))
    return int(((values < ends[0] - slack) | (values > ends[1] + slack)).sum())


def declared_table(manifest: xr.Dataset, bands: Sequence[str], reference_band: int) -> Table:
    """Declared and drawn ranges; parameters with rows outside the declared range are marked."""
    declared = manifest.attrs.get("declared", {})
    from_table = manifest.attrs.get("design") == "table"
    lines: list[tuple[Any, ...]] = []
    for name, values in drawn_parameters(manifest, bands, reference_band).items():
        good = values[np.isfinite(values)]
        if good.size == 0:
            continue
        ends = None if from_table else declared_range(declared, name)
        outside = outside_of_declared(good, ends)
        shown = Cell(outside if ends else None, "alarm" if outside else "")
        lines.append((name, _in_words(declared, name, from_table), *np.percentile(good, (0, 50, 100)), shown))
    return Table(
        "The prior: declared in the config, and drawn in the manifest",
        [words("parameter"), words("declared"), "min", "median", "max", "outside"],
        lines,
        "“Outside” counts rows beyond the declared ends and must be 0; a dash: the values come from the hosts, a "
        "table, or a prior without ends.",
    )


def _in_words(declared: Mapping[str, Any], name: str, from_table: bool) -> str:
    if from_table:
        return "the table's, or the prior"
    if (name, declared.get("theta_e_from")) == ("theta_e_arcsec", "sigma_v"):
        return "from sigma_v and redshifts"
    if (name, declared.get("lens_shape")) == ("lens_e", "host_light"):
        return "the host's light"
    if name == "src_offset":
        images = int(declared.get("src_min_images", 1))
        more = f", at least {images} images" if images > 1 else ""
        ends = declared_range(declared, name)
        return f"{declared.get('src_offset', '')} {number(ends[0])} to {number(ends[1])}{more}" if ends else MISSING
    prior = declared.get({"g-r": "g_r", "r-z": "r_z"}.get(name, name))
    if isinstance(prior, Mapping) and (of := prior.get("relation", prior.get("table"))) is not None:
        return str(of)
    if name in ("g-r", "r-z") and prior:
        return f"normal {number(prior[0])} ± {number(prior[1])}"
    if isinstance(prior, Mapping):
        return f"{number(prior['min'])} to {number(prior['max'])}, {prior['distribution']}"
    if name == "src_mag" and "dmag" in declared:
        return "the host's + dmag"
    return ", ".join(number(v) for v in prior) if isinstance(prior, Sequence) and prior else MISSING
