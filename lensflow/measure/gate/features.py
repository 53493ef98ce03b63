"""Features of the gates: stamps, their own controls and control plus arc, for all recipes in one read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.config.checks import UNPAIRED
from lensflow.errors import GateError
from lensflow.measure.gate.recipes import Recipe, look, reduce_pixels, sky
from lensflow.measure.gate.regions import masked_regions
from lensflow.stats.hostsums import column


@dataclass(frozen=True, eq=False)
class Numbers:
    """Features of each row from one source (``core_raw``).

    Attributes
    ----------
    stamp, ctrl : ndarray of float32, shape (n, band, f)
    expected : ndarray of float32, shape (n, band, f), or None
        Of control plus the renderer's noiseless arc; None where the pairs hold no arc.
    """

    stamp: NDArray[np.float32]
    ctrl: NDArray[np.float32]
    expected: NDArray[np.float32] | None = None

    def take(self, rows: NDArray[np.int64]) -> Numbers:
        """Rows in the order given."""
        expected = None if self.expected is None else self.expected[rows]
        return Numbers(self.stamp[rows], self.ctrl[rows], expected)

    @staticmethod
    def concat(parts: Sequence[Numbers]) -> Numbers:
        """Join rows; without ``expected`` unless all have it."""
        known = [p.expected for p in parts if p.expected is not None]
        return Numbers(
            np.concatenate([p.stamp for p in parts]),
            np.concatenate([p.ctrl for p in parts]),
            np.concatenate(known) if len(known) == len(parts) else None,
        )


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """Injection rows, each with its own unlensed control, reduced to the gates' features.

    Attributes
    ----------
    numbers : dict of Numbers
        By source (``lensflow.measure.gate.recipes.Recipe.source``).
    covered : ndarray of bool, shape (n, band)
        The row has a PSF, hence an arc, in the band.
    sky_sigma : ndarray of float32, shape (n, band)
        Pixel scatter of the control away from the target (1.4826 MAD), nMgy/pixel: the unit of known leaks.
    host_index, row_id, theta_e_arcsec, arc_snr, split : ndarray, shape (n,)
        As in the manifest and the metrics.
    conditions : dict of ndarray, shape (n,) or (n, band)
        Of ``CONDITIONS``, what the pairs hold.
    """

    numbers: dict[str, Numbers]
    covered: NDArray[np.bool_]
    sky_sigma: NDArray[np.float32]
    host_index: NDArray[np.int64]
    row_id: NDArray[np.uint64]
    theta_e_arcsec: NDArray[np.float64]
    arc_snr: NDArray[np.float64]
    split: NDArray[np.uint8]
    conditions: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.host_index)

    def take(self, rows: NDArray[np.int64]) -> FeatureBlock:
        """Rows of the block, in the order given."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        conditions = {k: v[rows] for k, v in self.conditions.items()}
        return FeatureBlock({k: v.take(rows) for k, v in self.numbers.items()}, **columns, conditions=conditions)

    def __add__(self, other: FeatureBlock) -> FeatureBlock:
        return self.concat([self, other])

    @staticmethod
    def concat(blocks: Iterable[FeatureBlock]) -> FeatureBlock:
        """Join blocks of the same features; the order does not matter to the gates."""
        parts = list(blocks)
        if not parts:
            raise GateError("gates: no block of features to join")
        layouts = {tuple((k, v.stamp.shape[1:]) for k, v in p.numbers.items()) for p in parts}
        if len(layouts) > 1:
            raise GateError(f"gates: blocks of different features or (band, feature): {sorted(layouts)}")
        return FeatureBlock(
            {k: Numbers.concat([p.numbers[k] for p in parts]) for k in parts[0].numbers},
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS},
            conditions={
                k: np.concatenate([p.conditions[k] for p in parts])
                for k in parts[0].conditions
                if all(k in p.conditions for p in parts)
            },
        )


_COLUMNS = tuple(f.name for f in fields(FeatureBlock) if f.name not in ("numbers", "conditions"))
# What the original study cut its gates by, beside theta_E: of the row, the rest of its host.
CONDITIONS = ("psf_fwhm_arcsec", "bad_pixel_frac", "psf_source")


def distinct_controls(
    host_index: NDArray[np.int64], ctrl: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which of ``rows`` have distinct controls, and the index of each row's control among them.

    The rows of a host share its pixels, unless each was rounded by itself: what is asked of the control is then asked
    once a host.

    Parameters
    ----------
    host_index : ndarray, shape (n,)
        Of the n ``rows``.
    ctrl : ndarray, shape (all rows, band, y, x)
    rows : ndarray of int, shape (n,)
    """
    _, first, host = np.unique(host_index, return_index=True, return_inverse=True)
    if all(np.array_equal(ctrl[rows[k]], ctrl[rows[first[host[k]]]], equal_nan=True) for k in range(len(rows))):
        return first, host
    return np.arange(len(rows)), np.arange(len(rows))


def feature_block(
    pairs: xr.Dataset, recipes: Iterable[str], core_box_pix: int, mask_radius_pix: float = 0.0
) -> FeatureBlock:
    """Reduce the injection rows of a block of pairs to the features of all recipes, reading its pixels once.

    Parameters
    ----------
    pairs : Dataset
        A region of pairs with manifest columns, metrics and ``ctrl``; with ``arc``, the gates get their physical
        reference.
    recipes : iterable of str
    core_box_pix : int
        Side of the core box.
    mask_radius_pix : float
        Of the mask on the arcs' cores; core gates then look at further regions, which it does not decide.

    Raises
    ------
    GateError
        If a recipe or its band is unknown, or a row was masked with a larger radius.
    StoreError
        If a variable is missing.
    """
    bands = [str(b) for b in pairs["band"].values]
    sources: dict[str, list[str]] = {}
    for name in recipes:
        recipe = Recipe.of(name, bands)
        if recipe.kind in UNPAIRED:  # of all rows, not of pairs: see lensflow.measure.metadata.metadata_gate
            continue
        kind, view = recipe.source.split("_")
        kinds = sources.setdefault(view, [])
        regions = masked_regions(pairs.sizes["x"], mask_radius_pix, core_box_pix) if kind == "core" else ()
        kinds += [k for k in (kind, *(r.kind for r in regions)) if k not in kinds]
    refuse_other_masks(pairs, mask_radius_pix)
    rows = np.flatnonzero(~column(pairs, "is_control").astype(bool))
    host_index = column(pairs, "host_index")[rows].astype(np.int64)
    stamp, every_ctrl = column(pairs, "stamp")[rows], column(pairs, "ctrl")
    first, host = distinct_controls(host_index, every_ctrl, rows)
    ctrl = every_ctrl[rows[first]]
    expected = ctrl[host] + column(pairs, "arc")[rows] if "arc" in pairs else None
    numbers = {}
    for view, kinds in sources.items():
        of_stamp, of_ctrl = (reduce_pixels(look(v, view), kinds, core_box_pix) for v in (stamp, ctrl))
        of_both = None if expected is None else reduce_pixels(look(expected, view), kinds, core_box_pix)
        for kind in kinds:
            numbers[f"{kind}_{view}"] = Numbers(
                of_stamp[kind], of_ctrl[kind][host], None if of_both is None else of_both[kind]
            )
    return FeatureBlock(numbers=numbers, **block_columns(pairs, rows, sky(ctrl)[1][host]))


def block_columns(pairs: xr.Dataset, rows: NDArray[np.int64], sky_sigma: NDArray[np.float32]) -> dict[str, Any]:
    """Columns of a :class:`FeatureBlock` for some rows of a block of pairs."""
    return {
        "covered": np.isfinite(column(pairs, "psf_fwhm_arcsec"))[rows],
        "sky_sigma": sky_sigma,
        "host_index": column(pairs, "host_index")[rows].astype(np.int64),
        "row_id": column(pairs, "row_id")[rows].astype(np.uint64),
        "theta_e_arcsec": column(pairs, "theta_e_arcsec")[rows].astype(np.float64),
        "arc_snr": column(pairs, "arc_snr")[rows].astype(np.float64),
        "split": column(pairs, "split")[rows].astype(np.uint8),
        "conditions": {name: column(pairs, name)[rows] for name in CONDITIONS if name in pairs},
    }


def refuse_other_masks(pairs: xr.Dataset, mask_radius_pix: float) -> None:
    """Refuse rows whose stored mask differs from the config: the gates would use the wrong regions.

    Raises
    ------
    GateError
        Naming the first such row.
    """
    if "core_mask_radius_pix" not in pairs:
        return
    radius = column(pairs, "core_mask_radius_pix")
    other = np.isfinite(radius) & (radius > np.float32(mask_radius_pix))
    if other.any():
        row = int(np.argmax(other))
        raise GateError(
            f"row {int(column(pairs, 'row_id')[row])} was masked at r < {radius[row]:g} pixels "
            f"(core_mask_radius_pix), but the gates assume a mask of {mask_radius_pix:g}: use the config that "
            "the pairs were made with (injection.core_mask_radius_pix)"
        )
