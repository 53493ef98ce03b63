"""Find lensflow's columns in a table, check their values and convert their units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import TargetError, did_you_mean
from lensflow.targets import values as val
from lensflow.targets.column_units import UnitRefused, converter
from lensflow.targets.files import Chunk, TableFile
from lensflow.targets.values import Missing
from lensflow.units import NMGY_MAG


@dataclass(frozen=True)
class Column:
    """A column that lensflow looks for: by the config's mapping, its own name, or a synonym, in any case.

    ``unit`` is lensflow's; a table that states another is converted or refused.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    is_text: bool = False
    required: bool = False
    unit: str = ""


HOST_ID = Column("host_id", ("target_id", "targetid", "id"), is_text=True)
POSITION = (Column("ra_deg", ("ra",), unit="deg", required=True),
            Column("dec_deg", ("dec",), unit="deg", required=True))  # fmt: skip
BRICKNAME = Column("brickname", ("brick",), is_text=True)
IDENTITY = (HOST_ID, *POSITION, BRICKNAME)
OPTIONAL = (
    Column("type", ("morphtype",), is_text=True),
    Column("region", is_text=True),
    Column("ebv", unit="mag"),
    Column("z_lens", unit="1"),
    Column("sigma_v_km_s", unit="km/s"),
    Column("shape_r_arcsec", ("shape_r",), unit="arcsec"),
    Column("shape_e1", unit="1"),
    Column("shape_e2", unit="1"),
    Column("sersic", unit="1"),
)
# Without an id, an object of a tractor or sweep catalogue is named by these together.
PARTS_OF_ID = (("release", "brickid", "objid"), ("brickid", "objid"), ("brickname", "objid"), ("objid",))
# Names of other catalogues that must be mapped explicitly: they may mean another equinox, frame or aperture.
_OTHER_NAMES = {
    "ra_deg": ("raj2000", "_raj2000", "ra_icrs", "alpha_j2000", "right_ascension", "ramean", "coord_ra", "target_ra"),
    "dec_deg": ("dej2000", "_dej2000", "de_icrs", "delta_j2000", "declination", "decmean", "coord_dec", "target_dec"),
}


def of_band(band: str) -> tuple[Column, ...]:
    """Columns of one band: flux, PSF size, and the depth in magnitudes or as tractor's inverse variance."""
    return (
        Column(f"flux_{band}_nmgy", (f"flux_{band}",), unit="nMgy"),
        Column(f"psfsize_{band}_arcsec", (f"psfsize_{band}",), unit="arcsec"),
        Column(f"psfdepth_{band}_mag", unit="mag"),
        Column(f"psfdepth_{band}", unit="nMgy^-2"),
    )


class MissingColumn(TargetError):
    """A table lacks a column; another table of the file may have it."""


class Columns:
    """The columns of one table that lensflow reads.

    Parameters
    ----------
    table : TableFile
    wanted : sequence of Column
    mapping : mapping
        lensflow name -> column of the table (``survey.columns``).
    missing : Missing
        Markers of a missing value.
    mapped_by : str
        The setting that maps names, for messages; empty if there is none.

    Raises
    ------
    TargetError
        If a required or a mapped column is missing, two columns differ in case only, the mapping has a name that
        lensflow does not read, or a column is in a unit that cannot be converted.
    """

    def __init__(
        self,
        table: TableFile,
        wanted: Sequence[Column],
        mapping: Mapping[str, str],
        missing: Missing | None = None,
        mapped_by: str = "survey.columns",
    ):
        self.table, self.mapping, self.mapped_by = table, mapping, mapped_by
        self.nothing = missing or Missing()
        self.text = {c.name for c in wanted if c.is_text}
        unknown = sorted(set(mapping) - {c.name for c in wanted})
        if unknown:
            hint = did_you_mean(unknown[0], (c.name for c in wanted))
            raise TargetError(f"{mapped_by or 'columns'}.{unknown[0]}: lensflow reads no such column.{hint}")
        self.by_name: dict[str, list[str]] = {}
        for name in table.names:
            self.by_name.setdefault(name.lower(), []).append(name)
        self.where: dict[str, tuple[str, ...]] = {}
        for column in wanted:
            found = self._find(column)
            if found:
                self.where[column.name] = found
        for column in wanted:
            if column.required and column.name not in self.where:
                raise self.missing(column.name, column.name)
        self.convert = {c.name: self._converter(c) for c in wanted if c.name in self.where}

    def _find(self, column: Column) -> tuple[str, ...]:
        if column.name in self.mapping:
            found = self._named(self.mapping[column.name])
            if not found:
                raise self.missing(column.name, self.mapping[column.name])
            return found
        for option in (column.name, *column.synonyms):
            if found := self._named(option):
                return found
        if column.name == "host_id":
            for parts in PARTS_OF_ID:
                if all(p in self.by_name for p in parts):
                    return tuple(self._named(p)[0] for p in parts)
        return ()

    def _named(self, name: str) -> tuple[str, ...]:
        options = self.by_name.get(name.lower(), [])
        if options.count(name) == 1:
            return (name,)
        if len(options) > 1:
            raise TargetError(f"{self.table.path}: more than one column {name!r} ({', '.join(options)}). Rename them.")
        return tuple(options)

    def _converter(self, column: Column):  # type: ignore[no-untyped-def]
        name = self.where[column.name][0]
        stated = self.table.units.get(name, "")
        try:
            return converter(stated, "" if column.is_text else column.unit)
        except UnitRefused as error:
            raise TargetError(
                f"{self.table.path}: column {name} ({column.name}) is in {stated!r}: {error}. Convert the column, or "
                "correct its unit."
            ) from error

    def missing(self, name: str, wanted: str, why: str = "") -> MissingColumn:
        """Return the error for a column that is not there."""
        names = self.table.names
        taken = {c for columns in self.where.values() for c in columns}
        others = [n for n in names if n.lower() in _OTHER_NAMES.get(name, ())]
        hint = f" Is it {others[0]!r}?" if others else did_you_mean(wanted, [n for n in names if n not in taken])
        return MissingColumn(
            f"{self.table.path}: no column {wanted!r} for {name}{why}.{hint} "
            f"Columns: {', '.join(names)}. "
            + (f"Map it with {self.mapped_by}: {{{name}: COLUMN}}." if self.mapped_by else "Rename the right one.")
        )

    @property
    def file_columns(self) -> list[str]:
        """Columns of the file to read."""
        return list(dict.fromkeys(c for columns in self.where.values() for c in columns))

    def __contains__(self, name: str) -> bool:
        return name in self.where

    def numbers(self, chunk: Chunk, name: str, first_row: int = 0) -> NDArray[np.float64]:
        """Values of a number column in lensflow's unit, NaN if missing."""
        (column,) = self.where[name]
        out = val.as_numbers(self._plain(chunk, column), self.nothing, self._failure(name, column, first_row, " If it "
                             "stands for a missing value, say so: survey.missing_values."))  # fmt: skip
        convert = self.convert[name]
        return out if convert is None else convert(out)

    def texts(
        self, chunk: Chunk, name: str, keep: NDArray[np.bool_] | slice = slice(None), first_row: int = 0
    ) -> NDArray[np.bytes_]:
        """Return a text column (or several, joined by "-") as UTF-8 bytes without blanks at the ends."""
        parts = []
        for column in self.where[name]:
            fail = self._failure(name, column, first_row, "")
            parts.append(val.as_text(val.select(self._plain(chunk, column), keep), self.nothing, fail))
        out = parts[0]
        for part in parts[1:]:
            out = np.where((out == b"") | (part == b""), b"", np.strings.add(np.strings.add(out, b"-"), part))
        return out

    def _failure(self, name: str, column: str, first_row: int, advice: str) -> val.Fail:
        shown = name if column == name else f"{name} ({column})"

        def fail(row: int, what: str) -> TargetError:
            return TargetError(f"{self.table.path}: {shown} holds {what}, in row {first_row + row}.{advice}")

        return fail

    def _plain(self, chunk: Chunk, column: str):  # type: ignore[no-untyped-def]
        shape = val.shape_of_one(chunk[column])
        if shape:
            raise TargetError(
                f"{self.table.path}: {column} has {shape} values in each row; a column of one value a row is needed."
            )
        return chunk[column]


def choose(
    tables: Iterable[TableFile],
    wanted: Sequence[Column],
    mapping: Mapping[str, str],
    missing: Missing | None = None,
    mapped_by: str = "survey.columns",
) -> Columns:
    """Return the columns of the first table in a file that has all required and mapped ones.

    Raises
    ------
    TargetError
        What is wrong with the first table; if there are others, they are named.
    """
    refusal: MissingColumn | None = None
    seen = []
    for table in tables:
        try:
            return Columns(table, wanted, mapping, missing, mapped_by)
        except MissingColumn as error:
            refusal = refusal or error
            seen.append(f"{table.title or '(no name)'}: {', '.join(table.names[:8])}{', ...' * (len(table.names) > 8)}")
    if refusal is None:
        raise TargetError("no table")
    if len(seen) > 1:
        raise TargetError(f"{refusal} The file has {len(seen)} tables, none of which will do: {'; '.join(seen)}.")
    raise refusal


def as_text(values: NDArray[np.bytes_], path: str, name: str) -> NDArray[np.str_]:
    """Decode UTF-8 bytes.

    Raises
    ------
    TargetError
        Naming the file, the column and the first value that is no text.
    """
    try:
        return np.strings.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise TargetError(
            f"{path}: {name} holds something that is not text ({error.object!r}). Is the file damaged? Fetch it again."
        ) from error


def depth_from_inverse_variance(psfdepth: NDArray[np.float64]) -> NDArray[np.float64]:
    """5-sigma point-source depth in AB magnitudes from tractor's ``psfdepth`` (nMgy^-2).

    References
    ----------
    Legacy Surveys, catalogue description: "5/sqrt(psfdepth) gives the 5-sigma detection flux in nanomaggies".
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = NMGY_MAG - 2.5 * np.log10(5 / np.sqrt(psfdepth))
    return np.where(psfdepth > 0, depth, np.nan)


def looks_like_magnitudes(psfdepth: NDArray[np.float64]) -> bool:
    """Whether a column named like tractor's inverse variance may hold magnitudes: its middle lies in 18 to 30."""
    positive = psfdepth[np.isfinite(psfdepth) & (psfdepth > 0)]
    return positive.size > 0 and 18 < float(np.median(positive)) < 30
