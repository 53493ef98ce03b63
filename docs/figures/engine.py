"""Draw how the renderer works on one real row: docs/figures/engine-row.png, shown by lensflow/lensing/engine/README.md.

    python docs/figures/engine.py [--out docs/figures/engine-row.png]

The row goes through the engine's own functions; what they hand on to the next is caught and drawn.
"""

import argparse
import io
from pathlib import Path
from unittest.mock import patch

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image

from lensflow.lensing.engine import bands, pack, quadrature, records, shoot, spreading
from lensflow.lensing.engine.kernel_set import no_kernels
from lensflow.lensing.engine.render_rows import CONSTANTS
from lensflow.lensing.render import render
from lensflow.lensing.rows import read_rows

SIZE, PIXEL, BETA = 64, 0.262, 3.5
ROW = {
    "lens_model": "SIE", "theta_e_arcsec": 1.9, "lens_q": 0.7, "lens_phi_rad": 0.5, "shear": 0.05, "shear_phi_rad": 2.1,
    "src_x_arcsec": 0.36, "src_y_arcsec": 0.16, "src_reff_arcsec": 0.25, "src_n": 1.0, "src_q": 0.7,
    "src_phi_rad": 1.1, "src_flux_nmgy": [8.0], "psf_fwhm_arcsec": [1.2], "x_center": 31.5, "y_center": 31.5,
}  # fmt: skip
GREY, ORANGE, BLUE = "#5f6872", "#d55e00", "#3a5fa8"


def collected(packed: records.Packed, turn: int) -> tuple[np.ndarray, list[dict]]:
    """Grid of one rendering of row 0, and its lit panels: the samples' positions and light, and one of their rays."""
    s, wide = packed.scalars[0], (int(packed.grid_size[0]) // 16 + 1) * 16
    light, space, panels = np.zeros((wide, wide), np.float32), shoot.shoot_space(), []
    row = records.Row(packed.geometry[0], packed.series[0], packed.settings[0, turn], s[pack.INDEX], s[pack.B], 1.0)
    grid = records.Grid(light.reshape(-1), wide, s[pack.STEP], s[pack.ORIGIN_X], s[pack.ORIGIN_Y])

    def spread(flat, stride, gx, gy, value, n, window) -> None:  # type: ignore[no-untyped-def]
        x, y = grid.origin_x + grid.step * gx[:n], grid.origin_y + grid.step * gy[:n]
        at = first_samples(x, y)
        at, ray = at[min(1, len(at) - 1)], np.zeros(quadrature.RAY)
        r = np.hypot(x[at], y[at])
        quadrature.trace(x[at] / r, y[at] / r, packed.geometry[0], packed.series[0], ray)
        panels.append({"ray": ray, "x": x, "y": y, "light": value[:n].copy()})
        spreading.spread(flat, stride, gx, gy, value, n, window)

    plain = shoot._shoot_straight.py_func
    with patch.object(shoot, "spread", spread), patch.object(shoot, "_shoot_straight", plain):
        shoot.shoot_row.py_func(row, grid, CONSTANTS, space)
    return light, panels


def first_samples(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where each ray of a panel's samples begins."""
    return np.flatnonzero(np.concatenate([[True], np.abs(np.diff(np.arctan2(y, x))) > 1e-5]))


def images(packed: records.Packed, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectrum of the mean grid, its image, and the image of half the difference."""
    m, k, period = int(packed.grid_size[0]), int(packed.frequencies[0, 0]), packed.scalars[0, pack.PERIOD]
    wide = max(len(first), k + 16, SIZE)

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    def waves() -> records.Waves:
        return records.Waves(zeros(wide, wide), zeros(wide, wide))

    at_grid, centres, at_pixels = waves(), waves(), waves()
    products, radial = records.Products(zeros(4, wide, wide), zeros(wide, wide)), zeros(wide, wide)
    work = np.zeros((4, wide))
    bands.grid_waves(at_grid, m // 2, k, packed.scalars[0, pack.STEP], period, CONSTANTS.deconvolution, work)
    bands.pixel_waves(centres, SIZE, k, period, work)
    bands.transpose_waves(at_pixels, centres, SIZE, k)
    psfs = pack.psfs(BETA, no_kernels(1, 1))
    table = psfs.tables[packed.table[0], : psfs.table_sizes[packed.table[0]]]
    bands.radial_psf(radial, k, packed.band_scale[0, 0], table, work)
    extent = records.Extent(m // 2, m // 2, m // 2)
    out = []
    for grid in (0.5 * (first + second), 0.5 * (first - second)):
        spectrum, shaped, picture = zeros(4, wide, wide), zeros(4, wide, wide), zeros(SIZE, SIZE)
        bands.forward(spectrum, grid.astype(np.float32), extent, k, packed.disc[0, 0], at_grid, products)
        bands.shape_radial(shaped, spectrum, k, period, radial)
        bands.to_pixels(picture, shaped, k, SIZE, at_pixels, products)
        out.append((spectrum, picture))
    return np.sqrt((out[0][0][:, :k, :k] ** 2).sum(axis=0)), out[0][1], out[1][1]


def draw_rays(axes, panels: list[dict]) -> None:  # type: ignore[no-untyped-def]
    """Rays on the image plane, from the lens, with the ends of their radial panels."""
    for at, panel in enumerate(panels):
        for x, y in radial_panels(panel):
            axes.plot(x, y, color=(BLUE, ORANGE)[at % 2], lw=0.6, marker="o", ms=1.1)
    axes.plot(0, 0, "+", color="k", ms=7)
    axes.set_xlabel("x from the lens, pixels")
    axes.set_ylabel("y, pixels")


def radial_panels(panel: dict) -> list[tuple[np.ndarray, np.ndarray]]:
    """Ends of each radial panel of a panel's samples: nodes come four to one."""
    x, y = panel["x"].reshape(-1, 4), panel["y"].reshape(-1, 4)
    out = []
    for px, py in zip(x, y, strict=True):
        middle = np.array([px.mean(), py.mean()])
        half = np.array([px[3] - px[0], py[3] - py[0]]) / (quadrature.NODES[0, 3] - quadrature.NODES[0, 0])
        ends = middle + np.outer([-1, 1], half)
        out.append((ends[:, 0], ends[:, 1]))
    return out


def draw_source(axes, panels: list[dict], dark: float) -> None:  # type: ignore[no-untyped-def]
    """The same samples in the source plane, where each ray is a straight line: one ray of each panel in angle."""
    for at, panel in enumerate(panels):
        r, starts = np.hypot(panel["x"], panel["y"]), first_samples(panel["x"], panel["y"])
        ray, rs = panel["ray"], np.split(r, starts[1:])[min(1, len(starts) - 1)]
        order = np.argsort(rs)
        line = np.array([rs * ray[0] - ray[2], rs * ray[1] - ray[3]])[:, order]
        axes.plot(*line, color=(BLUE, ORANGE)[at % 2], lw=0.6, marker="o", ms=1.6)
    turn = np.linspace(0, 2 * np.pi, 200)
    for radius, style in ((1.0, "-"), (dark, ":")):
        axes.plot(radius * np.cos(turn), radius * np.sin(turn), style, color="k", lw=0.9)
    axes.set(xlim=(-1.1 * dark, 1.1 * dark), ylim=(-1.1 * dark, 1.1 * dark))
    axes.set_xlabel("half-light radii, along the source's axis")
    axes.set_ylabel("across it (circles: 1; dark outside)")


def figure() -> Figure:
    """The six steps of one row."""
    manifest = {name: np.array([value]) for name, value in ROW.items()}
    packed = pack.pack(read_rows(manifest, SIZE, PIXEL), np.array(["moffat"]), BETA, SIZE, PIXEL)
    first, panels = collected(packed, 0)
    second, _ = collected(packed, 1)
    spectrum, arc, difference = images(packed, first, second)
    told = render(manifest, psf_model="moffat").arc[0, 0]
    scale = packed.scalars[0, pack.CENTRAL_LIGHT] * ROW["src_flux_nmgy"][0]
    assert np.abs(scale * arc - told).max() < 2e-6 * told.max(), "this script and the renderer are not of one mind"
    m, n = int(packed.grid_size[0]), sum(len(p["x"]) for p in panels)
    out = Figure(figsize=(10.5, 6.6), dpi=100, layout="constrained")
    FigureCanvasAgg(out)
    axes = out.subplots(2, 3).ravel()
    draw_rays(axes[0], panels)
    axes[0].set_title(f"1  {4 * len(panels)} rays; panels in angle and radius")
    draw_source(axes[1], panels, packed.geometry[0, quadrature.DARK])
    axes[1].set_title(f"2  Straight lines there; {n:,} samples in all")
    extent = np.array([-0.5, m - 0.5]) * packed.scalars[0, pack.STEP] + packed.scalars[0, pack.ORIGIN_X]
    shown = axes[2].imshow(
        np.maximum(first[:m, :m], 1e-6 * first.max()), origin="lower", cmap="magma", extent=(*extent, *extent),
        norm=LogNorm(1e-4 * first.max(), first.max()),
    )  # fmt: skip
    axes[2].set_title(f"3  Spread on a grid of {m} x {m} (its middle)")
    axes[2].set(xlim=(-20, 20), ylim=(-20, 20), xlabel="x from the lens, pixels")
    out.colorbar(shown, ax=axes[2], shrink=0.75, label="light (units of CENTRAL_LIGHT)")
    k, period = len(spectrum), packed.scalars[0, pack.PERIOD]
    shown = axes[3].imshow(
        np.maximum(spectrum, 1e-9) / spectrum.max(), origin="lower", cmap="viridis",
        norm=LogNorm(1e-3, 1), extent=(0, k / period, 0, k / period),
    )  # fmt: skip
    axes[3].set_title(f"4  The {k} x {k} frequencies that the PSF passes")
    axes[3].set(xlabel="x frequency, cycles per pixel", ylabel="y frequency")
    out.colorbar(shown, ax=axes[3], shrink=0.75, label="amplitude")
    shown = axes[4].imshow(scale * arc, origin="lower", cmap="magma")
    axes[4].set_title("5  Times the PSF, at the pixels")
    out.colorbar(shown, ax=axes[4], shrink=0.75, label="nMgy/pixel")
    error = 1e5 * difference / arc.max()
    top = np.abs(error).max()
    shown = axes[5].imshow(error, origin="lower", cmap="RdBu_r", vmin=-top, vmax=top)
    axes[5].set_title("6  Half the difference of the two")
    out.colorbar(shown, ax=axes[5], shrink=0.75, label="$10^{-5}$ of the peak")
    for one in axes[4:]:
        one.set(xlim=(11.5, 51.5), ylim=(11.5, 51.5), xlabel="x, pixels")
    for one in axes:
        one.set_aspect("equal")
        one.title.set_size(9.5)
        one.tick_params(labelsize=8, colors=GREY)
    return out


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("engine-row.png"))
    path = parser.parse_args().out
    drawn = io.BytesIO()
    figure().savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    print(f"wrote {path}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
