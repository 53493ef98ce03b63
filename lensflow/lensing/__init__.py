"""Lens physics: arrays in, arrays out.

The compiled renderer is in ``engine``; how it works and how to change it is in ``lensflow/lensing/engine/README.md``.
"""

from lensflow.lensing.angles import (
    components_from_q_phi,
    phi_from_position_angle,
    position_angle_from_phi,
    q_phi_from_components,
    theta_e_from_sigma_v,
)
from lensflow.lensing.components import Profile, source_profiles
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
    "Profile",
    "Rendering",
    "Sources",
    "arc_noise",
    "components_from_q_phi",
    "correlated_noise_factor",
    "counter_image_radius_arcsec",
    "gain_from_exposure",
    "gain_from_invvar",
    "image_multiplicity",
    "image_positions",
    "magnification",
    "phi_from_position_angle",
    "point_magnification",
    "position_angle_from_phi",
    "prepare_image_source",
    "prepare_kernel",
    "psf_fwhm_from_psfsize",
    "q_phi_from_components",
    "render",
    "render_arcs",
    "resample_kernel",
    "source_profiles",
    "theta_e_from_sigma_v",
    "updated_invvar",
]
