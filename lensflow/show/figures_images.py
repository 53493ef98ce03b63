"""Figures of pixels: the gallery's composites and the gates' coefficient maps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from astropy.visualization import make_lupton_rgb
from numpy.typing import NDArray
from PIL import Image

from lensflow import geometry
from lensflow.show.figures import INK, MUTED, WIDTH, Picture, label, new_figure, picture
from lensflow.show.numbers import number
from lensflow.units import median_and_sigma

if TYPE_CHECKING:  # pictures alone need no classifiers
    from lensflow.measure.gate import GateResult
    from lensflow.show.gallery import Example

ZOOM, GAP_PIX, BAR_ARCSEC = 3, 6, 5.0
SOFTENING = 6.0
SIGMAS_OF_STRETCH = 12.0
# Colour balance of the Legacy Surveys' viewer; a galaxy of old stars is orange, an arc of young ones blue.
BAND_WEIGHTS = {"u": 12.0, "g": 6.0, "r": 3.4, "i": 2.8, "z": 2.2, "y": 2.0}
WAVELENGTHS = {b: k for k, b in enumerate("ugrizy")}


class HasSky(Protocol):
    """Stamps of a gallery: one without an arc, (band, y, x), and the bands without data."""

    @property
    def ctrl(self) -> NDArray:
        """Image without an arc, nMgy/pixel."""

    @property
    def absent(self) -> tuple[str, ...]:
        """Bands without data."""


def composite_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Bands for blue, green and red, by wavelength: three of three or more, two (green is their mean), or one."""
    ordered = sorted(bands, key=lambda b: WAVELENGTHS.get(b, len(WAVELENGTHS)))
    if len(ordered) <= 3:
        return tuple(ordered)
    return ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]


def weights(bands: Sequence[str]) -> dict[str, float]:
    """Factor of each band in a composite."""
    return {b: BAND_WEIGHTS.get(b, BAND_WEIGHTS["r"]) for b in bands}


def sky_level(examples: Sequence[HasSky], bands: Sequence[str]) -> float:
    """Typical sky noise of the hosts' weighted images at r >= 20 pix: what the stretch is fixed by."""
    found = []
    for example in examples:
        size = example.ctrl.shape[-1]
        middle = geometry.centre(size)
        sky = geometry.annulus(size, middle, middle, min(geometry.ANNULUS_INNER_PIX, 0.3 * size))
        for k, band in enumerate(bands):
            if band not in example.absent:
                values = weights(bands)[band] * example.ctrl[k][sky]
                found.append(float(median_and_sigma(values)[1]))
    positive = [v for v in found if v > 0]
    return float(np.median(positive)) if positive else 1.0


def composite(image: NDArray, bands: Sequence[str], absent: Sequence[str], sky: float) -> NDArray[np.uint8]:
    """Colour image after Lupton et al. 2004 (PASP 116, 133) of the available bands.

    Parameters
    ----------
    image : ndarray, shape (band, y, x)
        nMgy/pixel.
    bands, absent : sequence of str
        Names of the bands, and of those without data.
    sky : float
        From :func:`sky_level`; one value for a whole gallery makes its images comparable.

    Returns
    -------
    ndarray of uint8, shape (y, x, 3), y upwards as in the sky's image.
    """
    use = composite_bands([b for b in bands if b not in absent] or bands)
    layers = [weights(bands)[b] * np.nan_to_num(image[list(bands).index(b)].astype(np.float64)) for b in use]
    if len(layers) == 2:
        layers.insert(1, (layers[0] + layers[1]) / 2)
    blue, green, red = layers if len(layers) == 3 else layers * 3
    rgb = make_lupton_rgb(red, green, blue, minimum=-sky, stretch=SIGMAS_OF_STRETCH * sky, Q=SOFTENING)
    return np.asarray(rgb)[::-1]


def colour_note(bands: Sequence[str], absent: Sequence[str]) -> str:
    """Describe which band has which colour."""
    use = composite_bands([b for b in bands if b not in absent] or bands)
    if len(use) == 1:
        return f"{use[0]} in grey"
    return f"{use[-1]} red, {use[1] if len(use) == 3 else 'mean'} green, {use[0]} blue"


def triptych(example: Example, bands: Sequence[str], sky: float, pixel_scale_arcsec: float) -> Picture:
    """Host, arc and stamp side by side in one stretch, with a scale bar in the first."""
    png = side_by_side((example.ctrl, example.arc, example.stamp), example, bands, sky, pixel_scale_arcsec)
    name = f"{'worst' if example.why else 'gallery'}-{example.row:07d}"
    return Picture(name, png, f"Host, arc and stamp of {_described(example)}")


def difference(gate: str, example: Example, bands: Sequence[str], sky: float, pixel_scale_arcsec: float) -> Picture:
    """Stamp, control and their difference side by side in one stretch: what a gate could see in the row."""
    apart = example.stamp - example.ctrl
    png = side_by_side((example.stamp, example.ctrl, apart), example, bands, sky, pixel_scale_arcsec)
    alt = f"Stamp, control and their difference of {_described(example)}"
    return Picture(f"telling-{gate}-{example.row:07d}", png, alt)


def _described(example: Example) -> str:
    return (
        f"{example.host_id}: Einstein radius {number(example.theta_e_arcsec)} arcsec, "
        f"magnification {number(example.magnification)}, arc SNR {number(example.arc_snr)}"
    )


def side_by_side(
    images: Sequence[NDArray], example: HasSky, bands: Sequence[str], sky: float, pixel_scale_arcsec: float
) -> bytes:
    """PNG of images (band, y, x) side by side in one stretch, with a scale bar in the first."""
    panels = []
    for image in images:
        rgb = composite(image, bands, example.absent, sky)
        panels.append(np.repeat(np.repeat(rgb, ZOOM, axis=0), ZOOM, axis=1))
    size = panels[0].shape[0]
    bar = min(round(BAR_ARCSEC / pixel_scale_arcsec * ZOOM), size - 24)
    panels[0][size - 15 : size - 12, 12 : 12 + bar] = 255
    gap = np.full((size, GAP_PIX, 3), 255, dtype=np.uint8)
    joined = np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(joined).save(buffer, format="PNG")
    return buffer.getvalue()


def coefficient_map(gate: GateResult) -> Picture | None:
    """Coefficients of the gate's fit over the core box, one panel per band; None for other features."""
    if not gate.coef or not any(gate.coef) or len(gate.box_shape) != 3:
        return None
    maps = np.asarray(gate.coef, dtype=float).reshape(gate.box_shape)
    bands = gate.recipe.get("bands", [str(k) for k in range(len(maps))])
    reach = float(np.nanmax(np.abs(maps)))
    figure, axes = new_figure(2.75, 1, len(maps), width=min(2.5 * len(maps) + 1.4, WIDTH))
    half = (maps.shape[-1] - 1) / 2
    extent = (-half - 0.5, half + 0.5, -half - 0.5, half + 0.5)
    for k, a in enumerate(axes):
        a.imshow(maps[k], origin="lower", cmap="RdBu_r", vmin=-reach, vmax=reach, extent=extent)
        a.grid(False)
        label(a, "x from the centre (pixel)", "y from the centre (pixel)" if k == 0 else "", f"{bands[k]} band")
    bar = figure.colorbar(axes[0].images[0], ax=axes, shrink=0.9, aspect=18, pad=0.02)
    bar.set_label("coefficient per standard\ndeviation of the pixel", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, colors=MUTED, labelcolor=INK)
    bar.outline.set_visible(False)
    return picture(
        figure,
        f"gate-{gate.name}-coefficients",
        f"Maps of the logistic regression's coefficients over the {maps.shape[-1]} x {maps.shape[-2]} core pixels of "
        f"{gate.name}, bands {', '.join(bands)}",
        "What the classifier uses: bright red pixels indicate “stamp”, bright blue ones “control”. Neighbouring "
        "pixels hold nearly the same light, so single coefficients scatter and alternate, and those at the rim "
        "represent the pixels beyond it: read only the broad structure.",
    )
