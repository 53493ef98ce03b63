"""Rows of a run that become samples, and what class each is in: no pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from lensflow import rng, schema
from lensflow.config import ExportConfig
from lensflow.config.completeness import PSFSIZE_EDGES_ARCSEC
from lensflow.config.export import NEGATIVE_KINDS
from lensflow.errors import ExportError
from lensflow.measure.completeness.truth import snr_matched
from lensflow.stats.kept_rows import first_of_host
from lensflow.units import mag_of_flux

CONTROL, COUNTERFACTUAL, HOST_OTHER, TABLE = range(len(NEGATIVE_KINDS))
POSITIVE = -1
# Views whose samples are one for each positive, or two.
ONE_FOR_EACH = ("concat", "residual", "triplet")


@dataclass(frozen=True)
class Counts:
    """What is in the classes, for the card.

    Attributes
    ----------
    positives, hosts, different_negatives : int
    left_out : dict
        Why injections of the split are no positives -> their number.
    negatives : dict
        Kind -> number of samples.
    weights : dict
        Kind -> share of the negatives' weight, as it is; ``asked`` has the settings'.
    asked : dict
    """

    positives: int
    hosts: int
    different_negatives: int
    left_out: dict[str, int]
    negatives: dict[str, int]
    weights: dict[str, float]
    asked: dict[str, float]

    def text(self) -> str:
        """The honest numbers in one line."""
        return f"{self.positives:,} positives on {self.hosts:,} hosts: {self.different_negatives:,} different negatives"


@dataclass(frozen=True, eq=False)
class Chosen:
    """Samples of a split, in no order yet, and their counts."""

    samples: xr.Dataset
    counts: Counts


def choose(
    rows: xr.Dataset,
    others: xr.Dataset,
    settings: ExportConfig,
    split: str,
    seed: int,
    reference_band: int,
    theta_e_edges: tuple[float, ...],
    table: xr.Dataset | None = None,
) -> Chosen:
    """Choose samples and classes.

    Parameters
    ----------
    rows : Dataset, dim sample
        Rows of the split: manifest, metrics, flags, and of their hosts ra_deg, dec_deg, psfsize_arcsec,
        bad_pixel_frac; coordinate ``sample`` is the row's number in the manifest.
    others : Dataset, dim host
        Hosts of the split that carry no injection: host_index, row_id (key of their control), and the same columns.
    settings : ExportConfig
    split : {"train", "val", "test"}
    seed : int
        Of the run.
    reference_band : int
    theta_e_edges : tuple of float
        Strata, arcsec.
    table : Dataset, dim sample, optional
        Real non-lenses of the split, with the same columns; needed where ``settings.negatives.table`` is above 0.

    Returns
    -------
    Chosen

    Raises
    ------
    ExportError
        If there is no positive, or a kind of negatives that the settings name is not there.
    """
    positive, weight, left_out = _positives(rows, settings, split)
    of = rows.isel(sample=positive)
    if not len(positive):
        raise ExportError(
            f"the {split} split has no positive: of {int((~rows['is_control'].values).sum()):,} injections, "
            + ", ".join(f"{n:,} {why}" for why, n in left_out.items())
            + ". export.min_snr and export.faint say which count."
        )
    parts = [_part(of, 1, POSITIVE, weight, reference_band)]
    if settings.view in ONE_FOR_EACH or settings.view == "pairs":
        parts += _of_pairs(of, weight, settings, reference_band)
        asked = {"control": 1.0} if len(parts) > 1 else {}
    else:
        parts += _negatives(of, weight, others, table, settings, split, seed, reference_band)
        asked = {k: getattr(settings.negatives, k) for k in NEGATIVE_KINDS}
    samples = xr.concat(parts, "sample")
    samples["stratum"] = ("sample", _strata(samples, theta_e_edges))
    # Two ids of one row differ by the use that is made of it; nothing can be read from the mixed ones.
    use = 2 * (samples["negative_kind"].values.astype(np.int64) + 1) + samples["y"].values
    key = rng.mix_ids(samples["row_id"].values ^ np.uint64(seed + 1), use.astype(np.uint64) + np.uint64(0x1F5))
    samples["sample_id"] = ("sample", rng.mix_ids(key, np.uint64(17)))
    ids, n = np.unique(samples["sample_id"].values, return_counts=True)
    if len(ids) < samples.sizes["sample"]:
        twice = ids[n > 1][0]
        row = samples["row_id"].values[samples["sample_id"].values == twice][0]
        raise ExportError(f"row {row} is there twice: two samples would have one id")
    return Chosen(samples, _count(samples, settings, left_out, asked))


def _positives(
    rows: xr.Dataset, settings: ExportConfig, split: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], dict[str, int]]:
    """Positions of the positives, their weights, and why other injections are none."""
    injected = ~rows["is_control"].values.astype(bool) & (rows["lens_model"].values != "CONTROL")
    clean = rows["is_clean"].values.astype(bool)
    snr = snr_matched(rows)
    unknown = np.flatnonzero(injected & clean & ~np.isfinite(snr))
    if unknown.size:
        raise ExportError(
            f"row {rows['row_id'].values[unknown[0]]} is clean and has no snr_matched; {unknown.size - 1} alike"
        )
    seen = snr >= settings.min_snr
    wanted, left_out = injected & clean, {"not clean": int((injected & ~clean).sum())}
    weight = np.ones(len(snr))
    # Completeness needs its faint end: val and test keep all.
    if split == "train" and settings.faint == "drop":
        left_out[f"below snr {settings.min_snr:g}"] = int((wanted & ~seen).sum())
        wanted = wanted & seen
    elif settings.faint == "weight":
        with np.errstate(invalid="ignore"):
            weight = np.where(seen, 1.0, np.clip((snr - 1) / (5 - 1), 0.05, 1.0))
    at = np.flatnonzero(wanted)
    return at, weight[at], left_out


def _part(rows: xr.Dataset, y: int, kind: int, weight: NDArray[np.float64] | float, reference_band: int) -> xr.Dataset:
    """Samples of one use of rows."""
    n = rows.sizes["sample"]

    def column(name: str, dtype: Any) -> tuple[str, NDArray[Any]]:
        values = rows[name].values
        return "sample", np.asarray(values[:, reference_band] if values.ndim > 1 else values, dtype)

    return xr.Dataset(
        {
            "row_id": column("row_id", np.uint64),
            "host_index": column("host_index", np.int64),
            "host_id": ("sample", rows["host_id"].values.astype(str)),
            "pair_id": ("sample", rows["sample"].values.astype(np.int64)),
            "y": ("sample", np.full(n, y, np.int8)),
            "weight": ("sample", np.broadcast_to(np.asarray(weight, np.float32), (n,)).copy()),
            "negative_kind": ("sample", np.full(n, kind, np.int8)),
            "split": column("split", np.int8),
            "snr": ("sample", snr_matched(rows).astype(np.float32), {"long_name": "snr_matched, all bands"}),
            "theta_e_arcsec": column("theta_e_arcsec", np.float32),
            "psfsize_arcsec": column("psfsize_arcsec", np.float32),
            "host_mag": ("sample", _magnitude(rows, reference_band)),
            "bad_pixel_frac": column("bad_pixel_frac", np.float32),
            "is_clean": column("is_clean", np.bool_),
            "ra_deg": column("ra_deg", np.float64),
            "dec_deg": column("dec_deg", np.float64),
            "x_center": column("x_center", np.float32),
            "y_center": column("y_center", np.float32),
        }
    )


def _magnitude(rows: xr.Dataset, band: int) -> NDArray[np.float32]:
    """AB magnitude of the host within 5 arcsec; NaN without light."""
    return mag_of_flux(rows["aperture_flux_nmgy"].values[:, band].astype(np.float64)).astype(np.float32)


def _of_pairs(
    of: xr.Dataset, weight: NDArray[np.float64], settings: ExportConfig, reference_band: int
) -> list[xr.Dataset]:
    """Negatives of views with one negative for each positive; a triplet is both."""
    if settings.view == "triplet":
        return []
    return [_part(of, 0, CONTROL, weight, reference_band)]


def _negatives(
    of: xr.Dataset, weight: NDArray[np.float64], others: xr.Dataset, table: xr.Dataset | None, settings: ExportConfig,
    split: str, seed: int, reference_band: int,
) -> list[xr.Dataset]:  # fmt: skip
    """Negatives of the view ``single``: each different image once, with the weight of what it stands for."""
    shares, total = settings.negatives, settings.controls_per_positive * float(weight.sum())
    n_positive = of.sizes["sample"]
    first = first_of_host(of["host_index"].values, of["row_id"].values)
    host = np.searchsorted(of["host_index"].values[first], of["host_index"].values)
    of_host = np.bincount(host, weight, len(first))
    wanted = {k: getattr(shares, k) for k in NEGATIVE_KINDS}
    parts = []
    if wanted["counterfactual"] > 0:
        n = min(max(round(wanted["counterfactual"] * settings.controls_per_positive * n_positive), 1), n_positive)
        key = rng.uniform(seed, of["row_id"].values, "export.counterfactual")[:, 0]
        some = np.sort(np.argsort(key, kind="stable")[:n])
        parts.append(_part(of.isel(sample=some), 0, COUNTERFACTUAL, wanted["counterfactual"] * total / n,
                           reference_band))  # fmt: skip
    left = 0.0
    if wanted["host_other"] > 0 and not others.sizes["sample"] and shares.is_given:
        raise ExportError(
            f"export.negatives.host_other: {wanted['host_other']:g}, but every usable host of the {split} split "
            "carries an injection. Set it to 0 and control higher, or plan with plan.limit_hosts or plan.controls: "
            "disjoint."
        )
    if wanted["table"] > 0 and (table is None or not table.sizes["sample"]):
        raise ExportError(f"export.negatives.table: {wanted['table']:g}, but no non-lens of the {split} split is there")
    for kind, there in ((HOST_OTHER, others), (TABLE, table)):
        name = NEGATIVE_KINDS[kind]
        share = wanted[name]
        if share == 0 or there is None:
            continue
        n = min(there.sizes["sample"], max(round(share * settings.controls_per_positive * n_positive), 1))
        # No image weighs more than a control does: what a few of them cannot carry is for the controls.
        most = settings.controls_per_positive * float(of_host.mean())
        each = min(share * total / n, most) if n else 0.0
        left += share - each * n / total
        if n:
            key = rng.uniform(seed, there["row_id"].values, f"export.{name}")[:, 0]
            some = np.sort(np.argsort(key, kind="stable")[:n])
            parts.append(_part(there.isel(sample=some), 0, kind, each, reference_band))
    control = wanted["control"] + left
    if control > 0:
        each_host = control * settings.controls_per_positive * of_host
        parts.append(_part(of.isel(sample=first), 0, CONTROL, each_host, reference_band))
    if not parts:
        raise ExportError("export.negatives: no kind of negatives has a share above 0")
    return parts


def _strata(samples: xr.Dataset, theta_e_edges: tuple[float, ...]) -> NDArray[np.int32]:
    """Cell of theta_E x PSF size: 1 + the number of the bin on each axis, 0 below the first edge or unknown."""
    bins = []
    for name, edges in (("theta_e_arcsec", theta_e_edges), ("psfsize_arcsec", PSFSIZE_EDGES_ARCSEC)):
        values = samples[name].values.astype(np.float64)
        bins.append(np.where(np.isfinite(values), np.searchsorted(np.asarray(edges), values, side="right"), 0))
    return (bins[0] * (len(PSFSIZE_EDGES_ARCSEC) + 1) + bins[1]).astype(np.int32)


def _count(samples: xr.Dataset, settings: ExportConfig, left_out: dict[str, int], asked: dict[str, float]) -> Counts:
    kind, weight = samples["negative_kind"].values, samples["weight"].values.astype(np.float64)
    negative = kind != POSITIVE
    whole = float(weight[negative].sum()) or 1.0
    names = {name: kind == k for k, name in enumerate(NEGATIVE_KINDS)}
    host = samples["host_index"].values
    different = sum(len(np.unique(host[m])) if k != "counterfactual" else int(m.sum()) for k, m in names.items())
    if settings.view in ("triplet", "concat", "residual"):
        different = len(np.unique(host))
    return Counts(
        int((~negative).sum()),
        len(np.unique(host[~negative])),
        different,
        {k: n for k, n in left_out.items() if n},
        {k: int(m.sum()) for k, m in names.items() if m.any()},
        {k: float(weight[m].sum()) / whole for k, m in names.items() if m.any()},
        asked,
    )


def in_order(samples: xr.Dataset, shard: NDArray[np.int64]) -> tuple[xr.Dataset, NDArray[np.int64]]:
    """Number units, and order samples by unit, then by id: no order tells the class.

    Parameters
    ----------
    samples : Dataset
    shard : ndarray of int64, shape (sample,)
        Shard of the store that each is read with.

    Returns
    -------
    samples : Dataset
        With ``unit``.
    shards : ndarray of int64, shape (unit,)
    """
    shards, unit = np.unique(shard, return_inverse=True)
    order = np.lexsort((samples["sample_id"].values, unit))
    out = samples.assign(unit=("sample", unit.astype(np.int32))).isel(sample=order)
    return out.drop_vars(list(out.coords)), shards


def split_code(split: str) -> int:
    """Number of a split in the manifest."""
    return schema.SPLITS.index(split)
