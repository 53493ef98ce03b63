"""The manifest: one row per injection and control, with all random numbers drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial, reduce
from operator import add
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import RunConfig
from lensflow.errors import ManifestError
from lensflow.lensing.components import OF_BANDS
from lensflow.manifest.check import check_declared, check_manifest
from lensflow.manifest.components import has_components, with_components
from lensflow.manifest.declared import declared_priors
from lensflow.manifest.draw_galaxies import draw_galaxies, galaxy_draw
from lensflow.manifest.draws import Draws, crossed
from lensflow.manifest.hosts import (
    PlanSize,
    ReadHosts,
    RowCounts,
    eligible_hosts,
    profile_fwhm,
    refuse,
    rows_of_hosts,
    size_of_block,
)
from lensflow.manifest.image_redshifts import ImagesByRedshift, images_behind
from lensflow.manifest.image_sources import NO_IMAGE, redshifts_of, with_images
from lensflow.manifest.lens_priors import draw_lens
from lensflow.manifest.population import i_magnitude
from lensflow.manifest.positions import draw_positions
from lensflow.manifest.source_bank import SourceBank
from lensflow.manifest.source_priors import band_fluxes, draw_source
from lensflow.manifest.table import InjectionTable, read_injection_table
from lensflow.manifest.table_checks import refuse_other_hosts, refuse_sources_in_front, refuse_unused, warn_of_unknown
from lensflow.schema import PsfSource
from lensflow.targets.splits import check_splits

# Rows drawn together: their columns take about 100 MB.
BLOCK_ROWS = 200_000
_TEXT_IN_CONTROLS = {"lens_model": "CONTROL", "src_id": ""}
_ZERO_IN_CONTROLS = ("theta_e_arcsec", "shear", "src_flux_nmgy", "src_tries", "src_knots", *OF_BANDS)
SOURCE_ROW = "src_table_row"


def build_manifest(
    cutouts: xr.Dataset, config: RunConfig, sources: SourceBank | None = None, *, confirmed: bool = False
) -> xr.Dataset:
    """Draw the manifest for the hosts of a cutouts store, in memory.

    Parameters
    ----------
    cutouts : Dataset
        As opened by :func:`lensflow.open_cutouts`; only its tables are read.
    config : RunConfig
    sources : SourceBank, optional
        Images to draw sources from; by default those that ``plan.sources`` names.
    confirmed : bool
        Whether a plan of more than 20 million rows is confirmed.

    Returns
    -------
    Dataset with dim ``sample``: the variables of ``schema.MANIFEST``, sorted by host (and of ``schema.COMPONENTS``, if
    sources have bulges or knots); priors, design and counts are in
    the attrs.

    Raises
    ------
    ManifestError
        If no host can carry an arc, hosts lack what the plan needs, the plan has more rows than ``plan.max_rows``,
        or a row has no source position.
    """
    tables = cutouts.drop_vars([v for v in cutouts.data_vars if "y" in cutouts[v].dims])
    planner = Planner(config, lambda start, stop: tables.isel(host=slice(start, stop)), cutouts.sizes["host"], sources)
    planner.refuse(confirmed)
    blocks = list(planner.blocks())
    variables = schema.manifest_variables(blocks[0].variables if blocks else ())
    arrays = {v.name: np.concatenate([b[v.name].values for b in blocks]) for v in variables}
    out = schema.dataset("manifest", arrays, {"band": list(config.bands)})
    out.attrs.update(planner.attrs())
    check_manifest(out)
    return out


class Planner:
    """Draw a manifest block by block of hosts, in the order of the cutouts; memory does not grow with the plan.

    Parameters
    ----------
    config : RunConfig
    read_hosts : callable
        ``read_hosts(start, stop)`` gives the cutouts' tables of these hosts.
    n_hosts : int
        Number of hosts; ``plan.limit_hosts`` of them are used.
    sources : SourceBank, optional
        Images to draw sources from; by default those that ``plan.sources`` names.
    before : sequence of RunConfig
        The same config with smaller plans, each a part of the next: their rows come first, then those that the next
        one adds, sorted by host within each part.
    warn : bool
        Whether to warn of a table's rows for hosts that are not there.
    """

    def __init__(
        self,
        config: RunConfig,
        read_hosts: ReadHosts,
        n_hosts: int,
        sources: SourceBank | None = None,
        before: Sequence[RunConfig] = (),
        warn: bool = True,
    ):
        self.config, self.read_hosts, self.sources = config, read_hosts, sources
        self.n_there, self.parts = n_hosts, (*before, config)
        self.n_hosts = self._limit(config)
        self.table: InjectionTable | None = None
        if config.plan.table is not None:
            self.table = read_injection_table(
                config.plan.table, config.bands, config.plan.table_ignore, config.survey.missing_values
            )
            refuse_unused(self.table, config)
        self.galaxies = galaxy_draw(config)
        farthest = None if self.galaxies is None else self.galaxies.farthest_lens_z
        self._eligible = partial(eligible_hosts, table=self.table, farthest_lens_z=farthest)
        self.size = reduce(
            add, self._each(lambda hosts, _: size_of_block(hosts, config, self.table, farthest)), PlanSize()
        )
        self.dropped: Counter[str] = Counter()
        if self.table is not None and warn:
            warn_of_unknown(self.table, self.n_hosts, config)

    def refuse(self, confirmed: bool = False) -> None:
        """Raise if the plan cannot or should not be drawn: see :func:`lensflow.manifest.hosts.refuse`."""
        if self.table is not None and len(self.table.unseen()[0]) == len(self.table.host_ids):
            refuse_other_hosts(
                self.table, self.read_hosts(0, min(3, self.n_hosts))["host_id"].values, self.n_hosts, self.config
            )
        refuse(self.size, self.config, confirmed)
        if self.galaxies is None and (self.table is None or "src_flux_nmgy" not in self.table.columns):
            # For zero rows: tests now whether every band has a colour.
            band_fluxes(np.empty(0), np.empty((0, 3)), self.config.bands, self.config.plan.priors.colours)

    @property
    def further(self) -> tuple[str, ...]:
        """Columns of its rows besides ``schema.MANIFEST``."""
        several = has_components(self.config.plan, () if self.table is None else self.table.columns)
        names = () if self.galaxies is None else (SOURCE_ROW,)
        return (*names, *(v.name for v in schema.COMPONENTS if several))

    def blocks(self) -> Iterator[xr.Dataset]:
        """Draw the rows, block by block of hosts; blocks without a row are left out."""
        smaller: RunConfig | None = None
        for part in self.parts:
            for rows in self._each(partial(self._draw_hosts, part=part, smaller=smaller), part):
                if rows.sizes["sample"]:
                    yield rows
            smaller = part

    def attrs(self) -> dict[str, Any]:
        """Return the design, the declared priors, and the counts; complete once every block has been drawn."""
        unused = self.table.size * self.config.plan.replicates - self.size.injections if self.table is not None else 0
        return {
            "design": self.config.plan.design,
            "seed": self.config.seed,
            "declared": declared_priors(self.config),
            "given": [] if self.table is None else sorted(self.table.columns),
            **({} if self.galaxies is None else {"source_table": self.galaxies.table.about()}),
            "psf_model": self.config.plan.psf_model,
            "psf_beta": self.config.plan.psf_beta,
            "psfsize_is": self.config.plan.psfsize_is,
            "n_hosts": self.size.n_used,
            "hosts_skipped": dict(self.size.skipped),
            "hosts_lacking": dict(self.size.lacking),
            "rows_dropped": {**self.dropped, **({"HOST_NOT_USABLE": unused} if unused else {})},
        }

    def _limit(self, config: RunConfig) -> int:
        return min(self.n_there, config.plan.limit_hosts or self.n_there)

    def _each(self, work: Callable[[xr.Dataset, int], Any], part: RunConfig | None = None) -> Iterator[Any]:
        plan, n_hosts = (part or self.config).plan, self._limit(part or self.config)
        per_host = len(crossed(plan.priors)) * plan.replicates if plan.design == "grid" else plan.injections_per_host
        step = max(1, BLOCK_ROWS // (per_host + plan.controls_per_host))
        for start in range(0, n_hosts, step):
            stop = min(start + step, n_hosts)
            yield work(self.read_hosts(start, stop), start)

    def _draw_hosts(self, cutouts: xr.Dataset, first: int, part: RunConfig, smaller: RunConfig | None) -> xr.Dataset:
        """Rows of a block of hosts that a part's plan adds to the smaller one before it."""
        config, table = part, self.table
        hosts = self._eligible(cutouts, config)
        chosen = np.flatnonzero(hosts.usable)
        keys = np.zeros(len(hosts.usable), np.uint64)
        keys[chosen] = rng.hash_ids(cutouts["host_id"].values[chosen])
        counts = rows_of_hosts(keys, hosts.usable, config, table)
        had = RowCounts(np.zeros_like(counts.injections), np.zeros_like(counts.controls))
        if smaller is not None:
            had = rows_of_hosts(
                keys, hosts.usable & (first + np.arange(len(keys)) < self._limit(smaller)), smaller, table
            )
        arcs = counts.injections - had.injections
        per_host = arcs + counts.controls - had.controls
        host = np.repeat(np.arange(len(per_host)), per_host)
        number = np.arange(len(host)) - np.repeat(np.cumsum(per_host) - per_host, per_host)
        is_control = number >= arcs[host]
        replicate = np.where(is_control, number - arcs[host] + had.controls[host], number + had.injections[host])
        row_id = rng.mix_ids(keys[host], 2 * replicate.astype(np.uint64) + is_control)

        injected = np.flatnonzero(~is_control)
        of = host[injected]
        draws = Draws(
            plan=config.plan,
            seed=config.seed,
            bands=config.bands,
            row_id=row_id[injected],
            host_key=keys[of],
            replicate=replicate[injected],
            host={k: v[of] for k, v in hosts.columns.items()},
            given=table.given(keys[of], replicate[injected]) if table is not None else {},
        )
        if self.galaxies is not None:
            draws = draw_galaxies(draws, self.galaxies, config)
        split = cutouts["split"].values[of]
        refuse_sources_in_front(draws, cutouts["host_id"].values[of])
        drawn = with_components(self._draw_with_images(draws, config, split), draws)
        if config.plan.src_mag_shift:
            # Last: nothing that is drawn may follow it.
            drawn["src_flux_nmgy"] = drawn["src_flux_nmgy"] * 10 ** (-0.4 * config.plan.src_mag_shift)
        keep = np.ones(len(host), bool)
        there = self._has_galaxy(drawn)
        keep[injected[~there]] = False
        keep[injected[there]] = self._is_wide(drawn["theta_e_arcsec"][there]) & self._has_position(
            drawn["src_tries"][there], row_id[injected[there]]
        )
        arrays: dict[str, NDArray] = {
            **{k: _with_controls(k, v, is_control) for k, v in drawn.items()},
            "row_id": row_id,
            "host_index": first + host,
            "replicate": replicate,
            "is_control": is_control,
            "psf_fwhm_arcsec": self._psf_fwhm(cutouts)[host],
            **{name: cutouts[name].values[host] for name in ("x_center", "y_center", "split")},
        }
        if not keep.all():
            arrays = {k: v[keep] for k, v in arrays.items()}
        out = schema.dataset("manifest", arrays, {"band": list(config.bands)})
        check_manifest(out)
        check_splits(cutouts, out.assign(host_index=out["host_index"] - first))
        check_declared(out, cutouts, declared_priors(config), () if table is None else table.columns, first)
        return out

    def _draw_with_images(self, draws: Draws, config: RunConfig, split: NDArray[np.uint8]) -> dict[str, NDArray]:
        settings, chosen = config.plan.sources, None
        if settings is not None and settings.redshift == "own":
            chosen = images_behind(draws, self._images, split)
            draws = replace(draws, image_z=redshifts_of(self._images.bank, chosen))
        drawn = draw_rows(draws)
        if settings is not None and settings.redshift == "moved":
            chosen = self._images.draw(draws.row_id, split, drawn["src_z"])
        return with_images(drawn, config, self.sources, draws.row_id, split, draws.given, chosen)

    @cached_property
    def _images(self) -> ImagesByRedshift:
        return ImagesByRedshift(self.config, self.sources)

    def _psf_fwhm(self, cutouts: xr.Dataset) -> NDArray[np.float64]:
        psfsize = cutouts["psfsize_arcsec"].values.astype(np.float64)
        if self.config.plan.psf_model == "kernel":
            # A host has a PSF image in every band that is covered, or is left out (NO_PSF_IMAGE); the others are NaN.
            psfsize = np.where(cutouts["psf_source"].values == PsfSource.COADD_PSF, psfsize, np.nan)
        return profile_fwhm(psfsize, self.config.plan)

    def _has_galaxy(self, drawn: Mapping[str, NDArray]) -> NDArray[np.bool_]:
        """Rows whose source is there: some may find no galaxy in a table, or no image at their redshift."""
        lacks = {"NO_IMAGE_AT_REDSHIFT": drawn["src_id"] == NO_IMAGE}
        if SOURCE_ROW in drawn:
            lacks["NO_GALAXY_IN_TABLE"] = drawn[SOURCE_ROW] < 0
        self.dropped.update({name: int(lost.sum()) for name, lost in lacks.items() if lost.any()})
        return ~np.any([*lacks.values()], axis=0)

    def _is_wide(self, theta_e_arcsec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Rows whose theta_E is not below the plan's minimum: computed and tabled ones can be."""
        wide = theta_e_arcsec >= self.config.plan.theta_e_min_arcsec
        below = int((~wide).sum())
        self.dropped.update({"THETA_E_BELOW_MINIMUM": below} if below else {})
        return wide

    def _has_position(self, tries: NDArray[np.int16], row_id: NDArray[np.uint64]) -> NDArray[np.bool_]:
        plan, found = self.config.plan, tries > 0
        failed = int((~found).sum())
        tabled = self.table is not None and "src_x_arcsec" in self.table.columns
        if failed and plan.src_position_fails == "error" and tabled:
            raise ManifestError(
                f"plan.table: {failed} of {len(tries)} source positions (the first: row_id "
                f"{int(row_id[np.argmin(found)])}) have fewer than {plan.src_min_images} images, which "
                "plan.src_min_images declares. Correct them, lower it, or choose plan.src_position_fails: drop."
            )
        if failed and plan.src_position_fails == "error":
            raise ManifestError(
                f"{failed} of {len(tries)} rows (the first: row_id {int(row_id[np.argmin(found)])}) have no source "
                f"position with {plan.src_min_images} images among {plan.src_position_tries} drawn. Raise "
                "plan.src_position_tries, ask for fewer images or flatter lenses, or choose "
                "plan.src_position_fails: drop."
            )
        self.dropped.update({"NO_SOURCE_POSITION": failed} if failed else {})
        return found


def draw_rows(draws: Draws) -> dict[str, NDArray]:
    """Draw every column of a block of injections; a user's table replaces drawn values.

    Returns
    -------
    dict
        Column of the manifest -> values, shape (n,) or (n, band).
    """
    axes = draws.axes()
    source = _given(draws, draw_source(draws, axes))
    flux = source["src_flux_nmgy"] / source["mw_transmission"]
    lens = draw_lens(draws, axes, i_magnitude(flux, draws.bands, draws.reference_band))
    lens = _given(draws, lens)
    drawn = lens | source | _given(draws, draw_positions(draws, lens))
    return drawn if draws.galaxies is None else drawn | {SOURCE_ROW: draws.galaxies.row}


def _given(draws: Draws, drawn: dict[str, NDArray]) -> dict[str, NDArray]:
    return drawn | {k: v for k, v in draws.given.items() if k in drawn}


def _with_controls(name: str, injected: NDArray, is_control: NDArray[np.bool_]) -> NDArray:
    """Insert a column's values in the rows of injections. Controls have no arc: their Einstein radius, shear and flux
    are 0, their model is CONTROL, and the other parameters do not apply (NaN)."""
    nothing: Any = {**_TEXT_IN_CONTROLS, SOURCE_ROW: -1}.get(name, 0 if name in _ZERO_IN_CONTROLS else np.nan)
    out = np.full((len(is_control), *injected.shape[1:]), nothing, dtype=injected.dtype)
    out[~is_control] = injected
    return out
