"""Rows of one lens table as arrays: texts read, evidence weighed, nothing left out yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lensflow.errors import TargetError
from lensflow.targets import values as val
from lensflow.targets.columns import Columns, as_text
from lensflow.targets.files import TableFile
from lensflow.targets.lenses import evidence
from lensflow.targets.lenses.columns import FALSE, KINDS, TIERS, TRUE, UNKNOWN, LensNote
from lensflow.targets.lenses.formats import WANTED, LensFormat, stated_unit, with_spaces
from lensflow.targets.lenses.positions import as_degrees, is_coarse
from lensflow.targets.lenses.redshifts import Redshift, read_redshift, redshift_of_number
from lensflow.targets.values import MISSING_TEXTS, Missing

Raw = NDArray[np.float64] | list[str]

# Texts whose digits a spreadsheet must not have changed.
_IDENTIFYING = ("lens_id", "target_id")


@dataclass(frozen=True)
class Settings:
    """How tables are read: see :func:`lensflow.targets.lenses.read_lenses`."""

    columns: Mapping[str, str]
    units: Mapping[str, str]
    tier: str | None
    survey: str | None
    setting: str


@dataclass(frozen=True)
class Rows:
    """Rows of tables, one array each; ``reason`` says why a row is left out, empty: it is not."""

    lens_id: NDArray[np.object_]
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    z_lens: NDArray[np.float64]
    z_source: NDArray[np.float64]
    theta_e_arcsec: NDArray[np.float64]
    kind: NDArray[np.object_]
    tier: NDArray[np.object_]
    is_lens: NDArray[np.int8]
    reference: NDArray[np.object_]
    survey: NDArray[np.object_]
    confuser: NDArray[np.object_]
    also_named: NDArray[np.object_]
    note: NDArray[np.uint32]
    reason: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.ra_deg)

    def keep(self, rows: Any) -> Rows:
        """Return some of the rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _FIELDS})

    def __add__(self, other: Rows) -> Rows:
        return Rows(**{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _FIELDS})


_FIELDS = tuple(Rows.__dataclass_fields__)


def made(n: int, **columns: Any) -> Rows:
    """Rows of given columns; the others say nothing."""
    nothing: dict[str, Any] = {name: np.full(n, np.nan) for name in _FIELDS}
    texts = ("lens_id", "reference", "survey", "confuser", "also_named", "reason")
    nothing |= {name: np.full(n, "", object) for name in texts}
    nothing |= {"kind": np.full(n, "unknown", object), "tier": np.full(n, "C", object)}
    nothing["is_lens"] = np.full(n, UNKNOWN, np.int8)
    nothing["note"] = np.zeros(n, np.uint32)
    return Rows(**nothing | columns)


class RawTable:
    """The columns of one table that are read, whole, and errors that name row and value."""

    def __init__(self, table: TableFile, columns: Columns):
        self.path, self.columns, self.units = table.path, columns, table.units
        self.raw: dict[str, Raw] = {}
        parts: dict[str, list[Raw]] = {name: [] for name in columns.where}
        self.n = 0
        for chunk in table.read(columns.file_columns):
            n = len(next(iter(chunk.values())))
            for name, (column, *_) in columns.where.items():
                parts[name].append(self._raw(name, chunk[column]))
            self.n += n
        for name, found in parts.items():
            self.raw[name] = _joined(found)

    def _raw(self, name: str, values: Any) -> Raw:
        shape = val.shape_of_one(values)
        if shape:
            raise TargetError(f"{self.path}: {name} has {shape} values in each row; one value a row is needed.")
        is_number = (
            pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
            if isinstance(values, pa.Array | pa.ChunkedArray)
            else values.dtype.kind in "iuf"
        )
        if is_number and name not in self.columns.text:
            return val.as_numbers(values, Missing(), self.fail(name))
        if not is_number and not isinstance(values, pa.Array | pa.ChunkedArray) and values.dtype.kind == "b":
            return [str(bool(v)).lower() for v in values]
        if (
            name not in _IDENTIFYING
            and isinstance(values, pa.Array | pa.ChunkedArray)
            and pa.types.is_string(values.type)
        ):
            return ["" if v is None or v.strip() in MISSING_TEXTS else v.strip() for v in values.to_pylist()]
        found = val.as_text(values, Missing(), self.fail(name))
        return [str(v) for v in as_text(found, self.path, name)]

    def fail(self, name: str) -> Callable[[int, str], TargetError]:
        """Return what makes an error about a column from a row and what is wrong there."""
        column = self.columns.where[name][0]
        shown = name if column == name else f"{name} ({column})"
        return lambda row, what: TargetError(f"{self.path}: {shown} holds {what}, in row {row}.")

    def texts(self, name: str) -> list[str]:
        """Return a column as texts, empty where it has no value, or where there is no such column."""
        raw = self.raw.get(name)
        if raw is None:
            return [""] * self.n
        return ["" if v != v else f"{v:g}" for v in raw] if isinstance(raw, np.ndarray) else raw

    def degrees(self, name: str, given: Mapping[str, str], sexagesimal: str) -> NDArray[np.float64]:
        """Return a coordinate in degrees."""
        unit = given.get(name) or stated_unit(self.columns.where[name][0], self.units)
        return as_degrees(self.raw[name], "ra" if name == "ra_deg" else "dec", unit, sexagesimal, self.fail(name))

    def redshifts(self, name: str) -> list[Redshift]:
        """Return a column of redshifts."""
        raw = self.raw.get(name)
        if raw is None:
            return [redshift_of_number(np.nan)] * self.n
        return [redshift_of_number(v) if isinstance(v, float) else read_redshift(str(v)) for v in
                (raw.tolist() if isinstance(raw, np.ndarray) else raw)]  # fmt: skip


def _joined(parts: list[Raw]) -> Raw:
    if parts and all(isinstance(p, np.ndarray) for p in parts):
        return np.concatenate(parts)
    return [v for p in parts for v in p]


def find_columns(table: TableFile, fmt: LensFormat, mapping: Mapping[str, str]) -> Columns:
    """Find the columns of a table, by the caller's mapping, the format's, or any known name."""
    return Columns(table, with_spaces(WANTED), {**fmt.columns, **mapping}, mapped_by="columns")


def read_rows(table: TableFile, fmt: LensFormat, settings: Settings) -> Rows:
    """Read one table; see :class:`Rows`.

    Raises
    ------
    TargetError
        Naming row and value, for whatever cannot be read for certain.
    """
    found = find_columns(table, fmt, settings.columns)
    raw = RawTable(table, found)
    ra, dec = _positions(raw, settings, fmt)
    z_lens, z_source = raw.redshifts("z_lens"), raw.redshifts("z_source")
    z = {name: np.array([r.z for r in values]) for name, values in (("lens", z_lens), ("source", z_source))}
    note = np.array([int(a.note | b.note) for a, b in zip(z_lens, z_source, strict=True)], np.uint32).reshape(raw.n)
    theta, bad = _einstein_radii(raw)
    note[bad] |= np.uint32(LensNote.UNREADABLE_THETA_E)
    note[np.isfinite(theta)] |= np.uint32(int(fmt.theta_e_note))
    if "note" in found:
        note |= _numbers(raw, "note").astype(np.uint32)
    coarse = is_coarse(raw.raw["ra_deg"]) & is_coarse(raw.raw["dec_deg"]) & np.isfinite(ra)
    note[coarse] |= np.uint32(LensNote.COARSE_POSITION)
    references = [evidence.references_of(t) for t in raw.texts("reference")]
    kinds = [_kind(k) for k in raw.texts("kind")]
    tier, is_lens = _tiers(raw, settings, fmt, references, np.isfinite(z["lens"]) & np.isfinite(z["source"]))
    survey = [t or settings.survey or "" for t in raw.texts("survey")]
    quasar = [k == "quasar" or any(evidence.cites(r, evidence.LENSED_QUASARS) for r in refs)
              for k, refs in zip(kinds, references, strict=True)]  # fmt: skip
    return made(
        raw.n,
        lens_id=_text([(n.split("|")[0]).strip() for n in raw.texts("lens_id")]),
        also_named=_text(_other_names(raw)),
        ra_deg=ra,
        dec_deg=dec,
        z_lens=z["lens"],
        z_source=z["source"],
        theta_e_arcsec=theta,
        kind=_text(["unknown" if k == "quasar" else k for k in kinds]),
        tier=tier,
        is_lens=is_lens,
        reference=_text([" | ".join(r) for r in references]),
        survey=_text(survey),
        confuser=_text([evidence.confuser_of(c or k) for c, k in
                        zip(raw.texts("confuser"), raw.texts("kind"), strict=True)]),
        note=note,
        reason=_text(["lensed quasar" if q else "" for q in quasar]),
    )  # fmt: skip


def _text(values: list[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)  # one text of 1,500 characters would make all of them as wide


def _kind(text: str) -> str:
    return text if text in KINDS else evidence.kind_of(text)


def _other_names(raw: RawTable) -> list[str]:
    names = ([p.strip() for p in n.split("|")][1:] for n in raw.texts("lens_id"))
    given = raw.texts("also_named")
    return [" | ".join(dict.fromkeys(p for p in (*n, *g.split(" | ")) if p)) for n, g in zip(names, given, strict=True)]


def _positions(raw: RawTable, settings: Settings, fmt: LensFormat) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hints = dict(fmt.sexagesimal)
    if "ra_deg" in settings.units or stated_unit(raw.columns.where["ra_deg"][0], raw.units):
        hints.setdefault("dec_deg", "deg")  # who says it of the right ascension knows it of the declination
    ra = raw.degrees("ra_deg", settings.units, hints.get("ra_deg", ""))
    dec = raw.degrees("dec_deg", settings.units, hints.get("dec_deg", ""))
    none = np.isnan(ra) | np.isnan(dec)
    return np.where(none, np.nan, ra), np.where(none, np.nan, dec)


def _numbers(raw: RawTable, name: str) -> NDArray[np.float64]:
    found = raw.raw.get(name)
    if found is None:
        return np.full(raw.n, np.nan)
    if isinstance(found, np.ndarray):
        return found
    return val.as_numbers(np.array(found, object), Missing(), raw.fail(name))


def _einstein_radii(raw: RawTable) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Einstein radii in arcsec, and which rows give one that is no positive number."""
    found = raw.raw.get("theta_e_arcsec")
    if found is None:
        return np.full(raw.n, np.nan), np.zeros(raw.n, bool)
    if isinstance(found, np.ndarray):
        out, given = found.copy(), np.isfinite(found)
    else:
        out, given = np.full(raw.n, np.nan), np.array([bool(t) for t in found], bool).reshape(raw.n)
        for k, text in enumerate(found):
            try:
                out[k] = float(text)
            except ValueError:
                continue
    convert = raw.columns.convert["theta_e_arcsec"]
    out = out if convert is None else convert(out)
    out[~(out > 0) | np.isinf(out)] = np.nan
    return out, given & np.isnan(out)


def _tiers(
    raw: RawTable, settings: Settings, fmt: LensFormat, references: list[list[str]], both: NDArray[np.bool_]
) -> tuple[NDArray[np.object_], NDArray[np.int8]]:
    tier, is_lens = np.full(raw.n, "C", object), np.full(raw.n, UNKNOWN, np.int8)
    given, grades, truths = raw.texts("tier"), raw.texts("grade"), raw.texts("is_lens")
    has_own = "tier" in raw.columns or "grade" in raw.columns
    for k in range(raw.n):
        truth = evidence.truth_of(truths[k])
        if truth is None:
            raise raw.fail("is_lens")(k, f"{truths[k]!r}, which is neither true, false nor unknown")
        of_grade = evidence.tier_of_grade(grades[k])
        if of_grade is None:
            raise raw.fail("grade")(k, f"{grades[k]!r}, which is no grade (A, B, C, confident, probable, or a mean of "
                                    "0 to 3); map a column 'tier' with A, B, C or N instead")  # fmt: skip
        own = given[k].strip().upper()
        if own and own not in TIERS:
            raise raw.fail("tier")(k, f"{given[k]!r}, which is none of {', '.join(TIERS)}")
        sure = evidence.is_sure(grades[k])
        confirmed = any(evidence.cites(r, tuple(evidence.CONFIRMED_REFERENCES)) for r in references[k])
        if own:
            tier[k] = own
        elif truth == FALSE:
            tier[k] = "N"
        elif of_grade:
            tier[k] = "A" if sure and (confirmed or (fmt.both_redshifts_confirm and both[k])) else of_grade
        elif not has_own and settings.tier:
            tier[k] = settings.tier
        if (tier[k] == "N") != (truth == FALSE) and truth != UNKNOWN:
            raise raw.fail("is_lens")(k, f"{truths[k]!r}, and the row's tier is {tier[k]}: one of them is wrong")
        is_lens[k] = {"A": TRUE, "N": FALSE}.get(str(tier[k]), truth)
    return tier, is_lens
