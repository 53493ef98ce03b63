"""Does a completeness say anything? Not without rows or scores, nor where recovery is only a cut on what was put in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from lensflow.measure.completeness.bins import Bins, Values
from lensflow.measure.completeness.counts import Counted, Funnel
from lensflow.measure.completeness.tautology import reproduced_by, walls
from lensflow.measure.completeness.variables import reference_band, values_of
from lensflow.measure.gate.verdicts import Verdict

BY_DEFINITION = (
    "detectability by definition: the scorer reads what was injected, not an image. Nothing is learned of a search, "
    "and no gate passes on it"
)


def not_measurable(
    counted: Counted, funnel: Funnel, n_controls: int, negatives: ArrayLike, split: str
) -> tuple[Verdict, str] | None:
    """Find out why nothing can be measured, before any threshold is set.

    Parameters
    ----------
    counted : Counted
    funnel : Funnel
        Of the same rows.
    n_controls : int
        Control rows of the split.
    negatives : array_like, shape (n,)
        Scores of images without an arc.
    split : str

    Returns
    -------
    (Verdict, str) or None
        NOT_TESTABLE without an injection row, without a valid one, or where every score is the same number; ERROR
        where more than 1 % of the rows' scores, or any negative's, are not finite.
    """
    n, scores = len(counted.row_id), np.asarray(negatives, dtype=np.float64)
    if n == 0:
        return Verdict.NOT_TESTABLE, f"no injection row in split {split} (0 injections, {n_controls:,} control rows)"
    if problem := funnel.problem:
        return Verdict.ERROR, problem
    bad = ~np.isfinite(scores)
    if bad.any():
        return Verdict.ERROR, (
            f"{int(bad.sum()):,} of {bad.size:,} negatives have a score that is not finite, the first is number "
            f"{int(np.argmax(bad))}: a scorer must have an answer for every image"
        )
    valid = counted.score[counted.valid]
    if not valid.size:
        return Verdict.NOT_TESTABLE, f"none of {n:,} injection rows of split {split} is valid ({funnel.lost_in_words})"
    if min(chain(valid[:1], scores)) == max(chain(valid[:1], scores)) and (valid == valid[0]).all():
        return Verdict.NOT_TESTABLE, (
            f"every score is {valid[0]:g} ({valid.size:,} rows, {scores.size:,} negatives): the scorer tells nothing "
            "from nothing"
        )
    return None


def tautology_in(counted: Counted, rows: xr.Dataset, taus: Sequence[float]) -> str:
    """Find a cut on what was injected that recovery is nothing but.

    Parameters
    ----------
    counted : Counted
    rows : Dataset
        The same rows.
    taus : sequence of float

    Returns
    -------
    str
        The cut; empty where there is none.
    """
    band, valid = reference_band(rows), counted.valid
    wanted = ("theta_e_arcsec", f"theta_e_over_psfsize_{band}", f"theta_e_over_fwhm_{band}", f"src_mag_{band}",
              "src_reff_arcsec", f"snr_peak_{band}", f"snr_matched_{band}")  # fmt: skip
    columns = {name: values_of(name, rows)[valid] for name in wanted}
    found = (reproduced_by(columns, recovered[valid]) for recovered in counted.recovered(taus))
    return "; ".join(dict.fromkeys(f for f in found if f))


def wall_in(tables: Iterable[tuple[Bins, xr.Dataset]]) -> str:
    """Find a bin of many rows without any recovery beside one of which more than a fifth is recovered.

    Parameters
    ----------
    tables : iterable of (Bins, Dataset)
        Tables over one variable each, as :class:`lensflow.measure.completeness.tables.Tables` makes them. Bins of
        names have no neighbours and are left out.

    Returns
    -------
    str
        The first wall of each variable, in words; empty where there is none.
    """
    found = [w for bins, table in tables if (w := _wall(bins, table))]
    return "; ".join(found)


def _wall(bins: Bins, table: xr.Dataset) -> str:
    if isinstance(bins, Values) and isinstance(bins.values[0], str):
        return ""
    inside, name = np.flatnonzero(bins.is_inside), bins.variable
    n, hosts = (table[v].sel(curve="all").values[inside] for v in ("n_valid", "n_hosts"))
    for k in table["n_recovered"].sel(curve="all").transpose("threshold", name).values[:, inside]:
        for (i,) in walls(n, k, hosts)[:1]:
            beside = max((j for j in (i - 1, i + 1) if 0 <= j < len(n) and n[j]), key=lambda j: k[j] / n[j])
            labels = [bins.labels[inside[j]] for j in (i, beside)]
            return (
                f"{name} {labels[0]}: none of {n[i]:,} rows on {hosts[i]:,} hosts is recovered, beside "
                f"{100 * k[beside] / n[beside]:.0f} % in {labels[1]}"
            )
    return ""
