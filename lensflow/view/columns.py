"""Columns that a page can plot, filter and sort by: those of the stores, and a few that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lensflow.store.columns import StoredColumn
from lensflow.units import mag_of_flux

# Keys and text: shown on a row's card, no quantity.
_NO_QUANTITY = {"row_id", "host_index", "is_control", "split", "lens_model", "src_id", "cell"}
Values = Sequence[NDArray]


@dataclass(frozen=True)
class Column:
    """A column of numbers or flags.

    Attributes
    ----------
    name, units, meaning : str
    is_flag : bool
    store : str
        ``manifest``, ``pairs`` or ``cutouts``; empty where it is made of other columns.
    made_of : tuple of str
        Those columns.
    make : callable or None
    """

    name: str
    units: str
    meaning: str
    is_flag: bool = False
    store: str = ""
    made_of: tuple[str, ...] = ()
    make: Callable[[Values], NDArray] | None = None

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.units})" if self.units not in ("", "1") else self.name


def columns_of(stored: Mapping[str, Mapping[str, StoredColumn]], bands: Sequence[str]) -> dict[str, Column]:
    """Columns of rows: of pairs and manifest, of their hosts, and made of these.

    Parameters
    ----------
    stored : mapping
        Store -> its columns, as :func:`lensflow.store.columns.stored_columns` lists them.
    bands : sequence of str

    Returns
    -------
    dict
        Name -> column; what most people look for comes first. A host's column of a name that rows have too is left out.
    """
    found: dict[str, Column] = {}
    for store in ("manifest", "pairs", "cutouts"):
        for name, of in stored.get(store, {}).items():
            kind = np.dtype(of.variable.dtype).kind
            if name in found or name in _NO_QUANTITY or kind not in "fiub":
                continue
            found[name] = Column(name, of.variable.units, of.variable.meaning, kind == "b", store)
    made = [c for c in _made(bands) if all(n in found for n in c.made_of)]
    first = ["theta_e_arcsec", *(c.name for c in made), "magnification"]
    every = {c.name: c for c in made} | found
    return {n: every[n] for n in first if n in every} | every


def _made(bands: Sequence[str]) -> list[Column]:
    def named(name: str) -> tuple[str, ...]:
        return tuple(f"{name}_{b}" for b in bands)

    out = [
        Column("snr_matched", "1", "SNR of the noiseless arc in a matched filter, all bands together",
               made_of=named("snr_matched"), make=_together),
        Column("snr_peak", "1", "SNR of the arc's brightest pixel in its best band",
               made_of=named("snr_peak"), make=_largest),
    ]  # fmt: skip
    for b in bands:
        of_source, of_host = (f"src_flux_nmgy_{b}", f"mw_transmission_{b}"), (f"aperture_flux_nmgy_{b}",)
        out.append(
            Column(f"src_mag_{b}", "mag", f"{b} magnitude of the source before lensing, without the Galaxy's dust",
                   made_of=of_source, make=lambda v: mag_of_flux(v[0].astype(float) / v[1].astype(float)))
        )  # fmt: skip
        out.append(
            Column(f"host_mag_{b}", "mag", f"{b} magnitude of the host within 5 arcsec on the cutout",
                   made_of=of_host, make=lambda v: mag_of_flux(v[0].astype(float)))
        )  # fmt: skip
    return out


def _together(values: Values) -> NDArray:
    every = np.stack([v.astype(float) for v in values])
    return np.where(np.isfinite(every).any(axis=0), np.sqrt(np.nansum(every**2, axis=0)), np.nan)


def _largest(values: Values) -> NDArray:
    every = np.stack([np.where(np.isfinite(v), v, -np.inf) for v in values]).astype(float)
    best = every.max(axis=0)
    return np.where(np.isfinite(best), best, np.nan)
