"""Select the hosts that can carry an arc, and their number of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import PlanConfig, RunConfig
from lensflow.errors import ConfigError, ManifestError
from lensflow.lensing.psf import psf_fwhm_from_psfsize
from lensflow.lensing.rows import LEAST_FWHM_PIX
from lensflow.manifest.draws import crossed
from lensflow.manifest.lens_priors import lacks_dispersion, lacks_light, lacks_shape, lies_behind
from lensflow.manifest.table import InjectionTable
from lensflow.schema import HostShape, PsfSource, Reason, Status

Floats = NDArray[np.float64]

# Larger plans must be confirmed twice: by plan.max_rows and by the caller.
LARGE_PLAN_ROWS = 20_000_000
_MISSING_PIXELS = Reason.PARTIAL_STAMP | Reason.NONFINITE


class Hosts(NamedTuple):
    """A block of hosts for the plan.

    Attributes
    ----------
    usable : ndarray of bool, shape (host,)
    columns : dict
        flux_reference_nmgy (catalogue flux in the reference band, or the aperture flux where the catalogue has none,
        above the Galaxy's dust with ``plan.extinction``), sigma_v_km_s, z_lens, host_q, host_phi_rad, shape (host,),
        NaN where unknown; mw_transmission, shape (host, band).
    skipped : dict
        Reason -> number of hosts left out; a host counts once, under its first reason.
    lacking : dict
        What the plan needs -> number of usable hosts that lack it and draw from the prior instead.
    """

    usable: NDArray[np.bool_]
    columns: dict[str, Floats]
    skipped: dict[str, int]
    lacking: dict[str, int]


def eligible_hosts(
    cutouts: xr.Dataset,
    config: RunConfig,
    table: InjectionTable | None = None,
    farthest_lens_z: float | None = None,
) -> Hosts:
    """Decide which hosts can carry an arc, with a reason for the others.

    Parameters
    ----------
    cutouts : Dataset
        The cutouts' tables (no pixels are read).
    config : RunConfig
    table : InjectionTable, optional
        What it says is not needed from the host: a flux, a theta_E, a dispersion; a source's redshift is its rows'.
    farthest_lens_z : float, optional
        Redshift that hosts must be in front of, where the sources' redshifts are those of ``plan.source_table``.
    """
    given = set() if table is None else set(table.columns)
    plan, ref, priors = config.plan, config.reference_band, config.plan.priors
    status = cutouts["status"].values
    missing_pixels = (cutouts["band_reasons"].values & int(_MISSING_PIXELS)) > 0
    catalogue = cutouts["flux_nmgy"].values[:, ref].astype(np.float64)
    measured = cutouts["aperture_flux_nmgy"].values[:, ref].astype(np.float64)
    flux = np.where(np.isfinite(catalogue) & (catalogue > 0), catalogue, measured)
    passed = transmission(cutouts, config)
    columns = {"flux_reference_nmgy": flux / passed[:, ref], "mw_transmission": passed}
    for name in ("sigma_v_km_s", "z_lens", "host_q", "host_phi_rad"):
        known = name in cutouts
        columns[name] = cutouts[name].values.astype(np.float64) if known else np.full(len(status), np.nan)
    nearest = None
    if table is not None and "src_z" in given:
        nearest = table.least("src_z", rng.hash_ids(cutouts["host_id"].values))
        nearest = np.where(np.isnan(nearest), np.inf, nearest)  # not in the table: another reason
    elif farthest_lens_z is not None:
        nearest = np.full(len(status), farthest_lens_z)
    # Values in the table are checked row by row there.
    sigma_v = np.full(len(status), 1.0) if "lens_sigma_v_km_s" in given else columns["sigma_v_km_s"]
    z_lens = np.full(len(status), 1e-6) if "lens_z" in given else columns["z_lens"]
    needs_dispersion = priors.theta_e_from == "sigma_v" and "theta_e_arcsec" not in given
    lacks = {
        "NO_SIGMA_V_OR_Z": lacks_dispersion(plan, sigma_v, z_lens, nearest) & needs_dispersion,
        **(_without_shape(cutouts, columns) if plan.lens_shape == "host_light" else {}),
    }
    dark = np.zeros(len(status), bool)
    if priors.src_mag == "lens_plus_dmag" and "src_flux_nmgy" not in given:
        dark |= ~(np.isfinite(flux) & (flux > 0))
    if priors.theta_e_from == "host" and not {"theta_e_arcsec", "lens_sigma_v_km_s"} & set(given):
        if "lens_z" not in given:
            lacks["LENS_NOT_IN_FRONT_OF_SOURCES"] = lies_behind(plan, columns["z_lens"], nearest)
        without = lacks_light(plan, columns["sigma_v_km_s"], flux)
        if plan.host_lacks == "prior":
            lacks["NO_SIGMA_V_OR_FLUX"] = without
        else:
            dark |= without
    # An arc is convolved with the host's own PSF image: without one in a band that the survey has observed, no row
    # could show what its source says.
    lacks_image = cutouts["covered"].values & (cutouts["psf_source"].values != PsfSource.COADD_PSF)
    profile = profile_fwhm(cutouts["psfsize_arcsec"].values, plan)
    least = LEAST_FWHM_PIX * float(cutouts.attrs.get("pixel_scale_arcsec", np.nan))
    reasons = {
        "FAILED": status == Status.FAILED,
        "PARTIAL_STAMP": (missing_pixels & cutouts["covered"].values).any(axis=1) & (not plan.include_partial),
        "NO_PSF_IMAGE": lacks_image.any(axis=1) & (plan.psf_model == "kernel"),
        "IMPLAUSIBLE_PSF": (cutouts["covered"].values & (profile < least)).any(axis=1),
        "GUARD_BAND": cutouts["split"].values == schema.GUARD,
        "NO_HOST_FLUX": dark,
        **(lacks if plan.host_lacks == "skip" else {}),
    }
    usable = np.ones(len(status), dtype=bool)
    skipped = {}
    for name, hit in reasons.items():
        skipped[name] = int((hit & usable).sum())
        usable &= ~hit
    lacking = {name: int((hit & usable).sum()) for name, hit in lacks.items()}
    return Hosts(usable, columns, _nonzero(skipped), _nonzero(lacking))


def _without_shape(cutouts: xr.Dataset, columns: dict[str, Floats]) -> dict[str, NDArray[np.bool_]]:
    """Hosts without a shape of their light, by reason (``schema.HostShape``)."""
    without = lacks_shape(columns["host_q"], columns["host_phi_rad"])
    source = "host_shape_source"
    why = cutouts[source].values if source in cutouts else np.full(len(without), HostShape.NOT_MEASURED)
    named = {f"NO_HOST_SHAPE_{s.name}": without & (why == s) for s in HostShape if s > HostShape.FIT}
    return {"NO_HOST_SHAPE": without & (why <= HostShape.FIT), **named}


def profile_fwhm(psfsize_arcsec: Floats, plan: PlanConfig) -> Floats:
    """FWHM of the applied profile, arcsec: the survey's psfsize, interpreted by ``plan.psfsize_is``, and its factor."""
    width = np.asarray(psfsize_arcsec, dtype=np.float64)
    if plan.psfsize_is != "fwhm":
        width = psf_fwhm_from_psfsize(width, plan.psf_model, plan.psf_beta)
    return width * plan.psf_width_factor


def transmission(cutouts: xr.Dataset, config: RunConfig) -> Floats:
    """Transmission of Galactic dust at each host, shape (host, band).

    ``10**(-0.4 A)`` with A = coefficient x E(B-V); 1 where E(B-V) is not known or ``plan.extinction`` is none.

    Raises
    ------
    ConfigError
        If a band has no coefficient and a host has an E(B-V).
    ManifestError
        If an E(B-V) is negative: names the first such host.
    """
    n, plan = cutouts.sizes["host"], config.plan
    ebv = cutouts["ebv"].values.astype(np.float64) if "ebv" in cutouts else np.full(n, np.nan)
    known = np.isfinite(ebv)
    if plan.extinction == "none" or not known.any():
        return np.ones((n, len(config.bands)))
    missing = [b for b in config.bands if b not in plan.extinction_mag_per_ebv]
    if missing:
        raise ConfigError(
            f"plan.extinction_mag_per_ebv has no coefficient for {', '.join(missing)}, and {int(known.sum())} host(s) "
            "have an E(B-V). Give A / E(B-V) for it, or choose plan.extinction: none."
        )
    if (ebv[known] < 0).any():
        i = int(np.flatnonzero(known & (ebv < 0))[0])
        raise ManifestError(
            f"host {cutouts['host_id'].values[i]}: ebv is {ebv[i]:g}; an extinction is not negative. Correct the "
            "catalogue, or choose plan.extinction: none."
        )
    mag = np.array([plan.extinction_mag_per_ebv[b] for b in config.bands]) * np.where(known, ebv, 0.0)[:, None]
    return np.asarray(10 ** (-0.4 * mag))


def _nonzero(counts: dict[str, int]) -> dict[str, int]:
    return {k: n for k, n in counts.items() if n}


class RowCounts(NamedTuple):
    """Rows of every host of a block, shape (host,)."""

    injections: NDArray[np.int64]
    controls: NDArray[np.int64]


def rows_of_hosts(
    host_key: NDArray[np.uint64], usable: NDArray[np.bool_], config: RunConfig, table: InjectionTable | None
) -> RowCounts:
    """Number of injections and controls of every host, from the host's own key.

    Parameters
    ----------
    host_key : ndarray of uint64, shape (host,)
    usable : ndarray of bool, shape (host,)
    config : RunConfig
    table : InjectionTable or None
        With ``design: table``: hosts without a row in it get no injection.
    """
    plan = config.plan
    if table is not None:
        injections = table.count(host_key) * plan.replicates
    else:
        n_grid = len(crossed(plan.priors)) if plan.design == "grid" else 0
        injections = np.full(len(host_key), n_grid * plan.replicates or plan.injections_per_host)
    if plan.controls == "paired":
        controls = np.where(injections > 0, plan.controls_per_host, 0)
    else:
        of_controls = rng.uniform(config.seed, host_key, "control_host")[:, 0] < plan.control_share
        if table is not None:
            of_controls &= injections == 0
        controls = np.where(of_controls, plan.controls_per_host, 0)
        injections = np.where(of_controls, 0, injections)
    return RowCounts(np.where(usable, injections, 0), np.where(usable, controls, 0))


@dataclass(frozen=True)
class PlanSize:
    """Size of a plan, before anything is drawn.

    Attributes
    ----------
    n_hosts, n_used : int
        Hosts considered, and those with a row.
    injections, controls : int
        Rows. A row whose source position fails (``plan.src_position_fails: drop``) is still counted here.
    skipped, lacking : dict
        As :class:`Hosts` has them.
    """

    n_hosts: int = 0
    n_used: int = 0
    injections: int = 0
    controls: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Injections and controls."""
        return self.injections + self.controls

    def __add__(self, other: PlanSize) -> PlanSize:
        return PlanSize(
            self.n_hosts + other.n_hosts,
            self.n_used + other.n_used,
            self.injections + other.injections,
            self.controls + other.controls,
            dict(Counter(self.skipped) + Counter(other.skipped)),
            dict(Counter(self.lacking) + Counter(other.lacking)),
        )


# Reads the tables of hosts first:stop, in the order of the cutouts.
ReadHosts = Callable[[int, int], xr.Dataset]


def size_of_block(
    cutouts: xr.Dataset, config: RunConfig, table: InjectionTable | None, farthest_lens_z: float | None = None
) -> PlanSize:
    """Size of the plan for one block of hosts; parameters as :func:`eligible_hosts`."""
    hosts = eligible_hosts(cutouts, config, table, farthest_lens_z)
    # Keys cost a hash each and are not needed if every host is treated alike.
    alike = table is None and config.plan.controls == "paired"
    n = len(hosts.usable)
    keys = np.zeros(n, np.uint64) if alike else rng.hash_ids(cutouts["host_id"].values)
    if table is not None:
        table.mark(keys)
    rows = rows_of_hosts(keys, hosts.usable, config, table)
    used = int((rows.injections + rows.controls > 0).sum())
    skipped = dict(hosts.skipped)
    if int(hosts.usable.sum()) > used:
        skipped["NOT_IN_TABLE"] = int(hosts.usable.sum()) - used
    return PlanSize(n, used, int(rows.injections.sum()), int(rows.controls.sum()), skipped, hosts.lacking)


# Remedies for hosts that were left out, by reason.
_WAYS_OUT = {
    "FAILED": "`lensflow cut` counts why hosts FAILED, docs/cutouts.md says what each reason means.",
    "PARTIAL_STAMP": "plan.include_partial: true admits stamps with missing pixels.",
    "GUARD_BAND": "A smaller splits.guard_arcsec leaves more hosts outside the guard band.",
    "NO_HOST_FLUX": "NO_HOST_FLUX: neither the catalogue's flux nor the one measured in the aperture is above 0. Are "
    "pixel scale, units and background of the images right? plan.src_mag: apparent needs no flux of the host.",
    "NO_SIGMA_V_OR_Z": "plan.host_lacks: prior draws what a host lacks.",
    "NO_HOST_SHAPE": "plan.host_lacks: prior draws what a host lacks; docs/cutouts.md says when a host has no shape.",
    "NOT_IN_TABLE": "NOT_IN_TABLE: plan.table has no row with the host_id of any of these hosts: compare its host_id "
    "with the targets'.",
}


def refuse(size: PlanSize, config: RunConfig, confirmed: bool = False) -> None:
    """Refuse a plan without rows, without required values, or larger than allowed.

    Parameters
    ----------
    size : PlanSize
    config : RunConfig
    confirmed : bool
        The second confirmation, for plans of more than 20 million rows.

    Raises
    ------
    ManifestError
        Saying what to change.
    """
    plan = config.plan
    if size.lacking and plan.host_lacks == "error":
        what = ", ".join(f"{n:,} {name}" for name, n in size.lacking.items())
        unmeasured = "NO_HOST_SHAPE_NOT_MEASURED" in size.lacking
        measure = " survey.host_shapes: true measures the light of hosts without shape_e1, shape_e2." * unmeasured
        raise ManifestError(
            f"of {size.n_hosts:,} hosts, {what} (plan.theta_e_from: {plan.priors.theta_e_from}, plan.lens_shape: "
            f"{plan.lens_shape}). Fill sigma_v_km_s and z_lens (z_lens < src_z) in the table of "
            f"{'survey.stamps.hosts' if config.survey.stamps is not None else 'survey.targets'}, or choose "
            "plan.host_lacks: prior (draw from the prior) or skip (leave them out), or plan.theta_e_from: host (from "
            f"the host's r magnitude).{measure}"
        )
    if size.rows == 0 and size.skipped.get("NO_PSF_IMAGE", 0) == size.n_hosts:
        raise ManifestError(
            f"plan.psf_model is kernel, and none of {size.n_hosts:,} hosts has a PSF image in every band. Cut with "
            "survey.psf_images: true (the messages of `lensflow cut` say what is wrong with the images; stamps have "
            "survey.stamps.psf_files), or plan with plan.psf_model: moffat."
        )
    if size.rows == 0:
        reasons = ", ".join(f"{n} {k}" for k, n in size.skipped.items())
        advice = " ".join(text for name, text in _WAYS_OUT.items() if any(k.startswith(name) for k in size.skipped))
        raise ManifestError(f"no host can carry an arc ({size.n_hosts} hosts: {reasons}). {advice}".rstrip())
    if size.rows > plan.max_rows:
        raise ManifestError(
            f"the plan has {size.rows:,} rows ({size.injections:,} injections and {size.controls:,} controls on "
            f"{size.n_used:,} hosts), more than plan.max_rows = {plan.max_rows:,}. Raise plan.max_rows if that "
            "is meant."
        )
    if size.rows > LARGE_PLAN_ROWS and not confirmed:
        raise ManifestError(
            f"the plan has {size.rows:,} rows, more than {LARGE_PLAN_ROWS:,}. plan.max_rows allows it; say so a second "
            "time with `lensflow plan CONFIG --large` (other commands then find the manifest)."
        )
