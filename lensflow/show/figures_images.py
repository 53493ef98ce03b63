"""Figures of pixels: the gallery's composites and the gates' coefficient maps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lensflow.show.composite import composite
from lensflow.show.figures import INK, MUTED, WIDTH, Picture, label, new_figure, picture
from lensflow.show.numbers import number

if TYPE_CHECKING:  # pictures alone need no classifiers
    from lensflow.measure.gate import GateResult
    from lensflow.show.gallery import Example

ZOOM, GAP_PIX, BAR_ARCSEC = 3, 6, 5.0
_INSET, _TEXT_PIX = 12, 22


class HasBands(Protocol):
    """Stamps of a gallery: the bands without data."""

    @property
    def absent(self) -> tuple[str, ...]:
        """Bands without data."""


def triptych(example: Example, bands: Sequence[str], pixel_scale_arcsec: float, kind: str = "gallery") -> Picture:
    """Host, arc and stamp side by side, with a labelled scale bar in the first; ``kind`` begins the picture's name."""
    png = side_by_side((example.ctrl, example.arc, example.stamp), example, bands, pixel_scale_arcsec)
    return Picture(f"{kind}-{example.row:07d}", png, f"Host, arc and stamp of {_described(example)}")


def difference(gate: str, example: Example, bands: Sequence[str], pixel_scale_arcsec: float) -> Picture:
    """Stamp, control and their difference side by side: what a gate could see in the row."""
    apart = example.stamp - example.ctrl
    png = side_by_side((example.stamp, example.ctrl, apart), example, bands, pixel_scale_arcsec)
    alt = f"Stamp, control and their difference of {_described(example)}"
    return Picture(f"telling-{gate}-{example.row:07d}", png, alt)


def _described(example: Example) -> str:
    return (
        f"{example.host_id}: Einstein radius {number(example.theta_e_arcsec)} arcsec, "
        f"magnification {number(example.magnification)}, peak SNR of the arc {number(example.arc_snr)}"
    )


def side_by_side(
    images: Sequence[NDArray], example: HasBands, bands: Sequence[str], pixel_scale_arcsec: float
) -> bytes:
    """PNG of images (band, y, x) side by side in the fixed stretch, north up, with a labelled scale bar in the first.

    Between them the picture is transparent.
    """
    panels = []
    for image in images:
        rgb = composite(image, bands, example.absent, pixel_scale_arcsec)[::-1]
        panels.append(np.repeat(np.repeat(rgb, ZOOM, axis=0), ZOOM, axis=1))
    panels[0] = _with_bar(panels[0], pixel_scale_arcsec)
    opaque = [np.dstack([panel, np.full(panel.shape[:2], 255, dtype=np.uint8)]) for panel in panels]
    gap = np.zeros((len(panels[0]), GAP_PIX, 4), dtype=np.uint8)
    joined = np.concatenate([part for panel in opaque for part in (gap, panel)][1:], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(joined).save(buffer, format="PNG")
    return buffer.getvalue()


def _with_bar(panel: NDArray[np.uint8], pixel_scale_arcsec: float) -> NDArray[np.uint8]:
    """Draw a bar of 5 arcsec, or of a whole number of arcsec that fits, and say how long it is."""
    size = len(panel)
    widest = (size - 2 * _INSET) * pixel_scale_arcsec / ZOOM
    length = BAR_ARCSEC if widest >= BAR_ARCSEC else max(float(np.floor(widest)), 1.0)
    bar = min(round(length / pixel_scale_arcsec * ZOOM), size - 2 * _INSET)
    image = Image.fromarray(panel)
    draw = ImageDraw.Draw(image)
    draw.rectangle((_INSET, size - 16, _INSET + bar - 1, size - 13), fill="white")
    draw.text((_INSET, size - 21), f"{length:g}″", fill="white", font=_font(), anchor="ls")
    return np.asarray(image)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib: the same pixels everywhere."""
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), _TEXT_PIX)


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
