"""Factors that a sweep may change, and what must stay equal when one of them does.

A factor is one setting. What it owns may change; everything else of the manifest must not, in any row, and of the
pixels what is named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lensflow import schema
from lensflow.errors import ConfigError, did_you_mean
from lensflow.injection.other_noise import OF_NOISE
from lensflow.lensing.components import BULGE, KNOTS, OF_BANDS

NULL, HOSTS = "none", "hosts"
Road = Literal["render", "arcs", "view"]
Relation = Literal["ratio", "reference_arc", "outside_mask", "before_rounding", "noise"]

_EVERY = tuple(v.name for v in (*schema.METRICS, *schema.COMPONENT_METRICS, *schema.ROUNDING, *schema.FLAGS))
_BUT_NOISE = tuple(n for n in _EVERY if n not in OF_NOISE)
_BUT_STEPS = tuple(n for n in _EVERY if n not in {v.name for v in schema.ROUNDING})


@dataclass(frozen=True)
class Factor:
    """One setting that a sweep changes.

    Attributes
    ----------
    setting : str
        Its name in the config, ``plan.colours``.
    title : str
        In words.
    road : {"render", "arcs", "view"}
        How an arm is made: rendered; from stored arcs, without rendering; or not at all, because only the scorer sees
        something else.
    owned : tuple of str
        Columns of the manifest that may differ; all others are declared equal.
    equal : tuple of str
        Pixel arrays, metrics and flags that are declared equal, bit for bit.
    relations : tuple of str
        What else must hold between the arrays: :mod:`lensflow.measure.realism.sweep.relations`.
    """

    setting: str
    title: str
    road: Road = "render"
    owned: tuple[str, ...] = ()
    equal: tuple[str, ...] = ("ctrl",)
    relations: tuple[Relation, ...] = ()

    @property
    def name(self) -> str:
        """Last part of the setting, as errors name the factor."""
        return self.setting.rpartition(".")[2]

    @property
    def redraws(self) -> bool:
        """Whether its arms have manifests of their own."""
        return self.setting.startswith("plan.")


def _noise(setting: str, title: str) -> Factor:
    return Factor(setting, title, "arcs", (), ("arc", "ctrl", *_BUT_NOISE), ("noise",))


def _psf(setting: str, title: str) -> Factor:
    return Factor(setting, title, owned=("psf_fwhm_arcsec",))


def _mask(setting: str) -> Factor:
    return Factor(setting, "core handling", relations=("outside_mask",))


def _rounding(setting: str) -> Factor:
    return Factor(setting, "rounding", "arcs", (), _BUT_STEPS, ("before_rounding",))


def _view(setting: str) -> Factor:
    return Factor(setting, "scorer's view", "view", (), ("arc", "stamp", "ctrl", *_EVERY))


# The null arm: the reference made once more, by the road of the other arms.
NULL_ARM = Factor(NULL, "null arm", "arcs", (), ("arc", "stamp", "ctrl", *_EVERY))

FACTORS = {
    f.setting: f
    for f in (
        _noise("injection.noise", "shot noise"),
        _noise("injection.gain", "gain"),
        _noise("injection.gain_factor", "gain"),
        _noise("injection.sky_mag_arcsec2", "gain"),
        _noise("injection.exposure_time_s", "gain"),
        _noise("injection.electrons_per_s_per_nmgy", "gain"),
        _psf("plan.psf_model", "PSF profile"),
        _psf("plan.psf_beta", "PSF profile"),
        _psf("plan.psfsize_is", "PSF width"),
        _psf("plan.psf_width_factor", "PSF width"),
        Factor("plan.src_mag_shift", "brightness", owned=("src_flux_nmgy",), relations=("ratio",)),
        Factor("plan.colours", "colours", owned=("src_flux_nmgy",), relations=("reference_arc",)),
        Factor("plan.sources.share", "source type", owned=("src_id", "src_n", "src_q")),
        Factor("plan.src_bulge.share", "bulge", owned=(*BULGE, "src_knots_share")),
        Factor("plan.src_bulge.redder_g_r", "bulge's colour", owned=OF_BANDS),
        Factor("plan.src_knots.share", "knots", owned=(*KNOTS, "src_bulge_share")),
        Factor("plan.src_knots.number", "knots", owned=(*KNOTS, "src_bulge_share")),
        Factor("plan.src_knots.bluer_g_r", "knots' colour", owned=OF_BANDS),
        Factor("plan.src_reff_arcsec", "source size", owned=("src_reff_arcsec",)),
        Factor("plan.src_n", "source index", owned=("src_n",)),
        Factor("plan.src_q", "source axis ratio", owned=("src_q",)),
        Factor("plan.src_offset_max", "source offset", owned=("src_x_arcsec", "src_y_arcsec", "src_tries")),
        Factor("plan.src_offset_min", "source offset", owned=("src_x_arcsec", "src_y_arcsec", "src_tries")),
        _mask("injection.core_mask_radius_pix"),
        _mask("injection.core_mask_method"),
        _mask("injection.core_mask_width_pix"),
        _rounding("store.quantize"),
        _rounding("store.quantize_arc"),
        _rounding("store.quantize_step"),
        _view("export.normalisation.kind"),
        _view("export.normalisation.clip"),
        _view("export.normalisation.stretch"),
        _view("export.normalisation.r_in_pix"),
        _view("export.normalisation.r_out_pix"),
    )
}


def find_factor(setting: str) -> Factor:
    """Find the factor of a setting, or of one below it (``injection.sky_mag_arcsec2.r``).

    Parameters
    ----------
    setting : str

    Returns
    -------
    Factor
        Under the name as given.

    Raises
    ------
    ConfigError
        If it is none; names the nearest.
    """
    if setting == HOSTS or setting.startswith("realism."):
        raise ConfigError(
            f"sweep factor {setting!r}: other hosts are other rows, and no two rows are the same injection. Random "
            "against matched hosts are paired by set, by `lensflow realism`, and reported there (docs/sweep.md)"
        )
    parts = setting.split(".")
    for n in range(len(parts), 0, -1):
        known = FACTORS.get(".".join(parts[:n]))
        if known is not None:
            return known if n == len(parts) else Factor(**{**vars(known), "setting": setting})
    near = did_you_mean(setting, FACTORS) or did_you_mean(parts[-1], {k.rpartition(".")[2] for k in FACTORS})
    by_title = {f.title: f.setting for f in FACTORS.values()}
    if not near and (title := did_you_mean(setting, by_title)):
        near = f" Did you mean {by_title[title.split(chr(39))[1]]!r}?"
    raise ConfigError(
        f"sweep factor {setting!r}: what must stay equal when it changes is not known, so nothing could be proved."
        f"{near} Factors: {', '.join(FACTORS)} (docs/sweep.md)"
    )
