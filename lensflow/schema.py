"""Every variable of every store, once: name, dims, dtype, units, meaning.

Templates, validation, attrs and ``docs/schema.md`` are made from this registry; nothing else spells out a
store's layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow.errors import StoreError, did_you_mean

SCHEMA_VERSION = 3


@dataclass(frozen=True)
class Variable:
    """One stored variable.

    ``categories`` are the values that a text may have: it is stored as their numbers, one byte each.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: str
    meaning: str
    categories: tuple[str, ...] = ()

    @property
    def attrs(self) -> dict[str, str]:
        """CF-style attributes written with the variable."""
        return {"units": self.units, "long_name": self.meaning}

    @property
    def stored_dtype(self) -> Any:
        """The dtype on disk: one byte where there are categories, ``str`` for other text.

        Text is of variable length there: zarr v3 has no specification for text of fixed width.
        """
        if self.categories:
            return np.dtype("u1")
        return str if self.dtype.startswith("U") else np.dtype(self.dtype)

    @property
    def stored_bytes(self) -> int:
        """Bytes of one value before compression; of text, those of the longest value."""
        return 1 if self.categories else np.dtype(self.dtype).itemsize

    @property
    def stored_attrs(self) -> dict[str, Any]:
        """``attrs``, and what the numbers of categories mean (CF ``flag_values``)."""
        flags = {"flag_values": list(range(len(self.categories))), "flag_meanings": " ".join(self.categories)}
        return self.attrs | (flags if self.categories else {})

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values as they are stored.

        Raises
        ------
        StoreError
            If a text is none of the categories, or longer than the variable's width.
        """
        if not self.categories:
            text = np.asarray(values)
            width = np.dtype(self.dtype).itemsize if self.dtype.startswith("U") else 0
            if width and text.dtype.kind == "U" and text.dtype.itemsize > width:
                longest = max(map(str, text), key=len, default="")
                if len(longest) > width // 4:
                    raise StoreError(f"{self.name}: {longest!r} has {len(longest)} characters, {width // 4} are kept")
            return np.asarray(values, dtype=self.dtype)
        codes = np.full(len(values), 255, np.uint8)
        for code, name in enumerate(self.categories):
            codes[values == name] = code
        if (codes == 255).any():
            row = int(np.argmax(codes))
            raise StoreError(f"{self.name}: row {row} is {values[row]!r}, none of {', '.join(self.categories)}")
        return codes

    def decode(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values from what :meth:`encode` made of them."""
        if self.categories:
            return np.asarray(self.categories, dtype=self.dtype)[stored]
        return np.asarray(stored.astype(self.dtype)) if self.dtype.startswith("U") else stored


class Status(IntEnum):
    """What became of a requested host."""

    OK = 0
    PARTIAL = 1
    FAILED = 2


class Reason(IntFlag):
    """Why a host is not simply OK; bits combine. Band bits stand per band in ``band_reasons``."""

    OUTSIDE_BRICK = 1
    PARTIAL_STAMP = 2
    MISSING_FILE = 4
    CORRUPT_FILE = 8
    NONFINITE = 16
    ALL_MASKED = 32
    NO_COVERAGE = 64
    NO_PSF = 128
    ASSUMED_NOISE = 256
    ASSUMED_PSF = 512
    UNKNOWN_UNIT = 1024
    NO_PSF_IMAGE = 2048
    IMPLAUSIBLE_PSF = 4096
    UNKNOWN_MASK_BIT = 8192


# Reasons that belong to one band and are named with it in reports (NO_COVERAGE_g).
BAND_REASONS = (
    Reason.PARTIAL_STAMP
    | Reason.MISSING_FILE
    | Reason.CORRUPT_FILE
    | Reason.NONFINITE
    | Reason.NO_COVERAGE
    | Reason.NO_PSF
    | Reason.ASSUMED_NOISE
    | Reason.ASSUMED_PSF
    | Reason.UNKNOWN_UNIT
    | Reason.NO_PSF_IMAGE
    | Reason.IMPLAUSIBLE_PSF
)


class PsfSource(IntEnum):
    """Provenance of ``psfsize_arcsec``."""

    MAP = 0
    MANIFEST = 1
    FALLBACK_R = 2
    COADD_PSF = 3
    NONE = 4


class HostShape(IntEnum):
    """Where a host's axis ratio and angle come from, and why it has none."""

    CATALOGUE = 0
    FIT = 1
    NOT_MEASURED = 2
    NO_DATA = 3
    FAINT = 4
    UNRESOLVED = 5
    POOR_FIT = 6
    OFF_CENTRE = 7


def _v(name: str, dims: str, dtype: str, units: str, meaning: str, categories: tuple[str, ...] = ()) -> Variable:
    return Variable(name, tuple(dims.split()), dtype, units, meaning, categories)


TARGETS = (
    _v("host_id", "host", "U", "", "name of the host galaxy, unique after merging duplicates"),
    _v("ra_deg", "host", "f8", "deg", "right ascension, ICRS"),
    _v("dec_deg", "host", "f8", "deg", "declination, ICRS"),
    _v("brickname", "host", "U", "", "survey brick that holds the host"),
    _v("flux_nmgy", "host band", "f4", "nMgy", "catalogue flux; NaN where the catalogue has none"),
    _v("region", "host", "U", "", "region of the sky that is never divided between splits (splits.cells: region)"),
    _v("sigma_v_km_s", "host", "f4", "km/s", "velocity dispersion; NaN where the catalogue has none"),
    _v("z_lens", "host", "f4", "1", "redshift; NaN where the catalogue has none"),
    _v("type", "host", "U", "", "morphological type of the catalogue's fit (REX, EXP, DEV, SER, ...)"),
    _v("ebv", "host", "f4", "mag", "Galactic extinction E(B-V); NaN where the catalogue has none"),
    _v("psfdepth_mag", "host band", "f4", "mag", "5-sigma point-source depth of catalogue or brick, AB; NaN = none"),
    _v("catalogue_psfsize_arcsec", "host band", "f4", "arcsec", "PSF size of the catalogue or brick; NaN = none"),
    _v("shape_r_arcsec", "host", "f4", "arcsec", "half-light radius of the catalogue's fit; NaN = none"),
    _v("shape_e1", "host", "f4", "1",
       "(a-b)/(a+b) cos 2 PA of the catalogue's fit, PA from north to east (tractor's); NaN = none"),
    _v("shape_e2", "host", "f4", "1", "(a-b)/(a+b) sin 2 PA of the catalogue's fit (tractor's); NaN = none"),
    _v("sersic", "host", "f4", "1", "Sersic index of the catalogue's fit; NaN = none"),
)  # fmt: skip

# Catalogue columns that a target table may lack; stores hold NaN or empty text then.
CATALOGUE = tuple(v for v in TARGETS if v.name not in {"host_id", "ra_deg", "dec_deg", "brickname", "flux_nmgy"})

CUTOUTS = (
    _v("image", "host band y x", "f4", "nMgy/pixel", "survey image; 0 with invvar 0 where there is no data"),
    _v("invvar", "host band y x", "f4", "nMgy^-2", "inverse variance of image; 0 = no data"),
    _v("maskbits", "host y x", "i4", "", "survey mask bits (Legacy Surveys DR10 numbering)"),
    _v("nexp", "host band", "i2", "1", "exposures at the target's pixel; 0 = the band was not observed there"),
    _v("psfsize_arcsec", "host band", "f4", "arcsec",
       "FWHM of the Gaussian with the PSF's noise-equivalent area; NaN = none"),
    _v("psf_source", "host band", "u1", "",
       "where psfsize comes from: 0 map, 1 manifest, 2 fallback_r, 3 coadd PSF, 4 none"),
    _v("covered", "host band", "bool", "", "the survey has an exposure of the target in this band"),
    _v("coverage_frac", "host band", "f4", "1", "share of the stamp's pixels that have data"),
    _v("x_center", "host", "f8", "pixel", "target position in the stamp, x; pixel centres are integers; NaN = unknown"),
    _v("y_center", "host", "f8", "pixel", "target position in the stamp, y; NaN = unknown"),
    _v("status", "host", "u1", "", "0 OK, 1 PARTIAL (some bands or pixels are missing), 2 FAILED"),
    _v("reasons", "host", "u4", "", "reason bits of the host, all bands together (lensflow.schema.Reason)"),
    _v("band_reasons", "host band", "u4", "", "reason bits of each band"),
    _v("bad_pixel_frac", "host", "f4", "1", "share of stamp pixels with any of the configured mask bits"),
    _v("mask_bit_frac", "host mask_bit", "f4", "1", "share of stamp pixels with each mask bit, bits 0 to 16"),
    _v("wise_brightmask_frac", "host", "f4", "1", "share of stamp pixels with a WISE bright-star bit (8, 9)"),
    _v("flux_nmgy", "host band", "f4", "nMgy", "catalogue flux of the host; NaN where the catalogue has none"),
    _v("aperture_flux_nmgy", "host band", "f4", "nMgy", "flux of the cutout within 5\" of the target; NaN = no data"),
    _v("noise_correlation_factor", "host band", "f4", "1",
       "sqrt(sum of the noise's autocorrelation to 3 pixels) on the stamp's blank sky; NaN: fewer than 400 pixels"),
    _v("east_phi_rad", "host", "f8", "rad", "direction of east on the stamp, from +x counter-clockwise; NaN = unknown"),
    _v("north_phi_rad", "host", "f8", "rad", "direction of north on the stamp; NaN = unknown"),
    _v("host_q", "host", "f4", "1", "axis ratio of the host's light, free of the PSF; NaN = unknown"),
    _v("host_phi_rad", "host", "f4", "rad", "angle of its major axis, from +x counter-clockwise, in [0, pi)"),
    _v("host_shape_source", "host", "u1", "",
       "where they come from: 0 catalogue (shape_e1, shape_e2), 1 fit in r; why they are not known: 2 not measured, "
       "3 no data, 4 faint, 5 unresolved, 6 poor fit, 7 off centre"),
    _v("cell", "host", "i8", "", "sky cell (nested HEALPix index) or region that decides the split"),
    _v("split", "host", "u1", "", "0 train, 1 val, 2 test, 3 guard (too near a host of another split: not used)"),
)  # fmt: skip

# Pixels of the cutouts that exist only where the config asks for them.
PSF_KERNEL = _v("psf_kernel", "host band psf_y psf_x", "f4", "1",
                "coadd PSF image, unit sum, centred on the middle pixel; NaN where psf_source is not 3")  # fmt: skip
N_MASK_BITS = 17

SPLITS = ("train", "val", "test")
# Split of a host that lies closer than a stamp to a host of another split: cut, but in no manifest.
GUARD = 3

MANIFEST = (
    _v("row_id", "sample", "u8", "", "key of the row's random numbers; the same in any order or shard"),
    _v("host_index", "sample", "i8", "", "position of the host in the cutouts store"),
    _v("replicate", "sample", "i4", "", "number of the row among those of its host"),
    _v("is_control", "sample", "bool", "", "no arc: the stamp is the host itself"),
    _v("lens_model", "sample", "U8", "", "SIS, SIE, EPL or CONTROL", ("SIS", "SIE", "EPL", "CONTROL")),
    _v("theta_e_arcsec", "sample", "f8", "arcsec",
       "Einstein radius; the circle of this radius has the area inside the critical curve; 0 for controls"),
    _v("src_z", "sample", "f8", "1", "redshift of the source that theta_E was computed for; NaN where it was drawn"),
    _v("lens_z", "sample", "f8", "1", "redshift of the lens that theta_E was computed for; NaN where it was drawn"),
    _v("lens_sigma_v_km_s", "sample", "f8", "km/s",
       "velocity dispersion that theta_E was computed from; NaN where theta_E was drawn"),
    _v("lens_q", "sample", "f8", "1", "axis ratio of the lens"),
    _v("lens_phi_rad", "sample", "f8", "rad", "angle of the lens's major axis, from +x counter-clockwise"),
    _v("lens_gamma", "sample", "f8", "1", "slope of the lens's 3-D density; 2 is isothermal (SIS, SIE)"),
    _v("shear", "sample", "f8", "1", "strength of the external shear"),
    _v("shear_phi_rad", "sample", "f8", "rad", "angle of the external shear"),
    _v("src_x_arcsec", "sample", "f8", "arcsec", "source position relative to the lens centre, x"),
    _v("src_y_arcsec", "sample", "f8", "arcsec", "source position relative to the lens centre, y"),
    _v("src_tries", "sample", "i2", "1", "positions drawn until one had the images asked for; 0 for controls"),
    _v("src_reff_arcsec", "sample", "f8", "arcsec",
       "half-light radius of the source along its major axis; an image is scaled to it"),
    _v("src_n", "sample", "f8", "1", "Sersic index of the source"),
    _v("src_q", "sample", "f8", "1", "axis ratio of the source"),
    _v("src_phi_rad", "sample", "f8", "rad", "angle of the source's major axis; an image is turned by it"),
    _v("src_id", "sample", "U32", "", "image that is the source; empty: a Sersic profile"),
    _v("src_flux_nmgy", "sample band", "f8", "nMgy",
       "unlensed flux of the source as it arrives; divided by mw_transmission: above the Galaxy's dust"),
    _v("mw_transmission", "sample band", "f8", "1",
       "share of the source's light that the Galaxy's dust lets through; 1 where E(B-V) is not known or not asked for"),
    _v("psf_fwhm_arcsec", "sample band", "f8", "arcsec",
       "FWHM of the PSF profile that is applied; NaN = band absent, no arc is put there"),
    _v("x_center", "sample", "f8", "pixel", "lens centre in the stamp, x (the host's position)"),
    _v("y_center", "sample", "f8", "pixel", "lens centre in the stamp, y"),
    _v("split", "sample", "u1", "", "0 train, 1 val, 2 test; the host's"),
)  # fmt: skip

# Further column of a manifest whose sources are galaxies of a table (plan.source_table).
SOURCE_TABLE = (
    _v("src_table_row", "sample", "i8", "1",
       "row of plan.source_table's file, counted from 0, whose galaxy is the source; -1: none"),
)  # fmt: skip

# Places for the knots of one source.
N_KNOTS = 12

# Further columns of a manifest whose sources have bulges or knots (plan.src_bulge, plan.src_knots).
COMPONENTS = (
    _v("src_bulge_share", "sample band", "f8", "1",
       "share of src_flux_nmgy that is the bulge's, 0 without one; what bulge and knots leave is the disc's, the "
       "profile of src_reff_arcsec, src_n, src_q and src_phi_rad"),
    _v("src_bulge_reff_arcsec", "sample", "f8", "arcsec",
       "half-light radius of the bulge along its major axis; its centre is the source's; NaN: none"),
    _v("src_bulge_n", "sample", "f8", "1", "Sersic index of the bulge"),
    _v("src_bulge_q", "sample", "f8", "1", "axis ratio of the bulge"),
    _v("src_bulge_phi_rad", "sample", "f8", "rad", "angle of the bulge's major axis"),
    _v("src_knots", "sample", "i2", "1", "number of knots in the source: round Gaussians"),
    _v("src_knots_share", "sample band", "f8", "1", "share of src_flux_nmgy that all knots have together; 0: none"),
    _v("src_knot_x_arcsec", "sample knot", "f8", "arcsec",
       "position of a knot relative to the source's centre, x; NaN: no such knot, in all four"),
    _v("src_knot_y_arcsec", "sample knot", "f8", "arcsec", "position of a knot relative to the source's centre, y"),
    _v("src_knot_reff_arcsec", "sample knot", "f8", "arcsec", "half-light radius of a knot"),
    _v("src_knot_weight", "sample knot", "f8", "1", "share of a knot in src_knots_share, in every band; sums to 1"),
)  # fmt: skip

# Groups of columns that a manifest has besides ``MANIFEST`` where its plan asks for them.
FURTHER = (SOURCE_TABLE, COMPONENTS)

PAIRS = (
    _v("arc", "sample band y x", "f4", "nMgy/pixel",
       "noiseless, PSF-convolved arc that was added, less injection.core_mask"),
    _v("stamp", "sample band y x", "f4", "nMgy/pixel", "float32(ctrl + arc + noise); rounded with store.quantize"),
)  # fmt: skip

# Served by the openers from the cutouts, by host index; stored with the pairs only with store.copy_ctrl.
CTRL = _v("ctrl", "sample band y x", "f4", "nMgy/pixel",
          "control: the host's image without an arc, rounded as the stamp is")  # fmt: skip

# Served by the openers from the cutouts, by host index; never stored with the pairs.
HAS_DATA = _v("has_data", "sample band y x", "bool", "",
              "the host has data in this pixel (invvar > 0); elsewhere arc, noise and control are 0")  # fmt: skip

# Packed along one axis when stored (few objects), served under these names by the opener.
METRICS = (
    _v("magnification", "sample", "f4", "1",
       "flux of all images over the unlensed flux, before the PSF, on and off the stamp"),
    _v("stamp_flux_fraction", "sample", "f4", "1",
       "share of the lensed flux that the stamp holds, that of a mask and of pixels without data included"),
    _v("core_flux_fraction", "sample", "f4", "1", "share of the arc's stamp flux within r < 5 pix, all bands"),
    _v("annulus_flux_fraction", "sample", "f4", "1", "share of the arc's stamp flux at r >= 20 pix, all bands"),
    _v("arc_r50_pix", "sample", "f4", "pixel", "radius around the lens that holds half of the arc's stamp flux"),
    _v("image_multiplicity", "sample", "f4", "1",
       "images of the source's centre; -1: a ring (source exactly behind a circular lens); NaN: EPL, not solved for"),
    _v("counter_image_radius_arcsec", "sample", "f4", "arcsec",
       "distance from the lens of the innermost image of the source's centre; NaN: one image, a ring, or EPL"),
    _v("core_mask_radius_pix", "sample", "f4", "pixel", "radius of the mask put on the arc's core; 0 = none"),
    _v("core_mask_flux_fraction", "sample band", "f4", "1",
       "share of the arc's stamp flux that the mask removed; fluxes and SNRs are of what it left; NaN = no flux"),
    _v("nodata_flux_fraction", "sample band", "f4", "1",
       "share of the arc's stamp flux (of what a mask left) on pixels without data, where arc and noise are 0"),
    _v("arc_snr", "sample", "f4", "1", "alias of snr_peak in r (the first band where there is no r)"),
    _v("render_err", "sample", "f4", "1", "estimated rendering error over the arc's peak"),
    _v("total_injected_flux_nmgy", "sample band", "f4", "nMgy", "sum of the arc over the stamp"),
    _v("arc_over_host", "sample band", "f4", "1",
       "total_injected_flux over the host's flux within 5\" on the same pixels; NaN: no light or no data there"),
    _v("snr_peak", "sample band", "f4", "1", "max(arc sqrt(invvar))"),
    _v("snr_matched", "sample band", "f4", "1", "sqrt(sum arc^2 invvar)"),
    _v("snr_stamp", "sample band", "f4", "1", "sum(arc) / sqrt(sum 1/invvar) over pixels with data"),
    _v("snr_peak_total", "sample band", "f4", "1",
       "max(arc / sigma), sigma^2 = 1/invvar + (ctrl + arc)/gain, negative light as 0; NaN without injection.noise"),
    _v("snr_matched_total", "sample band", "f4", "1",
       "sqrt(sum arc^2 / sigma^2): snr_matched with the shot noise of host and arc; NaN without injection.noise"),
    _v("snr_stamp_total", "sample band", "f4", "1",
       "sum(arc) / sqrt(sum sigma^2) over pixels with data; NaN without injection.noise"),
    _v("noise_correlation_factor", "sample band", "f4", "1",
       "the host's: snr_matched and snr_stamp of a wide arc are too high by up to it; NaN where it is there"),
)  # fmt: skip

# Of pairs whose manifest has COMPONENTS.
COMPONENT_METRICS = (
    _v("band_magnification", "sample band", "f4", "1",
       "flux of all images over the unlensed flux in this band: components of other colours are magnified otherwise"),
)  # fmt: skip

ROUNDING = (
    _v("quantize_step_nmgy", "sample band", "f4", "nMgy/pixel",
       "step that stamp and control are rounded to, unbiased (store.quantize); 0 = not rounded"),
)  # fmt: skip

# What no real lens, or none that can be seen, looks like: not faults, and not part of is_clean.
MARKS = (
    _v("low_arc_snr", "sample", "bool", "", "mark: no pixel of the arc has an SNR of 3 (snr_peak) in any band"),
    _v("arc_outshines_host", "sample", "bool", "", "mark: the arc is brighter than its host in r (arc_over_host > 1)"),
    _v("theta_e_beyond_stamp", "sample", "bool", "", "mark: theta_E is more than a third of the stamp's side"),
    _v("theta_e_beyond_host", "sample", "bool", "",
       "mark: theta_E needs more than 450 km/s, or 1.3 times the host's sigma_v, even for the farthest source"),
)  # fmt: skip

FLAGS = (
    _v("is_clean", "sample", "bool", "",
       "covered in all bands, bad_pixel_frac <= 0.2, real PSF, no other flag (marks aside)"),
    _v("band_absent", "sample", "bool", "", "at least one band has no exposure, so no arc"),
    _v("no_good_pixel", "sample", "bool", "", "an SNR is null because a covered band has no pixel with data"),
    _v("render_not_converged", "sample", "bool", "", "render_err exceeds the configured tolerance"),
    _v("host_partial", "sample", "bool", "", "the host's status is PARTIAL"),
    _v("assumed_noise", "sample", "bool", "", "invvar was assumed, not measured by the survey"),
    _v("assumed_psf", "sample", "bool", "", "the PSF was assumed, not measured by the survey"),
    _v("low_stamp_flux", "sample", "bool", "", "the stamp holds less than half of the lensed flux"),
    _v("flux_without_data", "sample", "bool", "",
       "more than 5 % of a band's arc flux would lie on pixels without data (nodata_flux_fraction)"),
    *MARKS,
)  # fmt: skip

STORES: dict[str, tuple[Variable, ...]] = {
    "targets": TARGETS,
    "cutouts": CUTOUTS + tuple(v for v in TARGETS if v.name not in {"flux_nmgy", "region"}),
    "manifest": MANIFEST,
    "pairs": PAIRS,
}


def variable(store: str, name: str) -> Variable:
    """Look up one variable; an unknown name is an error with the nearest known one."""
    by_name = _by_name(store)
    if name not in by_name:
        raise StoreError(f"{store}: no variable {name!r} in the schema.{did_you_mean(name, by_name)}")
    return by_name[name]


@cache
def _by_name(store: str) -> dict[str, Variable]:
    further = {"pairs": METRICS + COMPONENT_METRICS + ROUNDING + FLAGS, "cutouts": (PSF_KERNEL,)}
    further["manifest"] = tuple(v for group in FURTHER for v in group)
    return {v.name: v for v in STORES[store] + further.get(store, ())}


def manifest_variables(names: Iterable[Any]) -> tuple[Variable, ...]:
    """Variables of a manifest that has these names: ``MANIFEST``, and every group of ``FURTHER`` that is there."""
    present = {str(name) for name in names}
    return MANIFEST + tuple(v for group in FURTHER if any(w.name in present for w in group) for v in group)


def variables_of_columns(columns: Iterable[str], bands: Iterable[str]) -> tuple[Variable, ...]:
    """Variables of a manifest whose packed table has these columns."""
    there, bands = set(columns), tuple(bands)
    return manifest_variables(v.name for group in FURTHER for v in group if packed_columns([v], bands)[0] in there)


def packed_columns(variables: Iterable[Variable], bands: Iterable[str]) -> list[str]:
    """Column names of a packed table: ``name``, ``name_band``, ``name_bit`` or ``name_knot``, in registry order."""
    labels = {"band": list(bands), "mask_bit": [str(bit) for bit in range(N_MASK_BITS)]}
    labels["knot"] = [str(knot) for knot in range(N_KNOTS)]
    out: list[str] = []
    for v in variables:
        out += [f"{v.name}_{label}" for label in labels[v.dims[1]]] if len(v.dims) > 1 else [v.name]
    return out


def dataset(store: str, arrays: Mapping[str, Any], coords: Mapping[str, Any] | None = None) -> xr.Dataset:
    """Build a dataset with the registry's dims, dtypes and attrs from plain arrays.

    Raises
    ------
    StoreError
        If an array is not in the registry or has the wrong number of dimensions.
    """
    data = {}
    for name, values in arrays.items():
        v = variable(store, name)
        kind = None if v.dtype.startswith("U") else np.dtype(v.dtype)
        array = np.asarray(values, dtype=kind)
        if array.ndim != len(v.dims):
            raise StoreError(f"{store}.{name}: {array.ndim} dimensions, the schema says {v.dims}")
        data[name] = (v.dims, array, v.attrs)
    return xr.Dataset(data, coords=dict(coords or {}))


def without_values(v: Variable, sizes: Mapping[str, int]) -> xr.Variable:
    """Return a variable of which nothing is known: NaN for numbers, empty for text."""
    shape = tuple(sizes[d] for d in v.dims)
    value = np.array("") if v.dtype.startswith("U") else np.array(np.nan, v.dtype)
    return xr.Variable(v.dims, np.broadcast_to(value, shape), v.attrs)


def check(store: str, ds: xr.Dataset, required: Iterable[str] | None = None) -> None:
    """Refuse a dataset that lacks variables of the registry or has them on other dims.

    Raises
    ------
    StoreError
        Naming every missing or misshapen variable.
    """
    wanted = [v for v in STORES[store] if required is None or v.name in set(required)]
    problems = [f"{v.name} is missing" for v in wanted if v.name not in ds.variables]
    problems += [
        f"{v.name} has dims {ds.variables[v.name].dims}, expected {v.dims}"
        for v in wanted
        if v.name in ds.variables and ds.variables[v.name].dims != v.dims
    ]
    if problems:
        raise StoreError(f"not a {store} dataset: {'; '.join(problems)}")


def reason_names(bits: int, band: str = "") -> list[str]:
    """Names of the reason bits that are set, with the band's name where the reason belongs to a band."""
    names = []
    for reason in Reason:
        if bits & reason:
            names.append(f"{reason.name}_{band}" if band and reason & BAND_REASONS else str(reason.name))
    return names


def markdown() -> str:
    """Return the text of docs/schema.md: one table per store."""
    lines = ["# Stores and their variables", "", "Made from `lensflow/schema.py` by `make docs`.", ""]
    optional = {
        "cutouts: where asked for": (PSF_KERNEL,),
        "manifest: with plan.source_table": SOURCE_TABLE,
        "manifest: with src_bulge or src_knots in the plan": COMPONENTS,
    }
    packed = {
        "pairs: metrics": METRICS + ROUNDING,
        "pairs: metrics, with src_bulge or src_knots in the plan": COMPONENT_METRICS,
        "pairs: flags": FLAGS,
    }
    for title, pool in {**STORES, **optional, **packed}.items():
        lines += [f"## {title}", "", "| name | dims | dtype | units | meaning |", "|---|---|---|---|---|"]
        lines += [f"| {v.name} | {', '.join(v.dims)} | {v.dtype} | {v.units} | {v.meaning} |" for v in pool] + [""]
    return "\n".join(lines)
