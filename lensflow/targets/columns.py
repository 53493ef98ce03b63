"""Which column of a catalogue is which of lensflow's, and its values checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow.errors import TargetError, did_you_mean
from lensflow.targets.files import Chunk, TableFile


@dataclass(frozen=True)
class Column:
    """A column that lensflow looks for: by the config's mapping, its own name, or a synonym, whatever the case."""

    name: str
    synonyms: tuple[str, ...] = ()
    is_text: bool = False
    required: bool = False


IDENTITY = (
    Column("host_id", ("target_id", "targetid", "id"), is_text=True, required=True),
    Column("ra_deg", ("ra",), required=True),
    Column("dec_deg", ("dec",), required=True),
    Column("brickname", ("brick",), is_text=True, required=True),
)
OPTIONAL = (
    Column("type", ("morphtype",), is_text=True),
    Column("region", is_text=True),
    Column("ebv"),
    Column("z_lens"),
    Column("sigma_v_km_s"),
    Column("shape_r_arcsec", ("shape_r",)),
    Column("shape_e1"),
    Column("shape_e2"),
    Column("sersic"),
)
# Without an id of its own, an object of a tractor or sweep catalogue is named by these together.
PARTS_OF_ID = (("release", "brickid", "objid"), ("brickid", "objid"), ("brickname", "objid"), ("objid",))
AB_ZERO_POINT = 22.5


def of_band(band: str) -> tuple[Column, ...]:
    """Columns of one band: flux, PSF size, and the depth in magnitudes or as tractor's inverse variance."""
    return (
        Column(f"flux_{band}_nmgy", (f"flux_{band}",)),
        Column(f"psfsize_{band}_arcsec", (f"psfsize_{band}",)),
        Column(f"psfdepth_{band}_mag"),
        Column(f"psfdepth_{band}"),
    )


class Columns:
    """The columns of one file that lensflow reads.

    Parameters
    ----------
    table : TableFile
    wanted : sequence of Column
    mapping : mapping
        lensflow name -> column of the file (``survey.columns``).

    Raises
    ------
    TargetError
        If a required or a mapped column is missing, two columns differ in case only, or the mapping has a name
        that lensflow does not read.
    """

    def __init__(self, table: TableFile, wanted: Sequence[Column], mapping: Mapping[str, str]):
        self.table, self.mapping = table, mapping
        self.text = {c.name for c in wanted if c.is_text}
        unknown = sorted(set(mapping) - {c.name for c in wanted})
        if unknown:
            hint = did_you_mean(unknown[0], (c.name for c in wanted))
            raise TargetError(f"survey.columns.{unknown[0]}: lensflow reads no such column.{hint}")
        self.by_name: dict[str, list[str]] = {}
        for name in table.names:
            self.by_name.setdefault(name.lower(), []).append(name)
        self.where: dict[str, tuple[str, ...]] = {}
        for column in wanted:
            found = self._find(column)
            if found:
                self.where[column.name] = found
            elif column.required:
                raise self.missing(column.name, column.name)

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

    def missing(self, name: str, wanted: str, why: str = "") -> TargetError:
        """Return the error for a column that is not there."""
        names = self.table.names
        return TargetError(
            f"{self.table.path}: no column {wanted!r} for {name}{why}.{did_you_mean(wanted, names)} "
            f"Columns: {', '.join(names)}. Map it with survey.columns: {{{name}: COLUMN}}."
        )

    def file_columns(self) -> tuple[list[str], set[str]]:
        """Columns of the file to read, and those of them that are text."""
        every = {c: name in self.text for name, columns in self.where.items() for c in columns}
        every |= {c: True for name, columns in self.where.items() if name in self.text for c in columns}
        return list(every), {c for c, text in every.items() if text}

    def __contains__(self, name: str) -> bool:
        return name in self.where

    def numbers(self, chunk: Chunk, name: str) -> NDArray[np.float64]:
        """Values of a number column, NaN where there is none."""
        values = self._plain(chunk, self.where[name][0])
        try:
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TargetError(
                f"{self.table.path}: {name} holds something that is not a number ({error}). Is it the right column?"
            ) from error

    def texts(self, chunk: Chunk, name: str, keep: NDArray[np.bool_] | slice = slice(None)) -> NDArray[np.bytes_]:
        """Return a text column (or several, joined by "-") as UTF-8 bytes without blanks at the ends."""
        parts = [_as_bytes(self._plain(chunk, c)[keep]) for c in self.where[name]]
        out = parts[0]
        for part in parts[1:]:
            out = np.strings.add(np.strings.add(out, b"-"), part)
        return out

    def _plain(self, chunk: Chunk, column: str) -> NDArray:
        if chunk[column].ndim != 1:
            raise TargetError(
                f"{self.table.path}: {column} has {chunk[column].shape[1:]} values in each row; a column of one "
                "value a row is needed."
            )
        return chunk[column]


def _as_bytes(values: NDArray) -> NDArray[np.bytes_]:
    if values.dtype.kind == "f":
        # Whole numbers that became floats because some are missing.
        whole = np.isfinite(values) & (values == np.floor(values))
        return np.where(whole, np.where(whole, values, 0).astype(np.int64).astype("S"), _finite_text(values))
    if values.dtype.kind == "O":
        values = values.astype(str)
    if values.dtype.kind == "U":
        values = np.strings.encode(values, "utf-8")
    return np.strings.strip(values.astype("S"))


def _finite_text(values: NDArray) -> NDArray[np.bytes_]:
    return np.where(np.isfinite(values), values.astype("S"), b"")


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
        depth = AB_ZERO_POINT - 2.5 * np.log10(5 / np.sqrt(psfdepth))
    return np.where(psfdepth > 0, depth, np.nan)


def looks_like_magnitudes(psfdepth: NDArray[np.float64]) -> bool:
    """Whether a column named like tractor's inverse variance may hold magnitudes: its middle lies in 18 to 30."""
    positive = psfdepth[np.isfinite(psfdepth) & (psfdepth > 0)]
    return positive.size > 0 and 18 < float(np.median(positive)) < 30
