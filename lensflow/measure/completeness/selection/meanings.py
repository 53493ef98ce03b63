"""Units and meaning of what bins are made of, for attributes of tables and for messages."""

from __future__ import annotations

from lensflow import schema
from lensflow.config.completeness import band_of

_DERIVED = {
    "src_mag": ("mag", "AB magnitude of the unlensed source above the Milky Way's dust"),
    "host_mag": ("mag", "AB magnitude of the host"),
    "psfsize": ("arcsec", "FWHM of the Gaussian with the noise-equivalent area of the PSF"),
    "psfdepth": ("mag", "5-sigma AB depth of a point source"),
    "theta_e_over_psfsize": ("1", "Einstein radius over psfsize"),
    "theta_e_over_fwhm": ("1", "Einstein radius over the FWHM of the profile that was applied"),
    "resolution": ("1", "Einstein radius over psfsize in the reference band"),
    "resolution_fwhm": ("1", "Einstein radius over the FWHM of the applied profile in the reference band"),
    "host_colour": ("mag", "magnitude of the host in the first band less that in the reference band"),
    "brick": ("", "name of the brick"),
}


def describe(name: str) -> tuple[str, str]:
    """Units and meaning of a variable that bins are made of.

    Parameters
    ----------
    name : str
        As a config names it: ``theta_e_arcsec``, ``src_mag_r``.

    Returns
    -------
    (str, str)
        Units (``1`` for pure numbers), and the meaning in words.

    Raises
    ------
    ValueError
        If there is no such variable.
    """
    band = band_of(name)
    base = name if band is None else name[: -len(band) - 1]
    if base in _DERIVED:
        units, meaning = _DERIVED[base]
    else:
        groups = (
            *(schema.MANIFEST, schema.COMPONENTS, schema.CUTOUTS, schema.TARGETS, schema.METRICS),
            *(schema.COMPONENT_METRICS, schema.ROUNDING, schema.FLAGS),
        )
        units, meaning = next((v.units, v.meaning) for group in groups for v in group if v.name == base)
    return units, meaning if band is None else f"{meaning}, band {band}"
