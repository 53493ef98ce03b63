"""The proof that one factor changed and nothing else: every declared-equal array of two arms, compared by hash.

Blocks of rows are compared, and what they give adds up: a proof over ten million rows holds no more than one region of
both arms in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
import xxhash
from numpy.typing import NDArray

from lensflow import schema
from lensflow.errors import RealismError
from lensflow.measure.realism.sweep.factors import NULL, Factor
from lensflow.measure.realism.sweep.relations import RELATIONS, Broken, Side

PIXELS = ("arc", "stamp", "ctrl")
_TABLES = tuple(v.name for v in (*schema.METRICS, *schema.COMPONENT_METRICS, *schema.ROUNDING, *schema.FLAGS))
_MODULUS = 1 << 128
# What a column follows from, where a factor reached it through a relation of the plan.
_WAYS_OUT = {
    "src_reff_arcsec": "give plan.src_reff_arcsec (sizes follow magnitudes where it is null)",
    "theta_e_arcsec": "give plan.theta_e_arcsec (theta_E follows from redshifts where it is null)",
    "src_z": "give plan.theta_e_arcsec, or plan.src_z",
    "src_tries": "choose plan.src_min_images: 1",
}
# The same where images are sources: they bring their own.
_WAYS_OUT_OF_IMAGES = {
    "src_reff_arcsec": "choose plan.sources.size: prior",
    "src_flux_nmgy": "choose plan.sources.magnitude: prior",
}
_SHOWN = 6


@dataclass(frozen=True)
class Compared:
    """One array of two arms, in all rows that were compared.

    Attributes
    ----------
    role : {"equal", "owned", "relation", "free"}
        Declared equal; the factor's own; a relation that must hold; or nothing is declared of it.
    digest_a, digest_b : int
        Sums of the 128-bit hashes of all blocks, modulo 2^128; of a relation between numbers, 0.
    n_rows, n_differ : int
        Rows, and those that differ (of a relation: that break it).
    first : int
        row_id of the first of these; -1 without any.
    worst : float
        Of a relation between numbers, the largest departure.
    """

    role: str
    digest_a: int = 0
    digest_b: int = 0
    n_rows: int = 0
    n_differ: int = 0
    first: int = -1
    worst: float = 0.0

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            self.role,
            (self.digest_a + other.digest_a) % _MODULUS,
            (self.digest_b + other.digest_b) % _MODULUS,
            self.n_rows + other.n_rows,
            self.n_differ + other.n_differ,
            self.first if self.first >= 0 else other.first,
            max(self.worst, other.worst),
        )


@dataclass(frozen=True)
class Proof:
    """Arrays of two arms, compared; proofs of different rows add up.

    Attributes
    ----------
    arrays : mapping
        Name -> :class:`Compared`.
    """

    arrays: Mapping[str, Compared] = field(default_factory=dict)

    @classmethod
    def from_blocks(cls, a: Side, b: Side, factor: Factor) -> Proof:
        """Compare a block of the same rows in two arms.

        Parameters
        ----------
        a, b : Side
            Of the reference and of the arm.
        factor : Factor

        Returns
        -------
        Proof

        Raises
        ------
        RealismError
            If the rows are not the same.
        """
        keys = [np.asarray(s.pairs["row_id"].values, dtype=np.uint64) for s in (a, b)]
        refuse_other_rows(keys[0], keys[1], factor.name)
        found = {}
        every = schema.manifest_variables({*a.pairs.variables, *b.pairs.variables})
        columns = {v.name: v for v in every if v.name in a.pairs or v.name in b.pairs}
        for name, v in columns.items():
            role = "owned" if name in factor.owned else "equal"
            found[name] = _pair(role, keys[0], *(_values(s, name, v.dtype) for s in (a, b)))
        for name in (*PIXELS, *(n for n in _TABLES if n in a.pairs and n in b.pairs)):
            role = "equal" if name in factor.equal else "free"
            values = [s.pixels(name) if name in PIXELS else s.pairs[name].values for s in (a, b)]
            found[name] = _pair(role, keys[0], *values)
        for relation in factor.relations:
            for name, what in RELATIONS[relation](a, b).items():
                if isinstance(what, Broken):
                    found[name] = Compared(
                        "relation", 0, 0, len(keys[0]), int(what.rows.sum()), _first(keys[0], what.rows), what.worst
                    )
                else:
                    found[name] = _pair("relation", keys[0], what.a, what.b)
        return cls(found)

    @classmethod
    def joined(cls, parts: Sequence[Proof]) -> Proof:
        """Add up proofs."""
        out = cls()
        for part in parts:
            out = out + part
        return out

    def __add__(self, other: Proof) -> Proof:
        names = {**self.arrays, **other.arrays}
        return Proof(
            {n: self.arrays[n] + other.arrays[n] if n in self.arrays and n in other.arrays else names[n] for n in names}
        )

    @property
    def broken(self) -> dict[str, Compared]:
        """Arrays that are not what was declared."""
        return {n: c for n, c in self.arrays.items() if c.role in ("equal", "relation") and _differs(c)}

    @property
    def changed(self) -> dict[str, Compared]:
        """Arrays that differ and may."""
        return {n: c for n, c in self.arrays.items() if c.role in ("owned", "free") and _differs(c)}

    def result(self) -> xr.Dataset:
        """Put every comparison into a Dataset.

        Returns
        -------
        Dataset
            Over ``array``: role, hashes of both arms as hex, rows, rows that differ, first of them.
        """
        rows = list(self.arrays.values())
        dims = ["array"]
        return xr.Dataset(
            {
                "role": (dims, np.array([c.role for c in rows], dtype=str)),
                "hash_a": (dims, np.array([_hex(c.digest_a) for c in rows], dtype=str)),
                "hash_b": (dims, np.array([_hex(c.digest_b) for c in rows], dtype=str)),
                "n_rows": (dims, np.array([c.n_rows for c in rows], dtype=np.int64)),
                "n_differ": (dims, np.array([c.n_differ for c in rows], dtype=np.int64)),
                "first_row_id": (dims, np.array([str(c.first) if c.first >= 0 else "" for c in rows], dtype=str)),
                "worst": (dims, np.array([c.worst for c in rows], dtype=np.float64)),
            },
            coords={"array": np.array(list(self.arrays), dtype=str)},
        )


def refuse_other_rows(row_id_a: NDArray[np.uint64], row_id_b: NDArray[np.uint64], name: str) -> None:
    """Refuse arms whose rows are not the same, in the same order.

    Parameters
    ----------
    row_id_a, row_id_b : ndarray of uint64, shape (n,)
    name : str
        Of the factor.

    Raises
    ------
    RealismError
        With the number of rows that are in one arm only.
    """
    if np.array_equal(row_id_a, row_id_b):
        return
    alone = [int(np.setdiff1d(x, y).size) for x, y in ((row_id_a, row_id_b), (row_id_b, row_id_a))]
    raise RealismError(
        f"factor {name!r} also changed which rows there are: {alone[0]:,} are in the reference only, {alone[1]:,} in "
        f"the arm only, of {row_id_a.size:,} and {row_id_b.size:,}. Rows that a plan drops (theta_E below its minimum, "
        "no source position, hosts that lack something) cannot be paired: choose settings that drop none"
    )


def judge(proof: Proof, factor: Factor, value: str = "") -> None:
    """Stop a sweep whose arms differ in more than the factor, or in nothing.

    Parameters
    ----------
    proof : Proof
        Over all rows.
    factor : Factor
    value : str
        Of the arm, for messages.

    Raises
    ------
    RealismError
        Naming what else changed, in how many rows, and the first of them; or that nothing changed.
    """
    if broken := proof.broken:
        shown = [_said(n, c) for n, c in [*broken.items()][:_SHOWN]]
        more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        first = next((c.first for c in broken.values() if c.first >= 0), -1)
        at = f" (first: row_id {first})" if first >= 0 else ""
        if factor.setting == NULL:
            raise RealismError(
                f"the null arm is not the reference: {', '.join(shown)}{more}{at} differ, although nothing was "
                "changed. No difference of this sweep means anything; is the machine of another type, or the code new?"
            )
        known = {**_WAYS_OUT, **(_WAYS_OUT_OF_IMAGES if factor.setting.startswith("plan.sources.") else {})}
        ways = list(dict.fromkeys(known[n] for n in broken if n in known and factor.redraws))
        out = f". To change one factor alone: {'; '.join(ways)}" if ways else ""
        raise RealismError(f"factor {factor.name!r} also changed {', '.join(shown)}{more}{at}{out}")
    if factor.setting != NULL and factor.road != "view" and not any(n in proof.changed for n in PIXELS):
        to = f" to {value}" if value else ""
        raise RealismError(
            f"factor {factor.name!r} changed nothing: with {factor.setting} set{to}, every bit of arc, stamp and "
            "control is that of the reference. Is the setting in force (a mask of radius 0 has no method, no noise has "
            "no gain)?"
        )


def _said(name: str, c: Compared) -> str:
    return f"{name} in {c.n_differ:,} row{'s' if c.n_differ != 1 else ''}"


def _differs(c: Compared) -> bool:
    return c.n_differ > 0 or c.digest_a != c.digest_b


def _values(side: Side, name: str, dtype: str) -> NDArray[Any]:
    if name not in side.pairs:
        return np.zeros(side.pairs.sizes["sample"], "S1")
    values = np.asarray(side.pairs[name].values)
    # Text of one width on both sides, whatever the longest of a block is.
    return np.ascontiguousarray(values.astype("U64" if dtype.startswith("U") else dtype))


def _pair(role: str, keys: NDArray[np.uint64], a: NDArray[Any], b: NDArray[Any]) -> Compared:
    one, other = (_digest(keys, v) for v in (a, b))
    if one == other:
        return Compared(role, one, other, len(keys))
    rows = differing(a, b)
    return Compared(role, one, other, len(keys), int(rows.sum()), _first(keys, rows))


def _digest(keys: NDArray[np.uint64], values: NDArray[Any]) -> int:
    """Hash of a block's rows and bits; zero where there are no rows, so that empty blocks add nothing."""
    if not len(keys):
        return 0
    h = xxhash.xxh3_128(np.ascontiguousarray(keys).data)
    h.update(np.ascontiguousarray(values).tobytes())
    return h.intdigest()


def differing(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows whose bits differ: NaN is equal to itself, and -0 is not 0."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return np.ones(len(a), bool)
    n = len(a)
    bits = [np.ascontiguousarray(v).reshape(n, -1).view(np.uint8).reshape(n, -1) for v in (a, b)]
    return np.asarray((bits[0] != bits[1]).any(axis=1))


def _first(keys: NDArray[np.uint64], rows: NDArray[np.bool_]) -> int:
    return int(keys[np.argmax(rows)]) if rows.any() else -1


def _hex(digest: int) -> str:
    return f"{digest:032x}"
