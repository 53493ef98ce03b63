"""The arcs of masked pairs as they were before the mask."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import schema
from lensflow.errors import GateError
from lensflow.lensing.image_light import Sources
from lensflow.lensing.render import render


def unmasked_arcs(pairs: xr.Dataset, sources: Sources | None = None) -> NDArray[np.float32]:
    """Render the arcs of a block of pairs again, without a mask: the masked light is not stored.

    Parameters
    ----------
    pairs : Dataset
        In memory, with the manifest's columns and attrs; ``has_data``, where there is one; ``psf_kernel`` (sample,
        band, y, x) where ``psf_model`` is kernel.
    sources : Sources, optional
        Images for rows with a ``src_id``.

    Returns
    -------
    ndarray of float32, shape (sample, band, y, x)
        nMgy/pixel; 0 in controls and where the host has no data.
    """
    model = str(pairs.attrs["psf_model"])
    psf: dict = {"psf_model": model, "psf_beta": float(pairs.attrs["psf_beta"])}
    if model == "kernel":
        if "psf_kernel" not in pairs:
            raise GateError(
                "masked arcs are rendered again without their mask, but the pairs hold no psf_kernel: gate the run's "
                "folder (lensflow gate RUN), which reads it from the cutouts"
            )
        psf = {"psf_model": pairs["psf_kernel"].values, "psf_index": np.arange(pairs.sizes["sample"])}
    arc = render(
        {v.name: pairs[v.name].values for v in schema.manifest_variables(pairs.variables)},
        stamp_size=pairs.sizes["x"],
        pixel_scale_arcsec=float(pairs.attrs["pixel_scale_arcsec"]),
        sources=sources,
        **psf,
    ).arc
    return np.where(pairs["has_data"].values, arc, np.float32(0)) if "has_data" in pairs else arc
