"""Compare the diversity of the stored arcs with the plan's. Stored pixels are compared, independent of the manifest.

Each arc is summed over its bands, divided by its own strength and projected onto a few fixed random directions, which
keep the distances between images (Johnson & Lindenstrauss 1984). The distance of each arc to the nearest other one is
held against that of arcs rendered from a second draw of the plan: the same arc in many rows has none. Arcs that are the
same to the bit in rows whose lens or source differ are counted over all rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
import xxhash
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import kolmogi

from lensflow import rng
from lensflow.config import RunConfig
from lensflow.injection.core.masks import keep_weights
from lensflow.lensing.image_light import Sources
from lensflow.lensing.render import render
from lensflow.measure.pixels.judging import Finding, Status, not_tested
from lensflow.measure.pixels.specimens import injections, keys_of
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import column
from lensflow.stats.kept_rows import KeptRows
from lensflow.targets.splits import ARC

Images = NDArray[np.float32]
Floats = NDArray[np.float64]

DIRECTIONS = 32
# Closer than this, in units of an arc's own strength, two arcs are one.
SAME_ARC = 0.05
# Share of such rows that does not matter.
SMALL_SHARE = 0.01
# Chance that sound arcs alarm.
LEVEL = 5e-4
LEAST_ARCS, LEAST_HOSTS = 30, 12
# Arcs with light in fewer pixels may be equal after rounding.
_LEAST_PIXELS = 20


def arc_images(pairs: xr.Dataset, last_key: int | None) -> KeptRows:
    """What is kept of the arcs of injection rows.

    Parameters
    ----------
    pairs : Dataset
    last_key : int or None
        Images are kept of arcs with light whose row has a hash up to this one (:func:`keys_of`), and of all for None.

    Returns
    -------
    KeptRows
        Of every row (sample): ``row_id``, ``bits`` (hash of the stored arc; 0 for next to no light) and ``made_of``
        (hash of everything that the manifest says of lens and source). Of each image (imaged): ``image_row_id``,
        ``image_host`` and ``image`` (imaged, direction), float32.
    """
    rows, keys = injections(pairs)
    arc = column(pairs, "arc")
    lit = np.array([np.count_nonzero(arc[k] != 0) >= _LEAST_PIXELS for k in rows], bool)
    bits = np.array([xxhash.xxh3_64_intdigest(np.ascontiguousarray(arc[k]).data) | 1 for k in rows], np.uint64)
    row_id, host = column(pairs, "row_id")[rows].astype(np.uint64), column(pairs, "host_index")[rows]
    some = np.flatnonzero(lit & (keys <= np.uint64(last_key)) if last_key is not None else lit)
    images = _images(row_id[some], host[some], arc[rows[some]])
    every = {"row_id": row_id, "bits": np.where(lit, bits, np.uint64(0)), "made_of": _made_of(pairs, rows)}
    return KeptRows(images.assign({k: ("sample", v) for k, v in every.items()}), ("sample", "imaged"))


def _images(row_id: NDArray[Any], host_index: NDArray[Any], arc: Images) -> xr.Dataset:
    """Arcs in a few numbers; those without light are left out."""
    image = images_of(arc)
    lit = np.isfinite(image).all(axis=1)
    return xr.Dataset(
        {
            "image_row_id": ("imaged", row_id[lit].astype(np.uint64)),
            "image_host": ("imaged", host_index[lit].astype(np.int64)),
            "image": (("imaged", "direction"), image[lit]),
        }
    )


def images_of(arc: Images) -> Images:
    """Project arcs (n, band, y, x) of any brightness onto fixed directions: (n, DIRECTIONS)."""
    flat = arc.sum(axis=1, dtype=np.float32).reshape(len(arc), arc.shape[-2] * arc.shape[-1])
    strength = np.linalg.norm(flat, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((flat / strength) @ _directions(flat.shape[1]), np.float32)


@lru_cache(maxsize=4)
def _directions(pixels: int) -> Images:
    draw = np.random.default_rng(19)
    return (draw.normal(size=(pixels, DIRECTIONS)) / np.sqrt(DIRECTIONS)).astype(np.float32)


def _made_of(pairs: xr.Dataset, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    out = np.zeros(rows.size, np.uint64)
    values = [column(pairs, name)[rows].astype(np.float64) + 0.0 for name in ARC if name in pairs]
    flux = (
        column(pairs, "src_flux_nmgy")[rows].astype(np.float64)
        if "src_flux_nmgy" in pairs
        else np.zeros((rows.size, 0))
    )
    for k, v in enumerate([*values, *flux.T]):
        out = np.asarray(rng.mix_ids(out ^ np.ascontiguousarray(v).view(np.uint64), np.uint64(k + 1)))
    if "src_id" in pairs:
        out = np.asarray(rng.mix_ids(out, rng.hash_ids(column(pairs, "src_id")[rows])))
    return out


def arc_findings(arcs: xr.Dataset, redrawn: xr.Dataset | str) -> list[Finding]:
    """Judge the arcs of a run.

    Parameters
    ----------
    arcs : Dataset
        Rows of :func:`arc_images`, of all injections.
    redrawn : Dataset or str
        Arcs rendered from a second draw of the plan on the same hosts; or why there are none.
    """
    return [_same_bits(arcs), _diversity(arcs, redrawn)]


def _same_bits(arcs: xr.Dataset) -> Finding:
    row_id, bits, made_of = (arcs[k].values for k in ("row_id", "bits", "made_of"))
    rows = np.flatnonzero(bits != 0)
    order = rows[np.lexsort((made_of[rows], bits[rows]))]
    same = bits[order][1:] == bits[order][:-1]
    other = made_of[order][1:] != made_of[order][:-1]
    wrong = np.flatnonzero(same & other)
    where = f"row ids {row_id[order[wrong[0]]]} and {row_id[order[wrong[0] + 1]]}" if wrong.size else ""
    status = Status.ALARM if wrong.size else Status.OK
    text = "rows whose stored arc is, bit by bit, that of a row with another lens or source"
    return Finding("priors", "arcs are their rows' own", status, where, Estimate(float(wrong.size)), 0.0, text)


def _diversity(arcs: xr.Dataset, redrawn: xr.Dataset | str) -> Finding:
    check = "arcs' images are diverse"
    if isinstance(redrawn, str):
        return not_tested("priors", check, redrawn)
    n = min(arcs.sizes["imaged"], redrawn.sizes["imaged"])
    found, drawn = (_first_by_hash(a, n) for a in (arcs, redrawn))
    hosts = min(np.unique(a["image_host"].values).size for a in (found, drawn))
    if n < LEAST_ARCS or hosts < LEAST_HOSTS:
        why = f"{n} arcs of {hosts} hosts: at least {LEAST_ARCS} of {LEAST_HOSTS} are needed"
        return not_tested("priors", check, why)
    a, b = (nearest(v["image"].values.astype(np.float64)) for v in (found, drawn))
    at = np.sort(np.concatenate([a, b]))
    a_below, b_below = (np.searchsorted(np.sort(v), at, side="right") / n for v in (a, b))
    apart = float((a_below - b_below).max())
    limit = float(kolmogi(2 * LEVEL) * np.sqrt(2 / min(hosts, n)))
    shares = [float((v < SAME_ARC).mean()) for v in (a, b)]
    twice = shares[0] > shares[1] + SMALL_SHARE + 3 * np.sqrt(shares[1] / n)
    status = Status.ALARM if apart > limit or twice else Status.OK
    place = int(a.argmin())
    where = f"{100 * shares[0]:.3g} % within {SAME_ARC:g}, {100 * shares[1]:.3g} % of a second draw; "
    one = found["image_row_id"].values[place]
    where += f"nearest: row id {one} at {a[place]:.2g}, median {np.median(a):.2g} and {np.median(b):.2g}"
    text = (
        "excess of arcs with a near neighbour, in units of an arc's own strength, over those of a second draw "
        f"({100 * LEVEL:g} % of sound runs exceed the limit)"
    )
    return Finding("priors", check, status, where, Estimate(apart), 0.0, text, limit=limit)


def nearest(image: Floats) -> Floats:
    """Distance of each image to the nearest other one."""
    return np.asarray(cKDTree(image).query(image, k=2)[0][:, 1])


def _first_by_hash(arcs: xr.Dataset, n: int) -> xr.Dataset:
    """The n images that come first by the hash of their rows' ids."""
    return arcs.isel(imaged=np.argsort(keys_of(arcs["image_row_id"].values), kind="stable")[:n])


def render_arcs(rows: xr.Dataset, config: RunConfig, pixel_scale_arcsec: float, sources: Sources | None) -> xr.Dataset:
    """Render the arcs of injection rows of a manifest, masked as the run's are, for :func:`arc_findings`.

    Rows whose PSF is an image of the survey get a profile of the same width: distances of arcs hardly depend on it.
    """
    size = config.survey.stamp_size
    model = str(rows.attrs.get("psf_model", config.plan.psf_model))
    columns = {str(k): v.values for k, v in rows.data_vars.items() if k != "is_control"}
    arc = render(
        columns,
        stamp_size=size,
        pixel_scale_arcsec=pixel_scale_arcsec,
        sources=sources,
        psf_model="moffat" if model == "kernel" else model,
        psf_beta=float(rows.attrs.get("psf_beta", config.plan.psf_beta)),
    ).arc
    radius, method, width = config.injection.core_mask
    if radius > 0:
        arc = arc * keep_weights(size, rows["x_center"].values, rows["y_center"].values, radius, method, width)[:, None]
    return _images(rows["row_id"].values, rows["host_index"].values, arc.astype(np.float32))
