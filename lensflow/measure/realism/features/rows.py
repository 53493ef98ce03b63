"""Features of blocks: rows of pairs, and hosts or real lenses, for any number of regions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import RealismError
from lensflow.injection.inject import rows_of_hosts
from lensflow.measure.lens_light import Light
from lensflow.measure.realism.features.stamps import features
from lensflow.stats.hostsums import column
from lensflow.stats.kept_rows import KeptRows

Variable = Literal["stamp", "ctrl"]
OF_HOSTS = ("invvar", "psfsize_arcsec", "x_center", "y_center")


def pairs_features(
    pairs: xr.Dataset,
    hosts: xr.Dataset,
    variable: Variable = "stamp",
    light: Light = "radial",
    reference: str = "r",
) -> KeptRows:
    """Features of every row of a block of pairs.

    Noise, PSF width and target are those of the row's host, as for a real lens: nothing of the manifest is read but
    whose host it is.

    Parameters
    ----------
    pairs : Dataset
        With ``host_index``, ``row_id``, ``is_control`` and ``variable``; a column ``row`` is kept.
    hosts : Dataset
        Their cutouts, with ``invvar``, ``psfsize_arcsec``, ``x_center``, ``y_center`` and, where they are not numbered
        0, 1, ..., the coordinate ``host_index``.
    variable : {"stamp", "ctrl"}
    light, reference
        As for :func:`features`.

    Returns
    -------
    KeptRows
        The Dataset of :func:`features` with ``row_id``, ``host_index``, ``is_control``.

    Raises
    ------
    StoreError
        If a variable is missing.
    """
    host_index = column(pairs, "host_index").astype(np.int64)
    at = rows_of_hosts(hosts, host_index)
    found = _measured(column(pairs, variable), hosts, at, _scale(pairs), _bands(pairs, hosts), light, reference)
    ids: dict[str, NDArray[Any]] = {
        "row_id": column(pairs, "row_id").astype(np.uint64),
        "host_index": host_index,
        "is_control": column(pairs, "is_control").astype(bool),
    }
    if "row" in pairs.variables:
        ids["row"] = column(pairs, "row").astype(np.int64)
    return KeptRows(found.assign({name: ("sample", values) for name, values in ids.items()}))


def cutouts_features(cutouts: xr.Dataset, light: Light = "radial", reference: str = "r") -> KeptRows:
    """Features of every host of a block of cutouts: unlensed hosts of a run, or real lenses.

    Parameters
    ----------
    cutouts : Dataset
        With ``image`` and the variables that :func:`pairs_features` reads; the coordinate ``host_index`` says which
        hosts of the store they are.
    light, reference
        As for :func:`features`.

    Returns
    -------
    KeptRows
        The Dataset of :func:`features` with ``host_row``, the hosts' places in their store.
    """
    n = cutouts.sizes["host"]
    row = cutouts["host_index"].values if "host_index" in cutouts.variables else np.arange(n)
    every = np.arange(n)
    found = _measured(
        column(cutouts, "image"), cutouts, every, _scale(cutouts), _bands(cutouts, cutouts), light, reference
    )
    return KeptRows(found.assign(host_row=("sample", row.astype(np.int64))))


def _measured(
    images: NDArray[Any],
    hosts: xr.Dataset,
    at: NDArray[np.int64],
    scale: float,
    bands: list[str],
    light: Light,
    reference: str,
) -> xr.Dataset:
    invvar, psf, x, y = (column(hosts, name) for name in OF_HOSTS)
    return features(images, invvar[at], psf[at], scale, bands, x[at], y[at], reference=reference, light=light)


def _bands(block: xr.Dataset, hosts: xr.Dataset) -> list[str]:
    own, theirs = ([str(b) for b in ds["band"].values] for ds in (block, hosts))
    if own != theirs:
        raise RealismError(f"features: pairs of bands {', '.join(own)} on cutouts of bands {', '.join(theirs)}")
    return own


def _scale(block: xr.Dataset) -> float:
    if "pixel_scale_arcsec" not in block.attrs:
        raise RealismError("features: the block does not say its pixel scale (attribute pixel_scale_arcsec)")
    return float(block.attrs["pixel_scale_arcsec"])
