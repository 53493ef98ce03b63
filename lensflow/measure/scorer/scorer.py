"""Scores of a trained lens finder, or any other scorer: stamps, controls, both also without their core.

A scorer is a callable that takes images (n, band, y, x), float32, nMgy/pixel, and returns n numbers, higher for what
looks more like a lens. scikit-learn's estimators are called with one row of pixels per image. One whose
``needs_features`` names ``psf_fwhm`` is called with (images, features): :mod:`lensflow.measure.scorer.beside`. What the
scores say is judged in :mod:`lensflow.measure.scorer.gates`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from lensflow import geometry
from lensflow.errors import GateError
from lensflow.measure.lens_light import without_light
from lensflow.measure.scorer.beside import ATTRIBUTE, arguments, features_of, needs_features, some
from lensflow.stats.hostsums import column
from lensflow.stats.kept_rows import KeptRows, first_of_host
from lensflow.units import MAD_TO_SIGMA

Images = NDArray[np.float32]
Scores = NDArray[np.float64]
# Images, and features for one that needs them.
Scorer = Callable[..., Scores]

# Width of the ring about the core whose median takes the core's place.
RING_WIDTH_PIX = 3.0
# Images that a scorer sees at once: 25 MB in three bands of 64 x 64 pixels.
BATCH = 512


def score_block(
    pairs: xr.Dataset, scorer: Scorer, core_radius_pix: float, filled: bool = True, lens_light: str = "kept"
) -> KeptRows:
    """Score the injection rows of a block of pairs and their hosts' controls.

    Parameters
    ----------
    pairs : Dataset
        A region of pairs, with manifest columns, metrics and ``ctrl``; for a scorer that needs features also
        ``psfsize_arcsec`` (sample, band) of the hosts.
    scorer : callable
        As :func:`as_scorer` gives.
    core_radius_pix : float
        Of the core that is filled for the second set of scores.
    filled : bool
        Whether there is a second set.
    lens_light : {"kept", "radial", "smooth"}
        The lens's light in the images: taken off stamp and control, each by itself, before anything else.

    Returns
    -------
    KeptRows
        Of injection rows (sample), scores of the stamps as they are and with the core filled (``stamp``,
        ``stamp_filled``), ``row_id``, ``host_index``, ``theta_e_arcsec``, ``arc_snr``, ``split`` as in the manifest and
        the metrics, and ``absent``: bands that the survey does not have there. Of their hosts (host), each once and
        sorted when joined, scores of the unlensed control (``ctrl``, ``ctrl_filled``), ``ctrl_host`` and
        ``ctrl_row_id``, the row that it was taken from. Without ``filled`` there is no ``stamp_filled`` and no
        ``ctrl_filled``.

    Raises
    ------
    GateError
        If the scorer fails, does not return one number per image, or scores an image by the images beside it.
    StoreError
        If a variable is missing.
    """
    rows = np.flatnonzero(~column(pairs, "is_control").astype(bool))
    of = {n: column(pairs, n)[rows] for n in ("row_id", "host_index", "theta_e_arcsec", "arc_snr", "split")}
    has_data = column(pairs, "has_data") if reads_missing_as_zero(scorer) else None
    stamp, every_ctrl = (as_it_reads(column(pairs, n), has_data) for n in ("stamp", "ctrl"))
    x, y = (column(pairs, n).astype(np.float64) for n in ("x_center", "y_center"))
    features = features_of(scorer, pairs)
    of_host = first_of_host(of["host_index"], of["row_id"])
    if lens_light != "kept":
        has_data = column(pairs, "has_data") if "has_data" in pairs else None
        stamp, every_ctrl = (without_light(v, lens_light, x, y, has_data) for v in (stamp, every_ctrl))

    def scores(images: NDArray[Any], of_rows: NDArray[np.int64]) -> tuple[Scores, Scores]:
        bare, without = score_images(scorer, images, of_rows, features), np.empty(len(of_rows) if filled else 0)
        for first in range(0, len(without), BATCH):
            part = of_rows[first : first + BATCH]
            cored = fill_core(images[part], every_ctrl[part], x[part], y[part], core_radius_pix)
            without[first : first + BATCH] = _called(scorer, cored, some(features, part))
        return bare, without

    of_stamp, of_ctrl = scores(stamp, rows), scores(every_ctrl, rows[of_host])
    absent = (~np.isfinite(column(pairs, "psf_fwhm_arcsec")[rows])).sum(axis=1)
    second = {"stamp_filled": ("sample", of_stamp[1]), "ctrl_filled": ("host", of_ctrl[1])} if filled else {}
    return KeptRows(
        xr.Dataset(
            {
                **second,
                "stamp": ("sample", of_stamp[0]),
                "row_id": ("sample", of["row_id"].astype(np.uint64)),
                "host_index": ("sample", of["host_index"].astype(np.int64)),
                "theta_e_arcsec": ("sample", of["theta_e_arcsec"].astype(np.float64), {"units": "arcsec"}),
                "arc_snr": ("sample", of["arc_snr"].astype(np.float64)),
                "split": ("sample", of["split"].astype(np.uint8)),
                "absent": ("sample", absent.astype(np.uint8)),
                "ctrl": ("host", of_ctrl[0]),
                "ctrl_host": ("host", of["host_index"][of_host].astype(np.int64)),
                "ctrl_row_id": ("host", of["row_id"][of_host].astype(np.uint64)),
            }
        ),
        ("sample", "host"),
        _in_order,
    )


def score_images(
    scorer: Scorer,
    images: NDArray[Any],
    of_rows: NDArray[np.int64] | None = None,
    features: NDArray[np.float64] | None = None,
) -> Scores:
    """Score images, a batch at a time.

    Parameters
    ----------
    scorer : callable
        As :func:`as_scorer` gives.
    images : ndarray, shape (n, band, y, x)
        nMgy/pixel.
    of_rows : ndarray of int64, optional
        Which of them, in this order; by default all.
    features : ndarray, shape (n, feature), optional
        Of all images, for a scorer that needs them.

    Returns
    -------
    ndarray of float64, shape (n,) or that of ``of_rows``

    Raises
    ------
    GateError
        If the scorer fails, or scores the first image by the images beside it.
    """
    rows = np.arange(len(images)) if of_rows is None else of_rows
    out = np.empty(len(rows))
    for first in range(0, len(rows), BATCH):
        # Copies: a scorer may normalise in place.
        at = rows[first : first + BATCH]
        out[first : first + BATCH] = _called(scorer, images[at].astype(np.float32), some(features, at), first == 0)
    return out


def reads_missing_as_zero(scorer: Any) -> bool:
    """Whether a scorer was trained on images whose pixels without data are 0 (its ``missing_is_zero``)."""
    return bool(getattr(scorer, "missing_is_zero", False))


def as_it_reads(images: NDArray[Any], has_data: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Images with 0 where there is no data: surveys keep a value in pixels without weight (inverse variance 0).

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
    has_data : ndarray of bool, same shape, or None
        None: the images as they are.

    Returns
    -------
    ndarray
        New where a pixel changes.
    """
    return images if has_data is None or has_data.all() else np.where(has_data, images, images.dtype.type(0))


def _in_order(scores: xr.Dataset) -> xr.Dataset:
    """The same order whatever that of the blocks; a host that is in two of them keeps one control."""
    order = np.lexsort((scores["row_id"].values, scores["host_index"].values))
    return scores.isel(sample=order, host=first_of_host(scores["ctrl_host"].values, scores["ctrl_row_id"].values))


def some_scores(scores: xr.Dataset, rows: NDArray[np.bool_]) -> xr.Dataset:
    """Scores of some rows, shape (sample,), with the controls of their hosts."""
    hosts = np.isin(scores["ctrl_host"].values, scores["host_index"].values[rows])
    return scores.isel(sample=np.flatnonzero(rows), host=np.flatnonzero(hosts))


def own_control(scores: xr.Dataset) -> NDArray[np.int64]:
    """For each row, the place of its host's control."""
    return np.searchsorted(scores["ctrl_host"].values, scores["host_index"].values)


def fill_core(
    images: NDArray[Any], ctrl: NDArray[Any], x_center: ArrayLike, y_center: ArrayLike, radius_pix: float
) -> Images:
    """Replace the core of images by their hosts' local background, measured on the unlensed control.

    Parameters
    ----------
    images, ctrl : ndarray, shape (n, band, y, x)
        Stamps (or the controls themselves) and their controls.
    x_center, y_center : array_like, shape (n,)
        Targets in stamp pixels: the core is where the lens is, not the stamp's middle.
    radius_pix : float
        Pixels at r < radius are replaced, by one number per image and band.

    Returns
    -------
    ndarray of float32
        New; pixels outside of the core keep their bits.

    Raises
    ------
    GateError
        If the ring does not lie within the stamp.

    Notes
    -----
    The number is the median of the **control** at radius <= r < radius + 3 pix. A median of the stamp there would
    hold the arc's own light and put it into the core of one class only. The control's is the same for both, hence
    tells a stamp from its own control by nothing; and unlike the sky far out it is the galaxy's light next to the
    hole, so that the image stays nearer to what a network has seen.
    """
    size = images.shape[-1]
    r = geometry.radius_pix(size, x_center, y_center)
    off = np.abs(np.concatenate([np.ravel(x_center), np.ravel(y_center)]) - geometry.centre(size)).max(initial=0.0)
    reach = int(np.ceil(radius_pix + RING_WIDTH_PIX + off + 1))
    middle = geometry.core_box(size, min(size, 2 * reach))
    near = r[:, *middle]
    ring = (near >= radius_pix) & (near < radius_pix + RING_WIDTH_PIX)
    if not ring.any(axis=(1, 2)).all():
        raise GateError(
            f"scorer.core_radius_pix: a stamp of {size} pixels has no pixel at {radius_pix:g} <= r < "
            f"{radius_pix + RING_WIDTH_PIX:g} pix to fill the core from. Choose a smaller radius."
        )
    around = np.where(ring[:, None], ctrl[:, :, *middle], np.nan)
    level = np.nanmedian(around, axis=(2, 3))[:, :, None, None]
    return np.where(r[:, None] < radius_pix, level, images).astype(np.float32)


def as_scorer(found: Any, name: str = "scorer") -> Scorer:
    """Make one callable of a function, a callable object or a scikit-learn estimator.

    Parameters
    ----------
    found : callable, or object with ``predict_proba``, ``decision_function`` or ``predict``
        A callable gets images (n, band, y, x) and returns shape (n,) or (n, 1); one with ``missing_is_zero`` gets 0 in
        pixels without data, others what the survey has there; one with ``needs_features`` gets them as a second
        argument. The methods are tried in this order
        on what is not callable, with pixels flattened to (n, band * y * x); of ``predict_proba`` the second of two
        columns is the score.
    name : str
        For messages.

    Returns
    -------
    callable
        Images (and features, if it needs any) to float64 scores of shape (n,); raises GateError where it does not come
        to that.
    """
    if isinstance(found, type):
        raise GateError(f"{name}: is the class {found.__name__}; a scorer is the object that scores: name an instance")
    call, flat, method = found, False, ""
    if not callable(found):
        method = next((m for m in ("predict_proba", "decision_function", "predict") if hasattr(found, m)), "")
        if not method:
            raise GateError(
                f"{name}: a {type(found).__name__} can neither be called with images nor has predict_proba, "
                "decision_function or predict"
            )
        call, flat = getattr(found, method), True

    wanted = needs_features(found, name)

    def score(images: Images, features: NDArray[np.float64] | None = None) -> Scores:
        if wanted and features is None:
            raise GateError(
                f"{name}: was made for images with {', '.join(wanted)} beside them, and is given images alone"
            )
        try:
            given = call(images.reshape(len(images), -1) if flat else images, *((features,) if wanted else ()))
            values = numbers_of(given)
        except Exception as error:  # models may raise any error; their own message says what to do
            raise GateError(
                f"{name}: failed on images of shape {images.shape}: {type(error).__name__}: {error}"
            ) from error
        if method == "predict_proba" and values.shape == (len(images), 2):
            values = values[:, 1]
        if values.shape == (len(images), 1):
            values = values[:, 0]
        if values.shape != (len(images),):
            raise GateError(
                f"{name}: must return one score per image, shape ({len(images)},), not {values.shape}"
                + (" (predict_proba of two classes)" if method == "predict_proba" else "")
            )
        return values

    score.missing_is_zero = reads_missing_as_zero(found)  # type: ignore[attr-defined]
    setattr(score, ATTRIBUTE, wanted)
    return score


def numbers_of(given: Any) -> Scores:
    """Scores as they were returned, in double precision; masked ones are NaN.

    Parameters
    ----------
    given : array_like

    Returns
    -------
    ndarray of float64

    Raises
    ------
    TypeError
        If they are text, complex numbers or times: what numpy would make of these is no score.
    """
    values = np.asanyarray(given)
    if values.dtype.kind not in "biufO":
        raise TypeError(f"scores are numbers, not {values.dtype}")
    plain = np.asarray(np.ma.getdata(values), dtype=np.float64)
    return np.where(np.ma.getmaskarray(values), np.nan, plain)


def _called(scorer: Scorer, images: Images, features: NDArray[np.float64] | None = None, alone: bool = False) -> Scores:
    """Scores of a batch; with ``alone``, its first image must score the same without the others."""
    first = images[:1].copy()
    scores: Scores = scorer(images, *arguments(features))
    if alone and len(images) > 1 and np.isfinite(scores).all():
        single = float(scorer(first, *arguments(some(features, slice(1))))[0])
        # Single precision sums in other orders for other batches.
        if not abs(single - scores[0]) <= 1e-3 * float(np.ptp(scores)) + 1e-5 * abs(float(scores[0])):
            raise GateError(
                f"scorer: one image scores {scores[0]:.6g} among {len(images)} and {single:.6g} alone. Scores must not "
                "depend on the images beside it, nor on chance: is a network in training mode (dropout, batch "
                "normalisation), or does something normalise over the batch?"
            )
    return scores


def blue_ring(images: Images) -> Scores:
    """Score the brightest stretch of a ring in the first band's excess over the host's own colour.

    A baseline to hold a trained finder against, and an example of a scorer: no product. The lens galaxy is red and
    brightest at its centre, arcs are blue and lie around it. So the second band, scaled to the first by the host's
    colour, is taken from the first; the score is the largest mean of what is left in a sixth of a ring 2 pixels wide,
    2 <= r < 12 pix, over its standard error for the noise of the stamp's outskirts.

    Parameters
    ----------
    images : ndarray, shape (n, band, y, x)
        Bands from blue to red, at least two; the target at the stamp's middle to within a pixel.

    Returns
    -------
    ndarray of float64, shape (n,)
        Signal to noise of the bluest sector. 0 where a band is absent.
    """
    blue, red = (images[:, k].astype(np.float64) for k in (0, 1))
    size = images.shape[-1]
    middle = geometry.centre(size)
    near = geometry.disc(size, middle, middle, 12.0)
    away = geometry.annulus(size, middle, middle, geometry.ANNULUS_INNER_PIX)
    top, bottom = (blue * red)[:, near].sum(axis=1), (red * red)[:, near].sum(axis=1)
    colour = np.divide(top, bottom, out=np.zeros(len(images)), where=bottom > 0)
    left = blue - colour[:, None, None] * red
    noise = np.median(np.abs(left[:, away]), axis=1) * MAD_TO_SIGMA
    ring, sector = geometry.ring_index(size, middle, middle, 12) // 2, geometry.sector_index(size, middle, middle, 6)
    best = np.full(len(images), -np.inf)
    for k in range(1, 6):
        for s in range(6):
            pixels = (ring == k) & (sector == s)
            best = np.maximum(best, left[:, pixels].mean(axis=1) * np.sqrt(pixels.sum()))
    return np.divide(best, noise, out=np.zeros(len(images)), where=noise > 0)
