"""Formats of lens tables, recognised by their header: which column is what, and what to mind."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lensflow.targets.columns import Column
from lensflow.targets.lenses.columns import LensNote
from lensflow.targets.lenses.positions import HOURS

# Of any table: our name, and names that others give it. Positions bear their own units (positions.py).
WANTED = (
    Column("lens_id", ("name", "system_name", "system", "lens_name", "object", "candidate", "target", "id"), True),
    Column("ra_deg", ("ra", "ra [deg]", "ra_coord"), required=True),
    Column("dec_deg", ("dec", "dec [deg]", "dec_coord"), required=True),
    Column("z_lens", ("zlens", "z_l", "zl", "z_d", "z_lens [1]")),
    Column("z_source", ("zsource", "z_s", "zs", "z_src", "zsrc")),
    Column("theta_e_arcsec", ("theta_e", "thetae", "einstein_radius", "r_ein", "rein", "theta_ein"), unit="arcsec"),
    Column("kind", ("type", "lens_type", "kindacronym"), True),
    Column("tier", (), True),
    Column("grade", ("grading", "lensgrade", "rank")),
    Column("is_lens", ()),
    Column("reference", ("ref", "references", "bibcode"), True),
    Column("survey", (), True),
    Column("confuser", ("contaminant",), True),
    Column("also_named", (), True),
    Column("note"),
)
_UNIT_IN_NAME = re.compile(r".*[\[(]\s*([^\])]+?)\s*[\])]\s*")


@dataclass(frozen=True)
class LensFormat:
    """A known format.

    Attributes
    ----------
    name : str
    needs : tuple of sets of str
        Header names in lower case: of each set, the table has one.
    columns : mapping
        Our name -> column, where the general names do not find it.
    sexagesimal : mapping
        ``ra_deg`` or ``dec_deg`` -> what a sexagesimal text without a unit counts.
    theta_e_note : LensNote
        On rows with an Einstein radius.
    both_redshifts_confirm : bool
        A row of which the table is sure and that has both redshifts is tier A.
    """

    name: str
    needs: tuple[frozenset[str], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    sexagesimal: Mapping[str, str] = field(default_factory=dict)
    theta_e_note: LensNote | int = 0
    both_redshifts_confirm: bool = False

    def fits(self, names: Sequence[str]) -> bool:
        """Whether a header is of this format."""
        present = {n.strip().casefold() for n in names}
        return all(options & present for options in self.needs)


def _needs(*names: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(n.split("|")) for n in names)


LENSCAT = LensFormat("lenscat", _needs("name", "ra [deg]", "dec [deg]", "zlens", "type", "grading", "ref"))
LEGACY = LensFormat("Legacy Surveys candidates", _needs("name", "ra", "dec", "zlens", "type", "grading", "ref"))
DESI = LensFormat("DESI strong lensing", _needs("targetid", "target_ra", "target_dec", "z", "zwarn", "spectype"))
MASTER_LENS = LensFormat(
    "Master Lens Database",
    _needs("system_name|system name", "kind|kindacronym|kind acronym", "grade|lensgrade|lens grade"),
    sexagesimal={"ra_deg": HOURS, "dec_deg": "deg"},
    theta_e_note=LensNote.UNDEFINED_THETA_E,
    both_redshifts_confirm=True,
)
ANY = LensFormat("table")
FORMATS = (LENSCAT, LEGACY, DESI, MASTER_LENS)


def format_of(names: Sequence[str]) -> LensFormat:
    """Recognise a table by the names of its columns; ``ANY`` if it is none of the known formats."""
    return next((f for f in FORMATS if f.fits(names)), ANY)


def stated_unit(name: str, units: Mapping[str, str]) -> str:
    """Unit of a column: as the file states it, or in brackets behind its name (``RA [deg]``)."""
    match = _UNIT_IN_NAME.fullmatch(name)
    return units.get(name) or (match[1] if match else "")


def with_spaces(wanted: Sequence[Column]) -> tuple[Column, ...]:
    """Add names written with blanks for underscores (``system name``, ``Einstein radius``)."""
    return tuple(
        Column(
            c.name,
            tuple(dict.fromkeys([*c.synonyms, *(s.replace("_", " ") for s in (c.name, *c.synonyms))])),
            c.is_text,
            c.required,
            c.unit,
        )
        for c in wanted
    )
