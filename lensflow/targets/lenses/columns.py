"""Variables of a table of real lenses, and the notes on its rows."""

from __future__ import annotations

from enum import IntFlag

from lensflow.schema import Variable

TIERS = ("A", "B", "C", "N")
KINDS = ("galaxy", "group", "cluster", "unknown")
CONFUSERS = ("spiral", "ring", "merger", "edge-on", "artefact")
TRUE, FALSE, UNKNOWN = 1, 0, -1


class LensNote(IntFlag):
    """What to mind about a row; bits combine."""

    UNSURE_Z = 1
    CONFLICT_Z = 2
    UNREADABLE_Z = 4
    MERGED = 8
    UNDEFINED_THETA_E = 16
    UNREADABLE_THETA_E = 32
    ONE_REDSHIFT = 64
    SAME_REDSHIFT = 128
    REFUTED = 256
    EXCLUDED_REFERENCE_TOO = 512
    NAMED_BY_POSITION = 1024
    COARSE_POSITION = 2048


NOTE_MEANINGS = {
    LensNote.UNSURE_Z: "a redshift is marked ? or * in the table",
    LensNote.CONFLICT_Z: "redshifts of the same object differ by more than 0.01: NaN",
    LensNote.UNREADABLE_Z: "a redshift is given that is no redshift (L, measured, -99): NaN",
    LensNote.MERGED: "made of several rows",
    LensNote.UNDEFINED_THETA_E: "the Einstein radius is of the table's own definition, or of several",
    LensNote.UNREADABLE_THETA_E: "an Einstein radius is given that is no positive number: NaN",
    LensNote.ONE_REDSHIFT: "one secure redshift, of lens or source: neither is given",
    LensNote.SAME_REDSHIFT: "all secure redshifts agree: no source behind the lens was seen",
    LensNote.REFUTED: "a candidate of one row, a known non-lens of another: tier N",
    LensNote.EXCLUDED_REFERENCE_TOO: "an excluded reference lists it too",
    LensNote.NAMED_BY_POSITION: "the table has no name, or the same one for several objects",
    LensNote.COARSE_POSITION: "the position is written with three decimals of a degree or fewer",
}


def note_names(note: int) -> list[str]:
    """Names of the bits of a note.

    Parameters
    ----------
    note : int
        As the table's ``note``.

    Returns
    -------
    list of str
        Empty for 0.
    """
    return [str(bit.name) for bit in LensNote if note & bit]


def _v(name: str, dtype: str, units: str, meaning: str) -> Variable:
    return Variable(name, ("lens",), dtype, units, meaning)


LENSES = (
    _v("lens_id", "U", "", "name, unique in the table"),
    _v("ra_deg", "f8", "deg", "right ascension, ICRS"),
    _v("dec_deg", "f8", "deg", "declination, ICRS"),
    _v("z_lens", "f8", "1", "redshift of the lens; NaN = none"),
    _v("z_source", "f8", "1", "redshift of the source; NaN = none"),
    _v("theta_e_arcsec", "f8", "arcsec", "Einstein radius; NaN = none"),
    _v("kind", "U", "", "galaxy, group, cluster or unknown"),
    _v("tier", "U", "", "A confirmed, B graded candidate, C other candidate, N known non-lens"),
    _v("is_lens", "i1", "", "1 confirmed, 0 known not to be one, -1 unknown"),
    _v("reference", "U", "", "all references, joined by ' | '"),
    _v("survey", "U", "", "all surveys or tables, joined by ' | '"),
    _v("confuser", "U", "", "kind of a non-lens (spiral, ring, merger, edge-on, artefact); empty = not said"),
    _v("also_named", "U", "", "its other names, joined by ' | '"),
    _v("note", "u4", "", "bits: what to mind (lensflow.targets.lenses.LensNote)"),
)
