"""Stamps that the page of a comparison with real lenses shows: by hash, the most and least alike, the missed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng
from lensflow.config import RunConfig
from lensflow.run.realism.matched_injections import FOLDER
from lensflow.run.realism.pixels import images_of_hosts, stamps_of_pairs
from lensflow.run.realism.stamps import RealFolder, stamps_content
from lensflow.show.figures_realism import RealExample
from lensflow.show.numbers import number
from lensflow.show.realism import KeptRealism
from lensflow.show.realism_page import Gallery, ShownRealism
from lensflow.store.run_folder import RunFolder

COUNT = 12
_HEADS = ("real lens", "nearest injection", "its host without arc")

Rows = NDArray[np.int64]
Images = NDArray[np.float32]


def shown_realism(config: RunConfig, kept: KeptRealism) -> ShownRealism:
    """Read the stamps that a page shows of a comparison; none if they are not there, or those of another table are.

    Parameters
    ----------
    config : RunConfig
    kept : KeptRealism
        Of the pixels that are there.

    Returns
    -------
    ShownRealism
    """
    real, rows = RealFolder.of(config).cutouts, kept.tables.get("rows")
    if rows is None or not rows.sizes["row"] or not has_its_stamps(config, kept):
        return ShownRealism(kept)
    galleries = [Gallery("Real lenses beside injections", _HEADS, _triptychs(config, real, kept, rows))]
    if "scores" in kept.tables:
        score = kept.tables["scores"]["score"].values
        own = np.flatnonzero(~rows["is_real"].values)
        order = own[np.argsort(score[own], kind="stable")]
        for title, some in (
            ("Injections that the probe finds most like real lenses", order[::-1][:COUNT]),
            ("Injections that the probe finds least like real lenses", order[:COUNT]),
        ):
            galleries.append(
                Gallery(title, ("injection", "its host without arc"), _injections(config, kept, rows, some, score))
            )
    if "lenses" in kept.tables:
        missed = _missed(config, real, kept)
        if missed:
            galleries.append(Gallery("Real lenses that the scorer misses", ("real lens",), missed))
    return ShownRealism(kept, tuple(galleries))


def has_its_stamps(config: RunConfig, kept: KeptRealism) -> bool:
    """Whether the stamps that are there are those whose rows a comparison counts: another table's replace them."""
    own = kept.numbers.get("stamps")
    return bool(own) and own == stamps_content(config, _pairs_of(config, kept))


def nearest(values: NDArray[np.float64], of: int, among: Rows) -> int:
    """Row whose features are nearest to those of another, in standard deviations; those that lack do not count."""
    scale = np.nanstd(values, axis=0)
    apart = (values[among] - values[of]) / np.where(scale > 0, scale, 1.0)
    known = np.isfinite(apart)
    distance = np.where(known, apart, 0.0) ** 2
    mean = distance.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return int(among[np.argmin(np.where(known.any(axis=1), mean, np.inf))])


def _triptychs(config: RunConfig, real: str, kept: KeptRealism, rows: xr.Dataset) -> tuple[RealExample, ...]:
    sets, is_real = rows["set"].values, rows["is_real"].values
    numbers = np.unique(sets)
    key = rng.uniform(config.seed, numbers.astype(np.uint64), "realism.examples")[:, 0]
    values = rows["values"].values
    pairs = []
    for number_of_set in numbers[np.argsort(key, kind="stable")][:COUNT]:
        of = int(np.flatnonzero((sets == number_of_set) & is_real)[0])
        pairs.append((of, nearest(values, of, np.flatnonzero((sets == number_of_set) & ~is_real))))
    lenses = np.array([p[0] for p in pairs])
    others = np.array([p[1] for p in pairs])
    store, host = rows["store_row"].values, rows["host_row"].values
    images = images_of_hosts(real, store[lenses])
    stamps, hosts = (
        stamps_of_pairs(_pairs_of(config, kept), store[others]),
        images_of_hosts(RunFolder.of(config).cutouts, host[others]),
    )
    about = {int(n): k for k, n in enumerate(kept.tables["sets"]["number"].values)}
    found = kept.tables["sets"]
    snr, mag = (_column(rows, n) for n in ("arc_snr", "arc_mag"))
    out = []
    for k, of in enumerate(lenses):
        one = found.isel(set=about[int(sets[of])])
        facts = (
            ("lens", str(one["lens_id"].item())), ("tier", str(one["tier"].item())),
            ("arc SNR", f"{number(snr(of))}, {number(snr(others[k]))}"),
            ("arc r", f"{number(mag(of), 4)}, {number(mag(others[k]), 4)}"),
        )  # fmt: skip
        out.append(RealExample(
            f"{k:02d}", (images[k], stamps[k], hosts[k]), hosts[k], _absent(config, images[k]), facts,
            f"Real lens {one['lens_id'].item()}, the nearest injection on a matched host, and that host without arc",
        ))  # fmt: skip
    return tuple(out)


def _injections(
    config: RunConfig, kept: KeptRealism, rows: xr.Dataset, some: Rows, score: NDArray[np.float64]
) -> tuple[RealExample, ...]:
    stamps = stamps_of_pairs(_pairs_of(config, kept), rows["store_row"].values[some])
    hosts = images_of_hosts(RunFolder.of(config).cutouts, rows["host_row"].values[some])
    snr = _column(rows, "arc_snr")
    return tuple(
        RealExample(
            f"{k:02d}", (stamps[k], hosts[k]), hosts[k], _absent(config, stamps[k]),
            (("row", f"{int(rows['store_row'].values[at])}"), ("log odds of being real", f"{score[at]:+.2f}"),
             ("arc SNR", number(snr(at)))),
            f"Injection in row {int(rows['store_row'].values[at])} and its host without arc",
        )
        for k, at in enumerate(some)
    )  # fmt: skip


def _missed(config: RunConfig, real: str, kept: KeptRealism) -> tuple[RealExample, ...]:
    """Visible lenses of tier A below the first threshold, by hash."""
    lenses, tau = kept.tables["lenses"], float(kept.tables["thresholds"]["tau"][0])
    missed = (lenses["tier"].values == "A") & lenses["visible"].values & (lenses["score"].values < tau)
    some = np.flatnonzero(missed)
    key = rng.uniform(config.seed, some.astype(np.uint64), "realism.missed")[:, 0]
    some = some[np.argsort(key, kind="stable")][:COUNT]
    if not some.size:
        return ()
    images = images_of_hosts(real, lenses["real_row"].values[some])
    return tuple(
        RealExample(
            f"{k:02d}", (images[k],), images[k], _absent(config, images[k]),
            (("lens", str(lenses["lens_id"].values[at])), ("score", number(float(lenses["score"].values[at]))),
             ("arc SNR", number(float(lenses["arc_snr"].values[at])))),
            f"Real lens {lenses['lens_id'].values[at]}, missed by the scorer",
        )
        for k, at in enumerate(some)
    )  # fmt: skip


def _pairs_of(config: RunConfig, kept: KeptRealism) -> RunConfig:
    """Run whose pairs the rows count: this one, or that of the matched injections."""
    if kept.numbers.get("injections") != "matched":
        return config
    return config.model_copy(update={"out": RunFolder.of(config).path(FOLDER)})


def _column(rows: xr.Dataset, name: str) -> Callable[[int], float]:
    place = rows["feature"].values.tolist().index(name)
    return lambda at: float(rows["values"].values[at, place])


def _absent(config: RunConfig, image: Images) -> tuple[str, ...]:
    return tuple(b for b, plane in zip(config.bands, image, strict=True) if not np.nan_to_num(plane).any())
