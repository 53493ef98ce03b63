"""The injected prior q: how densely a run's plan puts its parameters, at every row of its manifest.

A parameter whose density is not known in closed form (a table's, an image's, theta_E computed from a host) is refused
by name, with the reason; nothing is assumed for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow.config import PlanConfig, Range, RunConfig
from lensflow.errors import CompletenessError, ConfigError, did_you_mean
from lensflow.lensing.angles import ellipticity_from_q
from lensflow.manifest import population
from lensflow.manifest.draws import Prior
from lensflow.manifest.lens_priors import TYPICAL_SIGMA_V
from lensflow.measure.completeness.population.densities import Density, Floats, of_prior, ratio_scale, rayleigh, sizes
from lensflow.measure.completeness.population.unknown_densities import OFFSETS, why_unknown
from lensflow.units import mag_of_flux

# Names of one and the same parameter: a target may use one of them.
SAME = (("lens_e", "lens_q"), ("src_offset", "src_offset_arcsec"))
_ANGLES = ("lens_phi_rad", "shear_phi_rad", "src_phi_rad")
_COLUMNS = ("theta_e_arcsec", "src_reff_arcsec", "lens_q", *_ANGLES, "lens_gamma", "shear", "src_n", "src_q",
            "src_x_arcsec", "src_y_arcsec", "src_z")  # fmt: skip
_BY_ROW_ONLY = "Reweight by cell, with it as an axis of the selection"


@dataclass(frozen=True, eq=False)
class InjectedPrior:
    """The prior that a plan's rows were drawn from, as densities of named parameters.

    Attributes
    ----------
    plan : PlanConfig
    bands : sequence of str
    given : collection of str
        Columns of the manifest that a user's table gave (attribute ``given`` of a manifest).
    dropped : mapping
        Reason -> rows that were drawn and left out (attribute ``rows_dropped`` of a manifest).
    """

    plan: PlanConfig
    bands: Sequence[str]
    given: Collection[str] = ()
    dropped: Mapping[str, int] | None = None

    @classmethod
    def of(cls, config: RunConfig, manifest_attrs: Mapping[str, Any] | None = None) -> InjectedPrior:
        """Return the prior of a run.

        Parameters
        ----------
        config : RunConfig
        manifest_attrs : mapping, optional
            Attributes of its manifest; ``design: table`` needs them.

        Returns
        -------
        InjectedPrior

        Raises
        ------
        ConfigError
            If it is not known which columns a table gave, or which rows were left out.
        """
        if manifest_attrs is None and config.plan.design == "table":
            raise ConfigError("plan.design: table: which columns the table gave is in the manifest's attrs: give them")
        attrs = {"given": (), "rows_dropped": {}} if manifest_attrs is None else manifest_attrs
        if missing := [k for k in ("given", "rows_dropped") if k not in attrs]:
            raise ConfigError(
                f"the manifest does not say {' and '.join(missing)}: whether a table or left-out rows changed its "
                "densities is not known. Plan it again with this version"
            )
        return cls(config.plan, tuple(config.bands), tuple(attrs["given"] or ()), dict(attrs["rows_dropped"] or {}))

    @property
    def reference_band(self) -> str:
        """Band that magnitudes refer to: r, or the first where there is no r."""
        return "r" if "r" in self.bands else self.bands[0]

    @property
    def src_mag(self) -> str:
        """Name of the source's magnitude, above the Galaxy's dust and before lensing: ``src_mag_r``."""
        return f"src_mag_{self.reference_band}"

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every parameter of a plan, whether its density is known or not."""
        return (*dict.fromkeys((*_COLUMNS, "lens_e", self.src_mag, "dmag", *OFFSETS)),)

    def known(self) -> dict[str, Density]:
        """Return the parameters whose density is known."""
        out = {}
        for name in self.parameters:
            try:
                out[name] = self.density(name)
            except ConfigError:
                continue
        return out

    def planned(self, name: str) -> tuple[tuple[float, ...], bool] | None:
        """Values or ends that a plan gives a parameter, the same for every row.

        Parameters
        ----------
        name : str

        Returns
        -------
        (tuple of float, bool) or None
            The values of a list and True, the ends of a range and False; None where the plan has neither, or a table
            gave the values.
        """
        try:
            of = self.density(name)
        except ConfigError:
            return None
        if of.given:
            return None
        if of.is_discrete:
            return tuple(map(float, of.values)), True
        ends = (float(of.low), float(of.high))
        return (ends, False) if np.isfinite(ends).all() else None

    def density(self, name: str) -> Density:
        """Return the density of a parameter.

        Parameters
        ----------
        name : str
            ``theta_e_arcsec``, ``src_mag_r``, ``dmag``, ``src_reff_arcsec``, ``lens_e`` or ``lens_q``, ``shear``,
            ``src_offset`` (in theta_E) or ``src_offset_arcsec``, ...

        Returns
        -------
        Density

        Raises
        ------
        ConfigError
            If the plan does not draw it, or draws it from what has no density in closed form; says why.
        """
        if name not in self.parameters:
            if name.startswith(("host_", "psfsize", "psfdepth")) or name in ("z_lens", "lens_z", "magnification"):
                raise ConfigError(f"{name}: belongs to hosts or images; no plan draws it. {_BY_ROW_ONLY}")
            raise ConfigError(f"{name}: no parameter of a plan.{did_you_mean(name, self.parameters)}")
        if reason := why_unknown(self, name):
            raise ConfigError(f"{name}: {reason}: its density is not known. {_BY_ROW_ONLY}")
        return self._density(name)

    def log_q(self, names: Sequence[str], rows: xr.Dataset) -> Floats:
        """Logarithm of the joint density of some parameters at each row, given all others.

        Parameters
        ----------
        names : sequence of str
        rows : Dataset
            Injection rows: columns of the manifest; ``dmag`` and magnitudes that hang on it also need the host's flux,
            as :func:`host_magnitude` takes it.

        Returns
        -------
        ndarray of float64, shape (n,)
            Sum over the parameters; finite.

        Raises
        ------
        ConfigError
            If a density is not known, or one parameter is named twice.
        CompletenessError
            If a row has a value that its plan cannot draw: the manifest is not of this plan.
        """
        self.refuse_twice(names)
        out = np.zeros(rows.sizes["sample"])
        for name in names:
            density = self.density(name)
            values, given = self.values(name, rows), self.conditions(density.given, rows)
            found = density.log_q(values, given)
            if not np.isfinite(found).all():
                bad = ~np.isfinite(found)
                row = int(np.argmax(bad))
                raise CompletenessError(
                    f"row_id {int(rows['row_id'].values[row])}: {name} is {values[row]:.6g}, which the plan does not "
                    f"draw ({density.words}); {int(bad.sum()) - 1} other row(s) alike. Are these rows of this plan?"
                )
            out += found
        return out

    def refuse_twice(self, names: Collection[str]) -> None:
        """Refuse two names of one parameter.

        Raises
        ------
        ConfigError
        """
        for group in (*SAME, (self.src_mag, "dmag")):
            if set(group) <= set(names):
                raise ConfigError(f"{' and '.join(group)} are one parameter: name one of them")

    def values(self, name: str, rows: xr.Dataset) -> Floats:
        """Value of a parameter at each row.

        Parameters
        ----------
        name : str
        rows : Dataset

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        made: dict[str, Callable[[], ArrayLike]] = {
            "lens_e": lambda: ellipticity_from_q(_column(rows, "lens_q")),
            self.src_mag: lambda: self._source_mags(rows)[:, self._reference],
            "dmag": lambda: self._source_mags(rows)[:, self._reference] - host_magnitude(rows, self._reference),
            "src_offset": lambda: _radius(rows) / _column(rows, "theta_e_arcsec"),
            "src_offset_arcsec": lambda: _radius(rows),
        }
        found = made[name]() if name in made else _column(rows, name)
        return np.asarray(found, dtype=np.float64)

    def conditions(self, names: Sequence[str], rows: xr.Dataset) -> dict[str, Floats]:
        """Columns that densities are conditional on.

        Parameters
        ----------
        names : sequence of str
        rows : Dataset

        Returns
        -------
        dict
        """
        made = {
            "host_mag": lambda: host_magnitude(rows, self._reference),
            "theta_e_arcsec": lambda: _column(rows, "theta_e_arcsec"),
            "lens_sigma_v_km_s": lambda: _known_sigma(_column(rows, "lens_sigma_v_km_s")),
            "src_i_mag": lambda: population.i_magnitude(self._source_flux(rows), self.bands, self._reference),
        }
        return {name: made[name]() for name in names}

    @property
    def _reference(self) -> int:
        return list(self.bands).index(self.reference_band)

    def _source_flux(self, rows: xr.Dataset) -> Floats:
        flux, passed = (_by_band(rows, n, self.bands) for n in ("src_flux_nmgy", "mw_transmission"))
        return flux / passed

    def _source_mags(self, rows: xr.Dataset) -> Floats:
        return mag_of_flux(self._source_flux(rows))

    def _density(self, name: str) -> Density:
        plan, priors = self.plan, self.plan.priors
        units = {"theta_e_arcsec": "arcsec", "src_reff_arcsec": "arcsec", "dmag": "mag", self.src_mag: "mag"}
        drawn: dict[str, Prior | None] = {
            **priors.axes, "src_n": plan.src_n, "src_q": plan.src_q, "src_z": priors.src_z,
            "lens_gamma": plan.lens_gamma if plan.lens_model == "EPL" else (2.0,),
        }  # fmt: skip
        if name in _ANGLES:
            return of_prior(name, "rad", Range(min=0, max=np.pi))
        if name == "lens_q":
            return self._axis_ratio()
        if name == self.src_mag:
            return self._magnitude()
        if name in OFFSETS:
            return self._offset(name)
        prior = drawn[name]
        if prior is not None:
            return of_prior(name, units.get(name, "1"), prior)
        if name == "shear":
            words = f"Rayleigh, scale {population.SHEAR_SCALE:g}, below {population.MOST_SHEAR:g}"
            return rayleigh(name, population.MOST_SHEAR, lambda given: np.full(1, population.SHEAR_SCALE), (), words)
        return sizes()

    def _axis_ratio(self) -> Density:
        prior = self.plan.priors.lens_e
        if prior is None:
            most = 1 - population.LEAST_Q
            words = f"1 - q Rayleigh with a scale that falls with sigma_v, q > {population.LEAST_Q:g}"
            flat = rayleigh("lens_q", most, ratio_scale, ("lens_sigma_v_km_s",), words).log_pdf
            assert flat is not None
            return Density("lens_q", "1", words, ("lens_sigma_v_km_s",), low=1 - most, high=1.0,
                           log_pdf=lambda q, given: flat(1 - q, given))  # fmt: skip
        of = of_prior("lens_e", "1", prior)
        if of.is_discrete:
            q = (1 - of.values) / (1 + of.values)
            return Density("lens_q", "1", of.words, values=q, masses=of.masses)
        inner = of.log_pdf
        assert inner is not None
        # |de / dq| of e = (1 - q) / (1 + q).
        return Density(
            "lens_q", "1", of.words, low=(1 - of.high) / (1 + of.high), high=(1 - of.low) / (1 + of.low),
            log_pdf=lambda q, given: inner((1 - q) / (1 + q), given) + np.log(2 / (1 + q) ** 2),
        )  # fmt: skip

    def _magnitude(self) -> Density:
        priors = self.plan.priors
        if priors.src_mag == "lens_plus_dmag":
            assert priors.dmag is not None
            of = of_prior(self.src_mag, "mag", priors.dmag)
            return Density(self.src_mag, "mag", f"the host's magnitude + {of.words}", ("host_mag",), of.values,
                           of.masses, of.low, of.high, of.log_pdf, lambda given: given["host_mag"])  # fmt: skip
        ends, slope = priors.src_mag_range, priors.src_mag_slope
        if not slope or ends.min == ends.max:
            return of_prior(self.src_mag, "mag", ends)
        k = slope * np.log(10)
        norm = np.log(abs(k)) - np.log(abs(np.expm1(k * (ends.max - ends.min))))
        return Density(self.src_mag, "mag", f"{ends.min:g} to {ends.max:g}, counts of {slope:g} dex per magnitude",
                       low=ends.min, high=ends.max, log_pdf=lambda m, given: norm + k * (m - ends.min))  # fmt: skip

    def _offset(self, name: str) -> Density:
        inner, outer = self.plan.src_offset_min, self.plan.src_offset_max
        if self.plan.src_offset == "square":
            return of_prior(name, "arcsec", Range(min=-outer, max=outer))
        norm = np.log(2) - np.log(outer**2 - inner**2) if outer > inner else np.nan
        words = f"uniform in area between {inner:g} and {outer:g} theta_E"
        if outer == inner:
            if name == "src_offset":
                return of_prior(name, "1", (outer,))
            raise ConfigError(f"{name}: every offset is {outer:g} theta_E: name src_offset")
        in_theta_e = name == "src_offset"
        return Density(
            name, "1" if in_theta_e else "arcsec", words, () if in_theta_e else ("theta_e_arcsec",), low=inner,
            high=outer, log_pdf=lambda r, given: norm + np.log(r),
            scale=None if in_theta_e else lambda given: given["theta_e_arcsec"],
        )  # fmt: skip


def host_magnitude(rows: xr.Dataset, reference: int) -> Floats:
    """Magnitude of each row's host that a plan adds ``dmag`` to.

    Parameters
    ----------
    rows : Dataset
        With ``host_reference_mag``; or with ``flux_nmgy`` and ``aperture_flux_nmgy`` of the host, brought to the rows,
        and ``mw_transmission``.
    reference : int
        Index of the reference band.

    Returns
    -------
    ndarray of float64, shape (n,)
        The catalogue's, or that of the aperture where the catalogue has none, above the Galaxy's dust.

    Raises
    ------
    CompletenessError
        If the rows lack a column.
    """
    if "host_reference_mag" in rows:
        return np.asarray(rows["host_reference_mag"].values, dtype=np.float64)
    missing = [n for n in ("flux_nmgy", "aperture_flux_nmgy", "mw_transmission") if n not in rows]
    if missing:
        raise CompletenessError(f"dmag: the magnitude of the hosts needs {', '.join(missing)}, which the rows lack")
    catalogue, measured, passed = (
        rows[n].transpose("sample", "band").values[:, reference].astype(np.float64)
        for n in ("flux_nmgy", "aperture_flux_nmgy", "mw_transmission")
    )
    flux = np.where(np.isfinite(catalogue) & (catalogue > 0), catalogue, measured)
    return mag_of_flux(flux / passed)


def _known_sigma(sigma_v_km_s: Floats) -> Floats:
    return np.where(np.isfinite(sigma_v_km_s), sigma_v_km_s, TYPICAL_SIGMA_V)


def _column(rows: xr.Dataset, name: str) -> Floats:
    if name not in rows.variables:
        raise CompletenessError(f"{name}: the rows have no such column")
    return np.asarray(rows[name].values, dtype=np.float64)


def _by_band(rows: xr.Dataset, name: str, bands: Sequence[str]) -> Floats:
    if name not in rows.variables:
        raise CompletenessError(f"{name}: the rows have no such column")
    there = [str(b) for b in rows["band"].values]
    return rows[name].transpose("sample", "band").values[:, [there.index(b) for b in bands]].astype(np.float64)


def _radius(rows: xr.Dataset) -> Floats:
    return np.hypot(_column(rows, "src_x_arcsec"), _column(rows, "src_y_arcsec"))
