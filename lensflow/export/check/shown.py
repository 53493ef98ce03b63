"""The result of a check of an export, as a sentence and a table."""

from __future__ import annotations

from lensflow.export.check.results import ExportCheck
from lensflow.show.table import Cell, Table, words
from lensflow.show.verdict_style import verdict_style


def sentence(found: ExportCheck) -> str:
    """What was read, and the verdict.

    Parameters
    ----------
    found : ExportCheck

    Returns
    -------
    str
    """
    what = " ".join(str(found.facts[k]) for k in ("format", "view") if found.facts.get(k))
    return (
        f"{found.export}: {found.verdict}. {found.n_samples:,} samples of {found.n_hosts:,} hosts"
        + (f" ({what})" if what else "")
        + (f", read in {found.facts['seconds']:g} s" if "seconds" in found.facts else "")
        + "."
    )


def table(found: ExportCheck) -> Table:
    """One line a check: verdict and reason.

    Parameters
    ----------
    found : ExportCheck

    Returns
    -------
    Table
    """
    rows = [(r.name, Cell(str(r.verdict), verdict_style(r.verdict).cell), r.reason) for r in found.results]
    return Table("", [words("check"), words("verdict"), words("what was found", wrap=True)], rows)
