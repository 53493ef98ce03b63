"""Features of the gates: stamps, their own controls and control plus arc, for all recipes in one read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.config.checks import UNPAIRED
from lensflow.errors import GateError
from lensflow.measure.gate.recipes import About, Recipe, reduce_pixels, sky, view_of
from lensflow.measure.gate.regions import masked_regions
from lensflow.stats.hostsums import column, same_values


class Features(NamedTuple):
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


def with_features(rows: xr.Dataset, features: Mapping[str, Features]) -> xr.Dataset:
    """Put features beside the columns of their rows.

    Parameters
    ----------
    rows : Dataset
        Over ``sample`` and ``band`` (:func:`block_columns`).
    features : mapping of Features
        By source (``lensflow.measure.gate.recipes.Recipe.source``).

    Returns
    -------
    Dataset
        With ``<source>.stamp``, ``<source>.ctrl`` and, where known, ``<source>.expected``, over sample, band and a
        dimension of their own.
    """
    variables = {
        f"{source}.{name}": (("sample", "band", f"{source}.feature"), values)
        for source, found in features.items()
        for name, values in found._asdict().items()
        if values is not None
    }
    return rows.assign(variables)


def features_of(rows: xr.Dataset, source: str) -> Features:
    """Features of one source.

    Parameters
    ----------
    rows : Dataset
        As :func:`feature_rows` makes them.
    source : str
        One of :func:`sources_of`.

    Returns
    -------
    Features
    """
    expected = f"{source}.expected"
    return Features(
        rows[f"{source}.stamp"].values,
        rows[f"{source}.ctrl"].values,
        rows[expected].values if expected in rows else None,
    )


def sources_of(rows: xr.Dataset) -> list[str]:
    """Sources whose features the rows hold.

    Parameters
    ----------
    rows : Dataset
        As :func:`feature_rows` makes them.

    Returns
    -------
    list of str
    """
    return [str(n).removesuffix(".stamp") for n in rows.data_vars if str(n).endswith(".stamp")]


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
    others = np.flatnonzero(first[host] != np.arange(len(rows)))
    if all(same_values(ctrl[rows[k]], ctrl[rows[first[host[k]]]]) for k in others):
        return first, host
    return np.arange(len(rows)), np.arange(len(rows))


def feature_rows(
    pairs: xr.Dataset,
    recipes: Iterable[str],
    core_box_pix: int,
    mask_radius_pix: float = 0.0,
    chosen: NDArray[np.bool_] | None = None,
) -> xr.Dataset:
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
    chosen : ndarray of bool, shape (sample,), optional
        Rows that may be taken; by default all.

    Returns
    -------
    Dataset
        Over ``sample``, injection rows, each with its own unlensed control: the columns of :func:`block_columns` and
        the features (:func:`features_of`). Those of other pairs are joined by
        :class:`lensflow.stats.kept_rows.KeptRows`; their order does not matter to the gates.

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
    taken = ~column(pairs, "is_control").astype(bool)
    rows = np.flatnonzero(taken if chosen is None else taken & chosen)
    host_index = column(pairs, "host_index")[rows].astype(np.int64)
    every_stamp, every_ctrl = column(pairs, "stamp"), column(pairs, "ctrl")
    first, host = distinct_controls(host_index, every_ctrl, rows)
    ctrl = every_ctrl[rows[first]]
    features, box = {}, (..., *geometry.core_box(ctrl.shape[-1], core_box_pix))
    if sources.get("raw") == ["core"]:  # of pixels as they are: no others are copied
        del sources["raw"]
        flat = (len(rows), ctrl.shape[1], core_box_pix**2)
        stamp_box, ctrl_box = every_stamp[box][rows].reshape(flat), ctrl[box][host].reshape(flat)
        in_box = ctrl_box + column(pairs, "arc")[box][rows].reshape(flat) if "arc" in pairs else None
        features["core_raw"] = Features(
            stamp_box.astype(np.float32, copy=False),
            ctrl_box.astype(np.float32, copy=False),
            None if in_box is None else in_box.astype(np.float32, copy=False),
        )
    stamp = every_stamp[rows] if sources else every_stamp[:0]
    expected = ctrl[host] + column(pairs, "arc")[rows] if "arc" in pairs and sources else None
    about, about_ctrl = About.of(pairs, rows), About.of(pairs, rows[first])
    for view, kinds in sources.items():
        of_stamp, of_ctrl = (
            reduce_pixels(view_of(v, view, of), kinds, core_box_pix) for v, of in ((stamp, about), (ctrl, about_ctrl))
        )
        of_both = None if expected is None else reduce_pixels(view_of(expected, view, about), kinds, core_box_pix)
        for kind in kinds:
            features[f"{kind}_{view}"] = Features(
                of_stamp[kind], of_ctrl[kind][host], None if of_both is None else of_both[kind]
            )
    return with_features(block_columns(pairs, rows, sky(ctrl)[1][host]), features)


def block_columns(pairs: xr.Dataset, rows: NDArray[np.int64], sky_sigma: NDArray[np.float32]) -> xr.Dataset:
    """Columns that the gates need of some rows of a block of pairs.

    Parameters
    ----------
    pairs : Dataset
        With manifest columns and metrics.
    rows : ndarray of int, shape (n,)
    sky_sigma : ndarray of float32, shape (n, band)
        Pixel scatter of the control away from the target (1.4826 MAD), nMgy/pixel: the unit of known leaks.

    Returns
    -------
    Dataset
        Over ``sample`` and ``band``: ``covered`` (the row has a PSF, hence an arc, in the band), ``sky_sigma``,
        ``host_index``, ``row_id``, ``theta_e_arcsec``, ``arc_snr``, ``split`` and, of ``CONDITIONS``, what the pairs
        hold.
    """
    one, each = ("sample",), ("sample", "band")
    types = {"host_index": np.int64, "row_id": np.uint64, "theta_e_arcsec": np.float64, "arc_snr": np.float64,
             "split": np.uint8}  # fmt: skip
    conditions = {name: column(pairs, name)[rows] for name in CONDITIONS if name in pairs}
    return xr.Dataset(
        {
            "covered": (each, np.isfinite(column(pairs, "psf_fwhm_arcsec"))[rows]),
            "sky_sigma": (each, sky_sigma),
            **{name: (one, column(pairs, name)[rows].astype(kind)) for name, kind in types.items()},
            **{name: (each[: values.ndim], values) for name, values in conditions.items()},
        }
    )


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
