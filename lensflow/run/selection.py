"""Open a selection function by its path and evaluate it at points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from lensflow.config.place import like
from lensflow.errors import CompletenessError, StaleStoreError, StoreError
from lensflow.measure.completeness.selection.evaluate import OUTSIDE, Evaluator
from lensflow.measure.completeness.selection.points import points_of
from lensflow.measure.completeness.selection.selection_file import THRESHOLDS, axes_of, from_file, grid_of
from lensflow.measure.completeness.selection.smooth import Smooth, smooth_in
from lensflow.show.lines import as_html, as_text
from lensflow.show.numbers import number
from lensflow.store import paths
from lensflow.store.arrays import read_arrays
from lensflow.store.open import read_attrs

STORE = "selection"
METHODS = ("cell", "linear", "smooth", "isotonic")


@dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """The selection function of one scorer; made by :func:`open_selection`.

    Attributes
    ----------
    path : str
        Where it was read.
    table : Dataset
        Counts, completeness with its interval, and which cells are tested, over threshold, curve and the axes, with
        bins below, above and unknown. ``attrs`` say whose it is: scorer, split, negatives, prior, run.
    """

    path: str
    table: xr.Dataset

    @property
    def scorer(self) -> str:
        """The scorer that this is the selection function of."""
        return str(self.table.attrs["scorer"])

    @property
    def split(self) -> str:
        """Split whose injections were counted."""
        return str(self.table.attrs["split"])

    @property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """Edges of the bins of each axis, in the axis' units."""
        return {name: bins.edges for name, bins in axes_of(self.table).items()}

    @property
    def curves(self) -> tuple[str, ...]:
        """Names of the curves: which rows count."""
        return tuple(map(str, self.table["curve"].values))

    @property
    def thresholds(self) -> xr.Dataset:
        """Each threshold with its false-positive rate: ``tau``, ``rate_wanted``, ``true_rate`` and more."""
        return self.table[list(THRESHOLDS)].reset_coords()

    def evaluate(
        self,
        points: Any,
        method: Literal["cell", "linear", "smooth", "isotonic"] = "cell",
        outside: Literal["error", "nan", "bounds"] = "error",
        *,
        threshold: int | Mapping[str, float] | None = None,
        curve: str = "all",
    ) -> xr.Dataset:
        """Completeness at points of the parameter space.

        Parameters
        ----------
        points : mapping of arrays, DataFrame or Dataset
            Values of every axis, and of nothing else, in the units of the axes. Values of a mapping are broadcast.
            Dask arrays are evaluated lazily, block by block; masked values stay missing (NaN, no support).
        method : {"cell", "linear", "smooth", "isotonic"}
            The value of the cell that a point is in; multilinear interpolation between cell centres, which has no
            support beyond the outermost centres; or the model (logistic regression on natural splines), which is
            refused where it does not fit the cells; or, over one SNR alone, a regression that only rises.
        outside : {"error", "nan", "bounds"}
            What happens to a point without support, which is one outside the edges, in a cell that is not tested, or
            (linear) beside one: an error; NaN; or NaN with the interval from 0 to 1. Nothing is clipped.
        threshold : int or mapping, optional
            Its number, or ``{"fpr": 1e-3}``, ``{"tau": 0.5}``, ``{"false_positives": 3}``; needed if there are several.
        curve : str
            Rows that count: ``all``, ``clean``, ``no_psf_fallback``.

        Returns
        -------
        Dataset
            ``value``, ``low``, ``high`` (completeness and its 95 % interval over hosts) and ``support``, over the
            points' dimensions.

        Raises
        ------
        CompletenessError
            If a point has no support and ``outside`` is ``error``; if the smooth model does not fit; if a value is NaN;
            if a variable is missing, is no axis, or is in other units. Of Dask arrays when they are computed.
        """
        for name, value, known in (("method", method, METHODS), ("outside", outside, OUTSIDE)):
            if value not in known:
                raise CompletenessError(f"{name} {value!r}: one of {', '.join(known)}")
        number = self._threshold(threshold)
        grid = grid_of(self.table, number, curve)
        look = getattr(grid, method) if method != "smooth" else partial(self._smooth(number, curve).look, grid)
        taken = points_of(points, {n: str(self.table[f"{n}_edges"].attrs["units"]) for n in axes_of(self.table)})
        return Evaluator(grid, look, method, outside)(taken)

    def _smooth(self, threshold: int, curve: str) -> Smooth:
        parts = from_file(self.table)
        if "smooth" not in parts:
            raise CompletenessError(f'method "smooth": {self.path} holds no model')
        return smooth_in(parts["smooth"], [*self.axes], threshold, curve)

    def _threshold(self, wanted: int | Mapping[str, float] | None) -> int:
        table = self.table
        listed = "; ".join(
            f"{k}: tau {number(t)}" + (f", fpr {r:g}" if np.isfinite(r) else "")
            for k, (t, r) in enumerate(zip(table["tau"].values, table["rate_wanted"].values, strict=True))
        )
        if wanted is None:
            if table.sizes["threshold"] > 1:
                raise CompletenessError(f"threshold: say which, threshold=0 or threshold={{'fpr': 1e-3}} ({listed})")
            return 0
        if isinstance(wanted, int | np.integer) and not isinstance(wanted, bool):
            if not 0 <= wanted < table.sizes["threshold"]:
                raise CompletenessError(f"threshold {wanted}: there is none; there are {listed}")
            return int(wanted)
        names = {"fpr": "rate_wanted", "tau": "tau", "false_positives": "false_positives"}
        if not isinstance(wanted, Mapping) or len(wanted) != 1 or not {*wanted} <= {*names}:
            raise CompletenessError(f"threshold {wanted!r}: a number from 0 on, or one of {', '.join(names)}: {listed}")
        ((name, value),) = wanted.items()
        found = np.flatnonzero(np.isclose(table[names[name]].values.astype(float), float(value), rtol=1e-9, atol=0))
        if found.size != 1:
            raise CompletenessError(f"threshold {name} {value:g}: {found.size or 'none'} of these; there are {listed}")
        return int(found[0])

    def _lines(self) -> list[tuple[str, str]]:
        table, attrs = self.table, self.table.attrs
        lines = [("scorer", f"{self.scorer} ({attrs['scorer_kind']}), split {self.split}")]
        for name, bins in axes_of(table).items():
            units = str(table[f"{name}_edges"].attrs["units"])
            ends = f"{bins.edges[0]:g} to {bins.edges[-1]:g}{'' if units == '1' else ' ' + units}"
            lines.append((name, f"{ends} in {len(bins.centres)} bins"))
        tested = table["tested"].sel(curve="all")
        inside = np.prod([len(b.centres) for b in axes_of(table).values()])
        lines.append(("cells", f"{int(tested.sum()):,} of {int(inside):,} tested ({tested.attrs['long_name']})"))
        rows = table["n_valid"].sel(curve="all")
        lines.append(
            ("rows", f"{int(rows.sum()):,} valid of {int(table['n_planned'].sel(curve='all').sum()):,} planned")
        )
        for k, tau in enumerate(table["tau"].values):
            share = int(table["n_recovered"].sel(curve="all").isel(threshold=k).sum()) / max(int(rows.sum()), 1)
            low, high = (number(table[f"true_rate_{e}"].values[k]) for e in ("low", "high"))
            text = f"tau {number(tau)}, true false-positive rate {low} to {high}; {share:.1%} of the rows recovered"
            lines.append((f"threshold {k}", text))
        if "smooth_reason" in table:
            bad = [str(r) for r in table["smooth_reason"].sel(curve="all").values if str(r)]
            lines.append(("smooth model", f"not to be used: {bad[0]}" if bad else "fits"))
        lines.append(("negatives", f"{attrs['negatives']} ({attrs['n_negatives']:,})"))
        if attrs.get("derived"):
            lines.append(("derived", attrs["derived"]))
        if attrs["verdict"] or attrs["reason"]:
            lines.append(("verdict", ": ".join(filter(None, (attrs["verdict"].replace("_", " "), attrs["reason"])))))
        if attrs["scorer_note"]:
            lines.append(("note", attrs["scorer_note"]))
        gates = ", ".join(f"{n} {v}" for n, v in attrs["data_gates"].items()) or "none were run"
        lines.append(("data gates", gates))
        lines.append(("certificate", attrs["certificate_seal"] or "none"))
        return lines

    def __repr__(self) -> str:
        """Scorer, axes, thresholds, tested cells, negatives, and what is known of the data."""
        return as_text(f"Selection function in {self.path}", self._lines())

    def _repr_html_(self) -> str:
        return as_html(f"Selection function in {self.path}", self._lines())


def open_selection(path: str | Path, *, scorer: str | None = None) -> Selection:
    """Open a selection function.

    Parameters
    ----------
    path : str or path
        Of the file, ``summaries/completeness/<scorer>.<split>.zarr`` of a run, or of the run's folder.
    scorer : str, optional
        Whose it must be, ``package.module:name``; of a run's folder, which of its selection functions is opened: of
        several of one scorer that by the run's own settings.

    Returns
    -------
    Selection

    Raises
    ------
    CompletenessError
        If it is of another scorer, or a run's folder holds several and none is named.
    StaleStoreError
        If it is of other pairs than those of the run that it is in.
    StoreError
        If there is none, its writing did not end, or it is not what was written.
    """
    url = str(path).rstrip("/")
    if not url.endswith(".zarr"):
        url = _of_run(url, scorer)
    table = _read(url, scorer)
    _refuse_other_run(url, table)
    return Selection(url, table)


def _read(url: str, scorer: str | None) -> xr.Dataset:
    table = read_arrays(url, STORE, "run `lensflow completeness RUN SCORER`")
    if scorer is not None and table.attrs["scorer"] != scorer:
        raise CompletenessError(f"{url}: is the selection function of {table.attrs['scorer']}, not of {scorer}")
    return table


def _of_run(run: str, scorer: str | None) -> str:
    folder = paths.join(run, "summaries", "completeness")
    names = [n for n in paths.list_names(folder) if n.endswith(".zarr")]
    if scorer is not None:
        names = [n for n in names if _scorer_at(paths.join(folder, n)) == scorer]
    if not names:
        of = "" if scorer is None else f" of {scorer}"
        raise StoreError(f"{folder}: no selection function{of}. `lensflow completeness {run} SCORER` makes one.")
    own = min(names, key=len)
    if scorer is not None and all(n.startswith(own.removesuffix("zarr")) for n in names):
        return paths.join(folder, own)  # the others are of a command's options, which their names tell
    if len(names) > 1:
        listed = ", ".join(f"{n} ({_scorer_at(paths.join(folder, n))})" for n in names)
        how = "the file or scorer" if scorer is None else "the file"
        raise CompletenessError(f"{folder}: holds {len(names)} selection functions; name {how}: {listed}")
    return paths.join(folder, names[0])


def _scorer_at(url: str) -> str:
    return str(paths.open_group(url).attrs.get("scorer"))


def _refuse_other_run(url: str, table: xr.Dataset) -> None:
    """Compare with the pairs of the run that the file is in; one that was taken elsewhere has none beside it."""
    parts = url.rsplit("/", 3)
    if len(parts) < 4 or parts[1:3] != ["summaries", "completeness"]:
        return
    pairs = paths.join(like(url, parts[0]), "pairs.zarr")
    if paths.group_exists(pairs):
        here = str(read_attrs(pairs, "pairs").get("fingerprint"))
        if here != table.attrs["run_fingerprint"]:
            raise StaleStoreError(
                f"{url}: was measured on other pairs ({table.attrs['run_fingerprint']}) than those of {parts[0]} "
                f"({here}). `lensflow completeness {parts[0]} {table.attrs['scorer']}` measures it again"
            )
