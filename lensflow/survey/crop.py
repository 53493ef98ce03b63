"""Crop stamps: cut once at the largest size, then crop as often as needed."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import geometry
from lensflow.errors import SurveyError


def crop(cutouts: xr.Dataset, size: int) -> xr.Dataset:
    """Crop stamps about their targets, lazily: the pixels that cutting at ``size`` would have given.

    The corner follows from each target's own position, so that ``x_center`` and ``y_center`` lie within half a pixel
    of the new geometric centre for odd and even sizes alike. Hosts without a position are cropped about the middle.
    What was measured over the whole stamp (status and reasons, coverage, mask fractions) stays as it was, and says so
    in the attrs of the result (``measured_over_pix``); what belongs to the target (coverage of the band, PSF, flux in
    an aperture) does not depend on the size.

    Parameters
    ----------
    cutouts : Dataset
        With dims host, y, x and variables x_center, y_center; any variable with dims y and x is cropped.
    size : int
        Pixels on a side. One of the stamps' own parity always fits; another may need one pixel more than there is
        where it is but one smaller.

    Returns
    -------
    Dataset
        Lazy where the pixels were.

    Raises
    ------
    SurveyError
        If a crop would reach over the edge of its stamp.
    """
    large = cutouts.sizes["y"]
    position = {axis: np.asarray(cutouts[f"{axis}_center"].values, np.float64) for axis in ("y", "x")}
    known = np.isfinite(position["y"]) & np.isfinite(position["x"])
    middle = geometry.stamp_corner(geometry.centre(large), size)
    corner = {a: np.where(known, geometry.stamp_corner(np.where(known, p, 0.0), size), middle)
              for a, p in position.items()}  # fmt: skip
    over = [(c < 0) | (c + size > large) for c in corner.values()]
    if not 1 <= size <= large or np.any(over):
        n = int(np.sum(over[0] | over[1])) if 1 <= size <= large else cutouts.sizes["host"]
        raise SurveyError(
            f"{n} of {cutouts.sizes['host']} crops of {size} pixels do not fit their stamps of {large}. "
            f"Take at most {large - 2 if large > 2 else large}, or cut larger stamps (survey.stamp_size)."
        )
    whole = cutouts.drop_dims(("y", "x"))
    for name, v in cutouts.data_vars.items():
        if v.dims[-2:] == ("y", "x"):
            whole[name] = (v.dims, _crop(v.data, corner["y"], corner["x"], size), v.attrs)
    for axis, c in corner.items():
        centre = cutouts[f"{axis}_center"]
        whole[f"{axis}_center"] = (centre.dims, position[axis] - c, centre.attrs)
    return whole[list(cutouts.data_vars)].assign_attrs(measured_over_pix=large)


def _crop(pixels: Any, y0: NDArray[np.int64], x0: NDArray[np.int64], size: int) -> Any:
    """Windows of an array (host, ..., y, x), numpy or Dask, one corner per host."""
    if not isinstance(pixels, da.Array):
        out = np.empty((*pixels.shape[:-2], size, size), pixels.dtype)
        for host, (y, x) in enumerate(zip(y0, x0, strict=True)):
            out[host] = pixels[host, ..., y : y + size, x : x + size]
        return out
    one = pixels.rechunk(dict.fromkeys(range(1, pixels.ndim), -1))
    edges = np.concatenate([[0], np.cumsum(one.chunks[0])])

    def block(part: NDArray[Any], block_info: Any = None) -> Any:
        k = block_info[0]["chunk-location"][0]
        rows = slice(edges[k], edges[k + 1])
        return _crop(part, y0[rows], x0[rows], size)

    return one.map_blocks(block, dtype=pixels.dtype, chunks=(*one.chunks[:-2], (size,), (size,)), meta=one._meta)
