"""Which injection rows count: planned, rendered, valid, recovered; why the others do not; the three curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow.errors import CompletenessError, ConfigError
from lensflow.measure.completeness.cells import Cells, Integers
from lensflow.schema import PsfSource
from lensflow.stats.hostsums import named

Mask = NDArray[np.bool_]

CURVES = ("all", "clean", "no_psf_fallback")
# Why a row is not valid, in the order in which it is lost; the first two are not rendered.
REASONS = ("not_in_pairs", "no_flux", "score_missing", "score_not_finite", "render_not_converged")
_RENDERED_FROM = 2
# Share of scores that may be missing or not finite before that is an error.
MOST_WITHOUT_SCORE = 0.01
_NO_ROW = np.uint64(2**64 - 1)
_ROWS_AT_ONCE = 65_536
_NEEDED = ("row_id", "host_index", "is_control", "total_injected_flux_nmgy", "render_not_converged", "is_clean",
           "psf_source", "psf_fwhm_arcsec", "assumed_psf", "score")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Counted:
    """Injection rows of a block and what became of them.

    Attributes
    ----------
    row_id : ndarray of uint64, shape (n,)
    host : ndarray of int64, shape (n,)
        Index of the host.
    score : ndarray of float64, shape (n,)
        NaN where there is none.
    lost : ndarray of int64, shape (n,)
        Number of the reason (``REASONS``), ``len(REASONS)`` for valid rows.
    curves : ndarray of bool, shape (3, n)
        Which rows belong to each curve (``CURVES``), valid or not.
    assumed_psf : ndarray of bool, shape (n,)
        Rows whose PSF the survey did not measure.
    rows : ndarray of int64, shape (n,)
        Their places in the block that they were taken from.
    """

    row_id: NDArray[np.uint64]
    host: Integers
    score: NDArray[np.float64]
    lost: Integers
    curves: Mask
    assumed_psf: Mask
    rows: Integers

    @classmethod
    def from_rows(cls, rows: xr.Dataset) -> Counted:
        """Take the injection rows of a block.

        Parameters
        ----------
        rows : Dataset
            Over ``sample`` and ``band``: columns of manifest, metrics and flags, ``psf_source`` of the host, and
            ``score``. Optional masks: ``in_pairs`` (False for rows of the manifest that the pairs lack) and
            ``has_score`` (False for rows that a table of scores lacks; a NaN that it has is ``score_not_finite``).

        Returns
        -------
        Counted

        Raises
        ------
        CompletenessError
            If a column is missing.
        """
        missing = [name for name in _NEEDED if name not in rows]
        if missing:
            raise CompletenessError(f"completeness: rows lack {', '.join(missing)}")
        places = np.flatnonzero(~rows["is_control"].values.astype(bool))
        of = {name: rows[name].values[places] for name in _NEEDED if "band" not in rows[name].dims}
        by_band = {
            name: rows[name].transpose("sample", "band").values[places]
            for name in ("total_injected_flux_nmgy", "psf_source", "psf_fwhm_arcsec")
        }
        n = len(places)
        there, scored = (
            rows[name].values[places].astype(bool) if name in rows else np.ones(n, bool)
            for name in ("in_pairs", "has_score")
        )
        score = of["score"].astype(np.float64)
        reasons = [
            ~there,
            ~(by_band["total_injected_flux_nmgy"] > 0).any(axis=1),
            ~scored,
            ~np.isfinite(score),
            of["render_not_converged"].astype(bool),
        ]
        lost = np.select(reasons, range(len(REASONS)), len(REASONS)).astype(np.int64)
        in_use = np.isfinite(by_band["psf_fwhm_arcsec"])
        fallback = (in_use & (by_band["psf_source"] == PsfSource.FALLBACK_R)).any(axis=1)
        curves = np.stack([np.ones(n, bool), of["is_clean"].astype(bool) & there, ~fallback & there])
        return cls(
            of["row_id"].astype(np.uint64), of["host_index"].astype(np.int64), score, lost, curves,
            of["assumed_psf"].astype(bool) & there, places,
        )  # fmt: skip

    @property
    def rendered(self) -> Mask:
        """Rows with flux in at least one band."""
        return self.lost >= _RENDERED_FROM

    @property
    def valid(self) -> Mask:
        """Rows that can be recovered or missed."""
        return self.lost == len(REASONS)

    def recovered(self, taus: Sequence[float]) -> Mask:
        """Find valid rows with a score at each threshold or above.

        Parameters
        ----------
        taus : sequence of float

        Returns
        -------
        ndarray of bool, shape (len(taus), n)

        Raises
        ------
        ConfigError
            If a threshold is not a finite number: nothing would be recovered, without a word.
        """
        tau = np.asarray(taus, dtype=np.float64)
        if not np.isfinite(tau).all():
            raise ConfigError(f"completeness.threshold: finite scores, not {[*map(float, tau)]}")
        with np.errstate(invalid="ignore"):
            return (self.score[None] >= tau[:, None]) & self.valid

    def cells(self, place: ArrayLike, shape: Sequence[int], taus: Sequence[float], sorted_by_host: bool) -> Cells:
        """Count the rows of the three curves in the cells of a table.

        Parameters
        ----------
        place : array_like of int, shape (n,)
            Flat index of each row's cell.
        shape : sequence of int
            Of the table.
        taus : sequence of float
            Thresholds.
        sorted_by_host : bool
            As :meth:`Cells.from_rows` takes it.

        Returns
        -------
        Cells
            Of shape (3, *shape): a row that belongs to several curves is counted in each.
        """
        at = np.asarray(place, dtype=np.int64)
        return Cells.concat([part._counted(at[some], shape, taus, sorted_by_host) for some, part in self.blocks()])

    def _counted(self, at: Integers, shape: Sequence[int], taus: Sequence[float], sorted_by_host: bool) -> Cells:
        return Cells.from_rows(
            self.host, at, shape, rendered=self.rendered, valid=self.valid, recovered=self.recovered(taus),
            curves=self.curves, sorted_by_host=sorted_by_host,
        )  # fmt: skip

    def blocks(self) -> Iterator[tuple[slice, Counted]]:
        """Stretches of rows to count one after the other; one without rows where there are none.

        Whole numbers add up to the same bits, in a tenth of the memory, and their sorts fit into the cache.

        Yields
        ------
        (slice, Counted)
            Which rows, and these.
        """
        n = len(self.row_id)
        for first in range(0, max(n, 1), _ROWS_AT_ONCE):
            some = slice(first, min(first + _ROWS_AT_ONCE, n))
            yield some, Counted(
                self.row_id[some], self.host[some], self.score[some], self.lost[some], self.curves[:, some],
                self.assumed_psf[some], self.rows[some],
            )  # fmt: skip

    def funnel(self, taus: Sequence[float]) -> Funnel:
        """Count what became of the rows.

        Parameters
        ----------
        taus : sequence of float
            Thresholds.

        Returns
        -------
        Funnel
        """
        bad = self.row_id[self.lost == REASONS.index("score_not_finite")]
        return Funnel(
            np.bincount(self.lost, minlength=len(REASONS) + 1).astype(np.int64),
            self.recovered(taus).sum(axis=1, dtype=np.int64),
            int((self.assumed_psf & self.valid).sum()),
            np.uint64(bad.min()) if bad.size else _NO_ROW,
        )


@dataclass(frozen=True, eq=False)
class Funnel:
    """How many rows were lost at which step; values of different rows add up.

    Attributes
    ----------
    lost : ndarray of int64, shape (6,)
        Rows by reason (``REASONS``), then the valid ones.
    recovered : ndarray of int64, shape (n_thresholds,)
    assumed_psf : int
        Valid rows whose PSF was assumed; they count in the curve ``no_psf_fallback``.
    first_bad : uint64
        Lowest row_id of a score that is not finite.
    """

    lost: Integers
    recovered: Integers
    assumed_psf: int
    first_bad: np.uint64

    def __add__(self, other: Funnel) -> Funnel:
        return Funnel(
            self.lost + other.lost,
            self.recovered + other.recovered,
            self.assumed_psf + other.assumed_psf,
            min(self.first_bad, other.first_bad),
        )

    @property
    def problem(self) -> str:
        """Says how many scores are not finite, and the first, if more than 1 % are; else empty."""
        bad = int(self.lost[REASONS.index("score_not_finite")])
        scored = int(self.lost[REASONS.index("score_not_finite") :].sum())
        if bad <= MOST_WITHOUT_SCORE * scored:
            return ""
        return (
            f"{bad:,} of {scored:,} scores are not finite, the first of row_id {self.first_bad}; up to "
            f"{MOST_WITHOUT_SCORE:.0%} would be left out as score_not_finite"
        )

    @property
    def lost_in_words(self) -> str:
        """Reasons with the number of rows that are not valid by them."""
        return ", ".join(f"{reason} {n:,}" for reason, n in zip(REASONS, self.lost[:-1].tolist(), strict=True) if n)

    def result(self) -> xr.Dataset:
        """Planned, rendered, valid and recovered rows, and those lost by reason.

        Returns
        -------
        Dataset
        """
        data = {
            "n_planned": named((), self.lost.sum(), "1", "injection rows of the manifest"),
            "n_rendered": named((), self.lost[_RENDERED_FROM:].sum(), "1", "rows with flux in at least one band"),
            "n_valid": named((), self.lost[-1], "1", "rows with a finite score whose rendering converged"),
            "n_recovered": named(["threshold"], self.recovered, "1", "valid rows at the threshold or above"),
            "n_lost": named(["reason"], self.lost[:-1], "1", "rows that are not valid, by the first reason"),
            "n_assumed_psf": named((), self.assumed_psf, "1", "valid rows whose PSF was assumed, not measured"),
        }
        return xr.Dataset(data, coords={"reason": np.array(REASONS)})


def match_scores(
    row_id: ArrayLike, table_row_id: ArrayLike, table_score: ArrayLike, known_row_id: ArrayLike | None = None
) -> tuple[NDArray[np.float64], Mask]:
    """Bring the scores of a table to the rows that are wanted.

    Parameters
    ----------
    row_id : array_like of uint64, shape (n,)
        Injection rows that are wanted.
    table_row_id, table_score : array_like, shape (m,)
        Of the table.
    known_row_id : array_like of uint64, optional
        Every row of the run, wanted or not; without, the wanted ones are all.

    Returns
    -------
    score : ndarray of float64, shape (n,)
        NaN where the table has no such row.
    has_score : ndarray of bool, shape (n,)
        Which rows the table has.

    Raises
    ------
    CompletenessError
        If the table has a row twice, has one that the run does not have, or lacks more than 1 % of the wanted rows;
        names counts and the first three.
    """
    wanted, given = np.asarray(row_id, dtype=np.uint64), np.asarray(table_row_id, dtype=np.uint64)
    scores = np.asarray(table_score, dtype=np.float64)
    unique, times = np.unique(given, return_counts=True)
    _refuse_ids("scores: {} row_id occur more than once", unique[times > 1])
    known = wanted if known_row_id is None else np.asarray(known_row_id, dtype=np.uint64)
    _refuse_ids("scores: {} row_id are not of this run", unique[~np.isin(unique, known)])
    has = np.isin(wanted, unique)
    if (~has).sum() > MOST_WITHOUT_SCORE * len(wanted):
        _refuse_ids(
            f"scores: {{}} of {len(wanted):,} wanted rows are missing, at most 1 % may be "
            "(`lensflow score` takes scorer.max_pairs of them)",
            wanted[~has],
        )
    out = np.full(len(wanted), np.nan)
    order = np.argsort(given, kind="stable")
    out[has] = scores[order][np.searchsorted(given[order], wanted[has])]
    return out, has


def _refuse_ids(text: str, ids: NDArray[np.uint64]) -> None:
    if ids.size:
        raise CompletenessError(f"{text.format(f'{ids.size:,}')}: {', '.join(map(str, ids[:3]))}")
