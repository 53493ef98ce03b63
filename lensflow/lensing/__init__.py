"""Lens physics: arrays in, arrays out."""

from lensflow.lensing.image_light import Sources
from lensflow.lensing.image_positions import counter_image_radius_arcsec, image_multiplicity, image_positions
from lensflow.lensing.magnifications import magnification, point_magnification
from lensflow.lensing.noise import arc_noise, gain_from_exposure, gain_from_invvar, updated_invvar
from lensflow.lensing.noise_correlation import correlated_noise_factor
from lensflow.lensing.psf import psf_fwhm_from_psfsize
from lensflow.lensing.psf_image import KernelPSF, prepare_kernel, resample_kernel
from lensflow.lensing.render import Rendering, render, render_arcs
from lensflow.lensing.source_image import ImageSource, prepare_image_source

__all__ = [
    "ImageSource",
    "KernelPSF",
    "Rendering",
    "Sources",
    "arc_noise",
    "correlated_noise_factor",
    "counter_image_radius_arcsec",
    "gain_from_exposure",
    "gain_from_invvar",
    "image_multiplicity",
    "image_positions",
    "magnification",
    "point_magnification",
    "prepare_image_source",
    "prepare_kernel",
    "psf_fwhm_from_psfsize",
    "render",
    "render_arcs",
    "resample_kernel",
    "updated_invvar",
]
