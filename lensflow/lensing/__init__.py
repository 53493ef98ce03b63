"""Lens physics: arrays in, arrays out."""

from lensflow.lensing.noise import arc_noise, gain_from_exposure, gain_from_invvar, updated_invvar
from lensflow.lensing.psf import psf_fwhm_from_psfsize
from lensflow.lensing.render import Rendering, render, render_arcs

__all__ = [
    "Rendering",
    "arc_noise",
    "gain_from_exposure",
    "gain_from_invvar",
    "psf_fwhm_from_psfsize",
    "render",
    "render_arcs",
    "updated_invvar",
]
