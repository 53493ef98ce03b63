"""Tables of scores (parquet, CSV, FITS, in memory): every digit of an id is kept, and the run that they are of."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
import xarray as xr
from numpy.typing import NDArray

from lensflow.config import RunConfig
from lensflow.errors import CompletenessError, LensflowError, StaleStoreError, did_you_mean
from lensflow.fits.reach import options
from lensflow.store import paths
from lensflow.store.arrays import read_arrays
from lensflow.targets.files import TableFile, open_tables
from lensflow.targets.in_memory import table_of
from lensflow.targets.values import Missing, as_numbers, as_text

ENDINGS = (".parquet", ".parq", ".csv", ".ecsv", ".tsv", ".txt", ".dat", ".fits", ".fit", ".vot", ".votable")
# A store of scores that a training wrote, and its kind.
STORE_ENDING, SCORES = ".zarr", "scores"
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_KEY = b"lensflow"
ROW, HOST, SCORE = "row_id", "host_id", "score"


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores by row or by host.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    ids : ndarray of uint64 or of str, shape (n,)
        ``row_id``, or ``host_id``.
    score : ndarray of float64, shape (n,)
        NaN where the table has none.
    digest : str
        Fingerprint of ids and scores.
    made : mapping
        Which pixels, settings and scorer they are of, where lensflow wrote the table; empty elsewhere.
    """

    name: str
    ids: NDArray[Any]
    score: NDArray[np.float64]
    digest: str
    made: Mapping[str, Any]

    @property
    def is_store(self) -> bool:
        """Whether it is a training's store, which has scores of rows and of hosts."""
        return self.name.rstrip("/").endswith(STORE_ENDING)

    @property
    def is_truth(self) -> bool:
        """Whether the scorer that made it reads what was injected."""
        return self.made.get("kind") == "truth"

    def refuse_other_run(self, config: RunConfig, content: str) -> None:
        """Refuse scores that lensflow wrote of other pixels.

        Parameters
        ----------
        config : RunConfig
        content : str
            Fingerprint of its pairs.

        Raises
        ------
        StaleStoreError
            Naming the settings that differ.
        """
        if not self.made or self.made.get("pairs") == content:
            return
        was, now = self.made.get("settings", {}), config.settings_of("pairs")
        keys = sorted(k for k in {*was, *now} if was.get(k) != now.get(k))
        differ = "".join(f"\n  {k}: scored {was.get(k)!r}, now {now.get(k)!r}" for k in keys[:12])
        raise StaleStoreError(
            f"{self.name}: scores of other pixels than this run's (run {self.made.get('run')!r} in "
            f"{self.made.get('out')!r}); " + (f"{len(keys)} settings differ:{differ}" if keys else "settings agree, "
            "so it was made by other code or of other survey files") + "\nScore this run: `lensflow score`."
        )  # fmt: skip


def is_table(scorer: Any) -> bool:
    """Whether a scorer is named by a table's file, or is a table in memory."""
    if isinstance(scorer, str):
        name = scorer.lower().rstrip("/")
        if name.endswith(STORE_ENDING):
            return True
        for packed in _PACKED:
            name = name.removesuffix(packed)
        return name.endswith(ENDINGS)
    return isinstance(scorer, xr.Dataset) or type(scorer).__name__ in ("DataFrame", "Table", "QTable")


def row_scores(table: Any) -> ScoreTable:
    """Read a table with ``row_id`` and ``score``.

    Parameters
    ----------
    table : str, DataFrame, Table or Dataset
        A file (parquet, CSV, ECSV, FITS, VOTable; any fsspec URL), the ``scores.zarr`` of a training, or a table in
        memory.

    Returns
    -------
    ScoreTable
        With uint64 ids.

    Raises
    ------
    CompletenessError
        If it cannot be read, lacks a column, or an id is not a whole number from 0 to 2^64 - 1 with all of its digits:
        pandas turns uint64 into float64 where one value is missing, and loses the last of them.
    """
    return _read(table, ROW, _row_ids)


def host_scores(table: Any) -> ScoreTable:
    """Read a table with ``host_id`` and ``score``, of images without an arc.

    Parameters
    ----------
    table : str, DataFrame, Table or Dataset
        As for :func:`row_scores`.

    Returns
    -------
    ScoreTable
        With ids as text.

    Raises
    ------
    CompletenessError
        If it cannot be read, lacks a column, or a host has no name, or is there twice.
    """
    found = _read(table, HOST, _host_ids)
    unique, times = np.unique(found.ids, return_counts=True)
    if (times > 1).any():
        twice = unique[times > 1]
        raise CompletenessError(
            f"{found.name}: {len(twice):,} host_id occur more than once: {', '.join(map(str, twice[:3]))}. An image "
            "counts once as a negative"
        )
    return found


def write_scores(url: str, ids: Mapping[str, NDArray[Any]], score: NDArray[Any], made: Mapping[str, Any]) -> None:
    """Write a table of scores as parquet, with what they are of.

    Parameters
    ----------
    url : str
    ids : mapping
        Columns that name the images: ``row_id``, ``host_id``.
    score : ndarray, shape (n,)
    made : mapping
        As :func:`made_of` gives it.
    """
    columns = {**{k: pa.array(v) for k, v in ids.items()}, SCORE: pa.array(np.asarray(score, dtype=np.float64))}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(dict(made), sort_keys=True).encode()})
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out)
    paths.write_bytes(url, out.getvalue())


def made_of(config: RunConfig, content: str, scorer: str, source: str | None, kind: str = "images") -> dict[str, Any]:
    """Say which pixels, settings and scorer a table of scores is of.

    Parameters
    ----------
    config : RunConfig
    content : str
        Fingerprint of its pairs.
    scorer : str
    source : str or None
        Fingerprint of the scorer.
    kind : {"images", "truth"}

    Returns
    -------
    dict
        Plain JSON types.
    """
    return {
        "pairs": content, "run": config.name, "out": config.out, "settings": config.settings_of("pairs"),
        "scorer": scorer, "source": source or "", "kind": kind,
    }  # fmt: skip


Ids = Callable[[Any, Callable[[int, str], Exception]], NDArray[Any]]


def _read(table: Any, column: str, as_ids: Ids) -> ScoreTable:
    name = table if isinstance(table, str) else f"scores ({type(table).__module__}.{type(table).__name__})"
    try:
        if not isinstance(table, str):
            return _of(name, table_of(table), column, as_ids, {})
        if table.rstrip("/").endswith(STORE_ENDING):
            stored = read_arrays(table.rstrip("/"), SCORES, "lensflow train")
            of = {ROW: (ROW, SCORE), HOST: (HOST, "host_score")}[column]
            part = stored[list(of)].rename({of[1]: SCORE} if of[1] != SCORE else {})
            return _of(name, table_of(part), column, as_ids, dict(stored.attrs["made"]))
        with open_tables(table, "the table of scores") as files:
            every = list(files)
            fits = [f for f in every if {column, SCORE} <= {*f.names}]
            if not fits:
                raise CompletenessError(_lacks(name, every, column))
            return _of(name, fits[0], column, as_ids, _made(table))
    except CompletenessError:
        raise
    except LensflowError as error:
        raise CompletenessError(str(error)) from error


def _of(name: str, file: TableFile, column: str, as_ids: Ids, made: Mapping[str, Any]) -> ScoreTable:
    if not {column, SCORE} <= {*file.names}:
        raise CompletenessError(_lacks(name, [file], column))
    ids, scores, done = [], [], 0
    for chunk in file.read([column, SCORE]):

        def fail(of: str, first: int = done) -> Callable[[int, str], Exception]:
            return lambda row, why: CompletenessError(f"{name}: {of} of row {first + row} is {why}")

        ids.append(as_ids(chunk[column], fail(column)))
        scores.append(as_numbers(chunk[SCORE], Missing(), fail(SCORE)))
        done += len(scores[-1])
    if not done:
        raise CompletenessError(f"{name}: the table of scores has no rows")
    every, score = np.concatenate(ids), np.concatenate(scores)
    digest = hashlib.sha256(np.ascontiguousarray(score).tobytes())
    digest.update("\n".join(map(str, every.tolist())).encode())
    return ScoreTable(name, every, score, digest.hexdigest()[:16], made)


def _row_ids(values: Any, fail: Callable[[int, str], Exception]) -> NDArray[np.uint64]:
    text = as_text(values, Missing(), fail)
    if (text == b"").any():
        raise fail(int(np.argmax(text == b"")), "missing")
    odd = ~np.strings.isdigit(text)
    if odd.any():
        row = int(np.argmax(odd))
        hint = ": a uint64 that was read as a signed integer" if text[row].startswith(b"-") else ""
        raise fail(row, f"{text[row].decode('utf-8', 'replace')!r}, not a whole number from 0 to 2^64 - 1{hint}")
    try:
        found = pc.cast(pa.array(text.astype(str)), pa.uint64())
    except pa.ArrowInvalid as error:
        raise fail(0, f"or one after it is, no number below 2^64 ({error})") from error
    return np.asarray(found.to_numpy(), dtype=np.uint64)


def _host_ids(values: Any, fail: Callable[[int, str], Exception]) -> NDArray[np.str_]:
    text = as_text(values, Missing(), fail)
    if (text == b"").any():
        raise fail(int(np.argmax(text == b"")), "missing")
    return np.strings.decode(text, "utf-8")


def _lacks(name: str, files: list[TableFile], column: str) -> str:
    there = list(dict.fromkeys(n for f in files for n in f.names))
    missing = [c for c in (column, SCORE) if c not in there] or [column, SCORE]
    what = "a score for each row of the run" if column == ROW else "the score of an image without an arc for each host"
    return (
        f"{name}: no column {' and '.join(missing)} (there are {', '.join(there) or 'none'})."
        f"{did_you_mean(missing[0], there)} The table needs {column} and {SCORE}: {what}"
    )


def _made(url: str) -> dict[str, Any]:
    """What lensflow wrote beside a parquet table; empty for other tables."""
    if not url.lower().endswith((".parquet", ".parq")):
        return {}
    with fsspec.open(url, "rb", **options(url)) as file:
        found = (pyarrow.parquet.read_schema(file).metadata or {}).get(_KEY)
    return {} if found is None else dict(json.loads(found))
