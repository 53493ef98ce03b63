"""Why the density of a planned parameter is not known: what a table, an image, a host or a left-out row decided."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from lensflow.config import PlanConfig
from lensflow.manifest import population

_OF_LENS = ("lens_e", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad")
OFFSETS = ("src_offset", "src_offset_arcsec", "src_x_arcsec", "src_y_arcsec")


class HasPlan(Protocol):
    """What the reasons are made of: an ``injected_prior.InjectedPrior``."""

    @property
    def plan(self) -> PlanConfig: ...  # noqa: D102
    @property
    def bands(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def given(self) -> Collection[str]: ...  # noqa: D102
    @property
    def dropped(self) -> Mapping[str, int] | None: ...  # noqa: D102
    @property
    def reference_band(self) -> str: ...  # noqa: D102
    @property
    def src_mag(self) -> str: ...  # noqa: D102


def why_unknown(prior: HasPlan, name: str) -> str:
    """Why the density of a parameter is not known.

    Parameters
    ----------
    prior : InjectedPrior
    name : str

    Returns
    -------
    str
        Empty where it is known.
    """
    plan, priors, columns = prior.plan, prior.plan.priors, set(prior.given)
    of_table = {
        "lens_e": ("lens_q", "lens_model"), "lens_q": ("lens_q", "lens_model"), prior.src_mag: ("src_flux_nmgy",),
        "dmag": ("src_flux_nmgy",), "lens_gamma": ("lens_gamma", "lens_model"),
        **dict.fromkeys(OFFSETS, ("src_x_arcsec", "src_y_arcsec")),
    }  # fmt: skip
    if columns & set(of_table.get(name, (name,))):
        return "plan.table gives it"
    if name == "lens_q" and priors.lens_e is None and "lens_sigma_v_km_s" in columns:
        return "plan.table gives the dispersions that it goes with"
    if plan.src_mag_shift and (
        name in (prior.src_mag, "dmag") or (name == "src_reff_arcsec" and priors.src_reff_arcsec is None)
    ):
        return "magnitudes were shifted after they were drawn (plan.src_mag_shift)"
    if plan.source_table is not None and name in _of_galaxies(prior):
        return "a galaxy of plan.source_table brings it, together with the others"
    if reason := _of_images(prior, name):
        return reason
    if name == "theta_e_arcsec" and priors.theta_e_from != "prior":
        return f"theta_E follows from each host (plan.theta_e_from: {priors.theta_e_from})"
    if name == "src_z" and priors.theta_e_from == "prior":
        return "no redshift is drawn with plan.theta_e_from: prior"
    if name == "src_z" and priors.src_z is None:
        return "source redshifts follow from a relation (plan.src_z: null)"
    if name in ("lens_e", "lens_q", "lens_phi_rad") and plan.lens_shape == "host_light":
        return "the lens takes its shape from the host's light (plan.lens_shape: host_light)"
    if name == "lens_e" and priors.lens_e is None:
        return "axis ratios are drawn, not ellipticities (plan.lens_e: null): name lens_q"
    if name == "dmag" and priors.src_mag == "apparent":
        return f"magnitudes are drawn without the host's (plan.src_mag: apparent): name {prior.src_mag}"
    if name == prior.src_mag and priors.src_mag == "apparent" and not _draws_reference(prior):
        return f"magnitudes are drawn in r, which is no band of this run; {prior.reference_band} follows by a colour"
    return _of_positions(prior, name) or _of_drops(prior, name)


def _of_galaxies(prior: HasPlan) -> tuple[str, ...]:
    """Parameters that a galaxy of ``plan.source_table`` brings."""
    table = prior.plan.source_table
    assert table is not None
    moved = table.redshift == "plan" or prior.plan.priors.theta_e_from == "prior"
    return (
        *(prior.src_mag, "dmag", "src_reff_arcsec"),
        *(() if moved else ("src_z",)),
        *(("src_n", "src_q") if table.shape == "table" else ()),
    )


def _draws_reference(prior: HasPlan) -> bool:
    """Whether a drawn apparent magnitude is that of the reference band."""
    alone = len(prior.bands) == 1 and (
        prior.plan.priors.colours != "uv_slope" or prior.bands[0] not in population.WAVELENGTH_NM
    )
    return "r" in prior.bands or alone


def _of_images(prior: HasPlan, name: str) -> str:
    images = prior.plan.sources
    if images is None or images.share == 0:
        return ""
    if name == "src_z" and images.redshift == "own":
        return "images keep their own redshift (plan.sources.redshift: own)"
    if name in ("src_n", "src_q"):
        return "images are sources (plan.sources), and have none"
    if name == "src_reff_arcsec" and images.size == "native":
        return "images keep their own size (plan.sources.size: native)"
    if name in (prior.src_mag, "dmag") and images.magnitude == "native":
        return "images keep their own brightness (plan.sources.magnitude: native)"
    # The size of a Sersic source would follow another magnitude than that of the row's image.
    if name == "src_reff_arcsec" and prior.plan.priors.src_reff_arcsec is None and images.magnitude == "native":
        return "sizes follow a magnitude that images replace (plan.sources.magnitude: native)"
    return ""


def _of_positions(prior: HasPlan, name: str) -> str:
    if name not in OFFSETS:
        return ""
    if prior.plan.src_min_images > 1:
        return "only positions with enough images are taken (plan.src_min_images)"
    square = prior.plan.src_offset == "square"
    if square and name in ("src_offset", "src_offset_arcsec"):
        return "positions are drawn in a square: name src_x_arcsec, src_y_arcsec"
    if not square and name in ("src_x_arcsec", "src_y_arcsec"):
        return f"positions are drawn in a {prior.plan.src_offset}: name src_offset"
    return ""


def _of_drops(prior: HasPlan, name: str) -> str:
    """Rows that were left out change the density of what decided it."""
    dropped, computed = prior.dropped or {}, prior.plan.priors.theta_e_from != "prior"
    below, lost = dropped.get("THETA_E_BELOW_MINIMUM", 0), dropped.get("NO_SOURCE_POSITION", 0)
    if below and computed and name in (prior.src_mag, "dmag", "src_z"):
        return f"{below:,} rows below plan.theta_e_min_arcsec were left out, and theta_E hangs on it"
    scale_free = prior.plan.src_offset != "square"
    hangs = {*_OF_LENS, *OFFSETS, *(() if scale_free else ("theta_e_arcsec",)),
             *((prior.src_mag, "dmag", "src_z") if computed else ())}  # fmt: skip
    if lost and name in hangs:
        return f"{lost:,} rows without a source position were left out, and whether there is one hangs on it"
    return ""
