"""The priors of a manifest, as plain JSON for its attrs, its report and later readers."""

from __future__ import annotations

from typing import Any

from lensflow.config import Range, RunConfig
from lensflow.config.presets import Colours
from lensflow.manifest import population as p
from lensflow.manifest.draws import Prior
from lensflow.manifest.source_priors import R_I_OVER_R_Z

# Parameter -> the relation that it is drawn from, in words with its numbers.
RELATIONS = {
    "theta_e_arcsec": "isothermal, from lens_sigma_v_km_s, lens_z and src_z",
    "lens_sigma_v_km_s": (
        "the host's; else log-normal, log10 = -2.97 - 0.37 M_r - 0.006 M_r^2, "
        f"scatter {p.SIGMA_SCATTER_DEX:g} dex, weighted by sigma^4"
    ),
    "lens_z": f"the host's; else from r: M_r = {p.M_AT_20:g} + {p.LUMINOSITY_SHARE:g} (r - 20)",
    "src_z": f"z^2 exp(-z/z0) (D_ls/D_s)^2, z0 = {p.Z0_SLOPE:g} i - {-p.Z0_OFFSET:g}",
    "src_reff_arcsec": (
        f"log-normal, median {p.SIZE_AT_23:.2f} exp({p.SIZE_SLOPE:g} (i - 23)), scatter {p.SIZE_SCATTER_DEX:g} dex"
    ),
    "lens_e": f"1 - q Rayleigh, scale {p.Q_SCALE:g} - {-p.Q_OF_SIGMA:g} sigma_v, q > {p.LEAST_Q:g}",
    "shear": f"Rayleigh, scale {p.SHEAR_SCALE:g}, below {p.MOST_SHEAR:g}",
    "colours": (
        f"power law, beta = {p.BETA_AT_25:g} - {-p.BETA_SLOPE:g} (r - 25) +- {p.BETA_SCATTER:g}, "
        f"+- {p.COLOUR_SCATTER_MAG:g} mag"
    ),
}


def declared_priors(config: RunConfig) -> dict[str, Any]:
    """Every prior and choice used; a relation is ``{"relation": its words}``."""
    plan, priors = config.plan, config.plan.priors
    out: dict[str, Any] = {
        name: _relation(name) if prior is None else _plain(prior) for name, prior in priors.axes.items()
    }
    if priors.src_mag == "apparent":
        del out["dmag"]
        out["src_mag"] = _plain(priors.src_mag_range)
        if priors.src_mag_slope:
            out["src_mag"] |= {"distribution": f"counts, {priors.src_mag_slope:g} dex per magnitude"}
    if priors.theta_e_from != "prior":
        out["src_z"] = _relation("src_z") if priors.src_z is None else _plain(priors.src_z)
    if priors.theta_e_from == "host":
        out |= {name: _relation(name) for name in ("theta_e_arcsec", "lens_sigma_v_km_s", "lens_z")}
    if plan.sources is not None and plan.sources.magnitude == "native":
        out["src_mag"] = {"relation": "the image's own magnitude in i, share of rows with an image; else the prior"}
    if plan.sources is not None and plan.sources.redshift == "own":
        out["src_z"] = {"relation": "that of the row's image, weighted by (D_ls/D_s)^2; Sersic sources: the prior"}
    if plan.source_table is not None:
        out |= _of_table(config)
    for name, section in (("src_bulge", plan.src_bulge), ("src_knots", plan.src_knots)):
        if section is not None:
            out[name] = section.model_dump(mode="json")
    if plan.lens_shape == "host_light":
        out["lens_shape_scatter"] = [plan.lens_shape_scatter_q, plan.lens_shape_scatter_rad]
    if plan.lens_model == "EPL":
        out["lens_gamma"] = _plain(plan.lens_gamma)
    inner = {"src_offset_min": plan.src_offset_min} if plan.src_offset == "ring" else {}
    # Named only where a sweep set them: manifests without them stay as they were declared.
    for name, neutral in (("src_mag_shift", 0.0), ("psf_width_factor", 1.0)):
        if getattr(plan, name) != neutral:
            out[name] = getattr(plan, name)
    return out | {
        "preset": plan.preset,
        "theta_e_from": priors.theta_e_from,
        "theta_e_min_arcsec": plan.theta_e_min_arcsec,
        "lens_shape": plan.lens_shape,
        **({} if "src_n" in out else {"src_n": _plain(plan.src_n), "src_q": _plain(plan.src_q)}),
        "src_offset": plan.src_offset,
        "src_offset_max": plan.src_offset_max,
        **inner,
        "src_min_images": plan.src_min_images,
        "colours": priors.colours if plan.source_table is None else "source_table",
        "extinction": plan.extinction,
        "extinction_mag_per_ebv": {b: plan.extinction_mag_per_ebv.get(b) for b in config.bands},
        **(_colours(priors.colours) if plan.source_table is None else {}),
        "controls": plan.controls,
        **({"control_share": plan.control_share} if plan.controls == "disjoint" else {}),
    }


def _of_table(config: RunConfig) -> dict[str, Any]:
    """What the galaxies of a table bring, together."""
    settings = config.plan.source_table
    assert settings is not None
    words = "of one galaxy of plan.source_table, all together"
    out: dict[str, Any] = {name: {"table": words} for name in ("src_mag", "src_reff_arcsec", "g_r", "r_z")}
    ends = config.plan.priors.src_mag_range if settings.is_published else config.plan.src_mag_range
    if ends is not None:
        out["src_mag"] |= {"min": ends.min, "max": ends.max}
    if settings.is_published:
        out["source_table"] = {
            "relation": {name: RELATIONS[name] for name in ("src_reff_arcsec", "colours")}
            | {
                "src_z": "of galaxies of i: the LSST Science Book's n(z) differentiated",
                "src_mag": f"counts, {config.plan.priors.src_mag_slope:g} dex per magnitude",
            }
        }
    if settings.shape == "table":
        out |= {name: {"table": words} for name in ("src_n", "src_q")}
    if settings.redshift == "own" and config.plan.priors.theta_e_from != "prior":
        out["src_z"] = {"table": f"{words}, weighted by (D_ls/D_s)^2"}
    return out


def _plain(prior: Prior) -> list[float] | dict[str, float | str]:
    """Return a prior as plain JSON: a list of values, or the range's settings."""
    return prior.model_dump() if isinstance(prior, Range) else [float(v) for v in prior]


def _relation(name: str) -> dict[str, str]:
    # dmag has none: it is not drawn where magnitudes are apparent.
    return {"relation": RELATIONS.get(name, "")}


def _colours(name: str) -> dict[str, Any]:
    if name == "uv_slope":
        return {"g_r": _relation("colours"), "r_z": _relation("colours")}
    prior = Colours.named(name)
    return {
        "g_r": list(prior.g_r),
        "r_z": list(prior.r_z),
        "colour_clip": list(prior.clip or ()),
        "r_i_over_r_z": R_I_OVER_R_Z,
    }
