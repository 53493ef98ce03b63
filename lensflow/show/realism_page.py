"""A comparison with real lenses on a run's page: sentence, stamps, features, areas, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lensflow.show import figures_realism as figures
from lensflow.show.composite import colour_note
from lensflow.show.figures import Picture
from lensflow.show.figures_realism import RealExample
from lensflow.show.realism import KeptRealism, sentence, tables
from lensflow.show.table import Table

OPEN_TABLES = 2


@dataclass(frozen=True)
class Gallery:
    """Stamps of one kind.

    Attributes
    ----------
    title : str
    heads : tuple of str
        Of the panels.
    examples : tuple of RealExample
    """

    title: str
    heads: tuple[str, ...]
    examples: tuple[RealExample, ...]


@dataclass(frozen=True)
class ShownRealism:
    """A comparison with the stamps that a page shows of it.

    Attributes
    ----------
    kept : KeptRealism
    galleries : tuple of Gallery
        Triptychs by hash first.
    """

    kept: KeptRealism
    galleries: tuple[Gallery, ...] = ()


@dataclass(frozen=True)
class Item:
    """A figure of a gallery."""

    picture: Picture
    facts: tuple[tuple[str, str], ...]
    why: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Section:
    """What the page shows of one comparison.

    Attributes
    ----------
    anchor, title, sentence, file, colours : str
    galleries : list of (str, tuple of str, list of Item)
        Title, heads of the panels, figures; the first is shown, the others are folded.
    figures : list of Picture
    tables : list of Table
    n_open : int
        Tables that are shown; the others are folded.
    """

    anchor: str
    title: str
    sentence: str
    file: str
    colours: str
    galleries: list[tuple[str, tuple[str, ...], list[Item]]]
    figures: list[Picture]
    tables: Sequence[Table]
    n_open: int


def section(shown: ShownRealism, number: int, bands: Sequence[str], pixel_scale_arcsec: float) -> Section:
    """Make the section of one comparison.

    Parameters
    ----------
    shown : ShownRealism
    number : int
        Its place on the page; part of the pictures' names.
    bands : sequence of str
    pixel_scale_arcsec : float
    """
    kept, name = shown.kept, f"realism-{number}"
    galleries = []
    for k, gallery in enumerate(shown.galleries):
        made = figures.triptychs(gallery.examples, bands, pixel_scale_arcsec, f"{name}-{k}")
        items = [Item(p, e.facts) for p, e in zip(made, gallery.examples, strict=True)]
        galleries.append((gallery.title, gallery.heads, items))
    drawn = []
    if "areas" in kept.tables:
        drawn.append(figures.areas(kept.tables["areas"], kept.gates[0].threshold, name))
    if "features" in kept.tables:
        drawn.append(figures.strips(kept.tables["features"], name))
    title = f"Against real lenses ({kept.table.rpartition('/')[2]}{f', {kept.scorer}' if kept.scorer else ''})"
    return Section(
        name, title, sentence(kept), kept.file, colour_note(bands, ()), galleries, drawn, tables(kept), OPEN_TABLES
    )
