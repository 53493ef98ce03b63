"""Rows of one object, in one table or in several, put together; objects that are lens and non-lens dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lensflow.sky import close_pairs
from lensflow.targets.brick_names import names_of_positions
from lensflow.targets.lenses.columns import FALSE, TIERS, TRUE, LensNote
from lensflow.targets.lenses.redshifts import Redshift, combine
from lensflow.targets.lenses.rows import Rows

SAME_OBJECT_ARCSEC = 2.0


def objects(rows: Rows) -> NDArray[np.int64]:
    """Object of each row: rows within 2" of each other are one, friends of friends."""
    n = len(rows)
    links = close_pairs(rows.ra_deg, rows.dec_deg, SAME_OBJECT_ARCSEC / 3600)
    graph = coo_array((np.ones(len(links), np.int8), (links[:, 0], links[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def contradictory(rows: Rows, of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of objects that one row calls a lens and another a non-lens."""
    n = of.max(initial=-1) + 1
    lens, non = np.zeros(n, bool), np.zeros(n, bool)
    lens[of[rows.is_lens == TRUE]] = True
    non[of[rows.is_lens == FALSE]] = True
    return (lens & non)[of]


def merged(rows: Rows, of: NDArray[np.int64]) -> Rows:
    """Return one row per object, in the order of its first row; the row of the best tier decides.

    A candidate that another row knows to be no lens is tier N. Redshifts are combined
    (:func:`lensflow.targets.lenses.redshifts.combine`); names, references and surveys are joined.
    """
    order = np.argsort(of, kind="stable")
    bounds = np.flatnonzero(np.diff(of[order], prepend=-1))
    groups = np.split(order, bounds[1:])
    groups.sort(key=lambda g: int(g[0]))
    # N before the rest: a refuted candidate is a non-lens.
    rank = np.array([{"N": -1}.get(t, TIERS.index(t)) for t in rows.tier.tolist()], np.int64)
    best = np.array([g[np.argmin(rank[g])] for g in groups], np.int64)
    out = rows.keep(best)
    for k, group in enumerate(groups):
        if len(group) == 1:
            continue
        first = np.concatenate([[best[k]], group[group != best[k]]])
        out.z_lens[k], z_note = _redshift(rows, "z_lens", first)
        out.z_source[k], s_note = _redshift(rows, "z_source", first)
        out.theta_e_arcsec[k] = next((t for t in rows.theta_e_arcsec[first] if t == t), np.nan)
        out.reference[k] = _joined(rows.reference[first])
        out.survey[k] = _joined(rows.survey[first])
        names = _joined([n for i in first for n in (rows.lens_id[i], rows.also_named[i])]).split(" | ")
        out.also_named[k] = " | ".join(n for n in names if n != out.lens_id[k])
        out.kind[k] = next((v for v in rows.kind[first] if v != "unknown"), "unknown")
        out.confuser[k] = next((c for c in rows.confuser[first] if c), "")
        of_z = int(LensNote.UNSURE_Z | LensNote.CONFLICT_Z | LensNote.UNREADABLE_Z)
        note = int(np.bitwise_or.reduce(rows.note[first])) & ~of_z | int(z_note | s_note) | int(LensNote.MERGED)
        if rows.tier[best[k]] == "N" and (rows.is_lens[group] != FALSE).any():
            note |= int(LensNote.REFUTED)
        out.note[k] = note
    return out


def named(rows: Rows) -> Rows:
    """Give every row a name of its own: its position's, where it has none; with it, where several share one."""
    names = rows.lens_id.copy()
    by_position = [str(n, "utf-8") for n in names_of_positions(rows.ra_deg, rows.dec_deg).tolist()]
    count = Counter(names.tolist())
    note = rows.note.copy()
    for k, name in enumerate(names.tolist()):
        if not name or count[name] > 1:
            names[k] = f"{name} {by_position[k]}".strip()
            note[k] |= np.uint32(LensNote.NAMED_BY_POSITION)
    return replace(rows, lens_id=names, note=note)


def _redshift(rows: Rows, name: str, group: NDArray[np.int64]) -> tuple[float, LensNote]:
    values = getattr(rows, name)[group]
    of_z = LensNote.UNSURE_Z | LensNote.CONFLICT_Z | LensNote.UNREADABLE_Z
    # A row's bits do not say of which of its redshifts they are: those of z_lens, of which nearly all tables have one.
    bits = [LensNote(int(n)) & of_z if name == "z_lens" else LensNote(0) for n in rows.note[group]]
    return combine(Redshift(float(z), b) for z, b in zip(values, bits, strict=True))


def _joined(texts: Iterable[str]) -> str:
    parts = (p for t in texts for p in str(t).split(" | "))
    return " | ".join(dict.fromkeys(p for p in parts if p))
