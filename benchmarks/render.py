"""Speed and accuracy of the renderer beside those of other tools, on one pinned core, in one run.

    python benchmarks/render.py [--rounds 7] [--core 0] [--figure docs/figures/engine.png]

Rows: the 48 reference renderings of ../shared/truth/dev.npz (three bands, Gaussian and Moffat), or random rows of the
same ranges without errors where that file is absent. Every tool renders in turn, ``rounds`` times; medians are
printed, and ratios within each round. Seconds are of the processor, not of the clock: what else runs on the machine
counts only by the caches that it takes.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

from typing import Annotated

import numpy as np
import typer

from lensflow.lensing import psf
from lensflow.lensing.engine import light, pack, records, render_rows, shoot, spreading
from lensflow.lensing.render import render
from lensflow.lensing.render_reference import lensed_light, ray_positions, render_row_reference
from lensflow.lensing.rows import read_rows

PIXEL, SIZE, PAD = 0.262, 64, 16
GOAL = 1e-3
clock = time.process_time
Manifest = dict[str, np.ndarray]
TRUTH = Path(__file__).parents[1].parent / "shared" / "truth" / "dev.npz"


def load() -> tuple[Manifest, np.ndarray, np.ndarray | None]:
    """Manifest, PSF model of each row, true arcs (None where the file is absent)."""
    if TRUTH.exists():
        with np.load(TRUTH) as file:
            data = dict(file)
        arc, models = data.pop("arc"), data.pop("psf_model")
        return data, models, arc
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.lensing.rows import alternating_models, random_rows

    return random_rows(48), alternating_models(48), None


def row_of(manifest: Manifest, i: int) -> dict:
    return {k: v[i] for k, v in manifest.items()}


# --- the tools: each takes the manifest, the models and the rows' indices, and returns their arcs ---------------------


def lensflow(manifest: Manifest, models: np.ndarray, index: np.ndarray) -> np.ndarray:
    return render({k: v[index] for k, v in manifest.items()}, psf_model=models[index]).arc


def uniform_reference(manifest: Manifest, models: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.array([render_row_reference(row_of(manifest, i), psf_model=models[i], period_pix=128) for i in index])


class Lenstronomy:
    """One row's lens, source and PSFs as lenstronomy's classes, with the lensed source shared by the bands or not."""

    def __init__(self, manifest: Manifest, models: np.ndarray, supersample: int, share: bool):
        self.manifest, self.models, self.s, self.share = manifest, models, supersample, share

    def __call__(self, manifest: Manifest, models: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Arcs of the rows at ``index``."""
        return np.array([self.row(row_of(manifest, i), str(models[i])) for i in index])

    def row(self, row: dict, model: str) -> np.ndarray:
        """Arc of one row, (band, y, x)."""
        from lenstronomy.Data.imaging_data import ImageData
        from lenstronomy.Data.psf import PSF
        from lenstronomy.ImSim.image_model import ImageModel
        from lenstronomy.LensModel.lens_model import LensModel
        from lenstronomy.LightModel.light_model import LightModel
        from lenstronomy.Util.param_util import phi_q2_ellipticity, shear_polar2cartesian

        e1, e2 = phi_q2_ellipticity(row["lens_phi_rad"], row["lens_q"])
        g1, g2 = shear_polar2cartesian(row["shear_phi_rad"], row["shear"])
        s1, s2 = phi_q2_ellipticity(row["src_phi_rad"], row["src_q"])
        centre = {"center_x": 0.0, "center_y": 0.0}
        lens = [{"theta_E": row["theta_e_arcsec"], "e1": e1, "e2": e2, **centre}, {"gamma1": g1, "gamma2": g2}]
        # lenstronomy's radius is the geometric mean of the axes; ours is the major one.
        source = [
            {
                "amp": 1.0, "R_sersic": row["src_reff_arcsec"] * np.sqrt(row["src_q"]), "n_sersic": row["src_n"],
                "e1": s1, "e2": s2, "center_x": row["src_x_arcsec"], "center_y": row["src_y_arcsec"],
            }
        ]  # fmt: skip
        x0, y0 = -row["x_center"] * PIXEL, -row["y_center"] * PIXEL
        data = ImageData(
            np.zeros((SIZE, SIZE)), 1.0, ra_at_xy_0=x0, dec_at_xy_0=y0, transform_pix2angle=np.eye(2) * PIXEL
        )
        light_model, lens_model = LightModel(["SERSIC_ELLIPSE"]), LensModel(["SIE", "SHEAR"])
        numerics = {"supersampling_factor": self.s, "supersampling_convolution": not self.share}
        total = light_model.total_flux(source, norm=True)[0]
        arc, lensed = [], None
        for width, flux in zip(row["psf_fwhm_arcsec"], row["src_flux_nmgy"], strict=True):
            if not self.share:  # as people call it: a kernel on the fine grid, everything anew for each band
                fine = psf.kernel(41 * self.s, width / PIXEL * self.s, model)
                kernel = PSF("PIXEL", kernel_point_source=_odd(fine), point_source_supersampling_factor=self.s)
                image_model = ImageModel(data, kernel, lens_model, light_model, kwargs_numerics=numerics)
                arc.append(flux / total * image_model.image(lens, source))
                continue
            kernel = PSF("PIXEL", kernel_point_source=psf.kernel(41, width / PIXEL, model))
            image_model = ImageModel(data, kernel, lens_model, light_model, kwargs_numerics=numerics)
            if lensed is None:
                lensed = image_model.source_surface_brightness(source, lens, unconvolved=True)
            arc.append(flux / total * image_model.ImageNumerics.convolution_class.convolution2d(lensed))
        return np.array(arc)


def _odd(kernel: np.ndarray) -> np.ndarray:
    return kernel if kernel.shape[0] % 2 else psf.kernel(kernel.shape[0] + 1, 1.0)


def galsim_rows(manifest: Manifest, models: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The lensed light on 4 x 4 rays by numpy; GalSim interpolates it, convolves and samples at pixel centres."""
    import galsim

    arcs = []
    s = 4
    for i in index:
        row = row_of(manifest, i)
        x, y = (ray_positions(SIZE, PAD, s, PIXEL, row[k]) for k in ("x_center", "y_center"))
        rays = galsim.Image(lensed_light(row, x[None, :], y[:, None]) * (PIXEL / s) ** 2, scale=PIXEL / s)
        lensed = galsim.InterpolatedImage(rays, x_interpolant="lanczos3", normalization="flux")
        arc = []
        for width, flux in zip(row["psf_fwhm_arcsec"], row["src_flux_nmgy"], strict=True):
            kernel = galsim.Gaussian(fwhm=width) if models[i] == "gaussian" else galsim.Moffat(beta=3.5, fwhm=width)
            image = galsim.Image(SIZE, SIZE, scale=PIXEL)
            galsim.Convolve(lensed, kernel).drawImage(image, method="no_pixel")
            arc.append(flux * image.array)
        arcs.append(arc)
    return np.array(arcs)


# --- measuring --------------------------------------------------------------------------------------------------------


def errors(arc: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error over the peak and of the flux, (2, 3): median, 95th percentile and largest over the rows."""
    arc, truth = arc.astype(np.float64), truth.astype(np.float64)
    peak = (np.abs(arc - truth).max((2, 3)) / truth.max((2, 3))).max(1)
    flux = np.abs(arc.sum((2, 3)) / truth.sum((2, 3)) - 1).max(1)
    return np.array([[np.median(e), np.percentile(e, 95), e.max()] for e in (peak, flux)])


def draw(path: Path, results: dict[str, tuple[float, np.ndarray]]) -> None:
    """Draw every tool's error against its speed: ``results`` holds stamps a second and :func:`errors`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(GOAL, color="#5f6872", lw=1, ls=(0, (4, 3)))
    axes.text(1.8e4, GOAL, "goal: 0.001 of the peak", color="#5f6872", size=9, ha="right", va="bottom")
    for name, (speed, error) in results.items():
        ours = name.startswith("lensflow")
        colour = "#d55e00" if ours else "#3a5fa8"
        median, _, largest = error[0]
        axes.plot([speed, speed], [median, largest], color=colour, lw=2, alpha=0.6, solid_capstyle="butt")
        axes.plot(speed, median, "o" if ours else "s", color=colour, ms=8)
        left = name == "lensflow"
        axes.annotate(
            name, (speed, median), (-9 if left else 9, 6), textcoords="offset points", va="center",
            ha="right" if left else "left", color=colour, size=9.5, weight="bold" if name == "lensflow" else "normal",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(1.5, 2e4), ylim=(2e-5, 5e-2))
    axes.set_xlabel("stamps of three bands per second, one core")
    axes.set_ylabel("largest error in a stamp / its peak")
    axes.set_title("Point: median of the rows; bar: up to the worst row", loc="left", size=10, color="#5f6872")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color="#d5d9de", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    print(f"wrote {path}")


def best_of(call: Callable[[], object], repeats: int = 25) -> float:
    """Shortest of some runs, seconds of the processor: what the code costs when nothing else runs."""
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def profile(manifest: Manifest, models: np.ndarray) -> None:
    """Microseconds per stamp of each part, measured by calling it alone."""
    rows = read_rows(manifest, SIZE, PIXEL)
    n = rows.fwhm.shape[0]
    packed = pack.pack(rows, models, 3.5, SIZE, PIXEL)
    wide = int(packed.grid_size.max()) // 16 * 16 + 16
    grid = np.zeros((wide, wide), dtype=np.float32)
    space = shoot.shoot_space()
    samples = 0

    def collect() -> None:
        nonlocal samples
        samples = 0
        for i in range(n):
            s = packed.scalars[i]
            for turn in range(2):
                row = records.Row(
                    packed.geometry[i], packed.series[i], packed.settings[i, turn], s[pack.INDEX], s[pack.B], 1.0
                )
                target = records.Grid(grid.reshape(-1), wide, s[pack.STEP], s[pack.ORIGIN_X], s[pack.ORIGIN_Y])
                samples += shoot.shoot_row(row, target, render_rows.CONSTANTS, space)[2]

    whole = best_of(lambda: render(manifest, psf_model=models)) / n
    packing = best_of(lambda: pack.pack(rows, models, 3.5, SIZE, PIXEL)) / n
    collecting = best_of(collect) / n
    per_row = samples // n
    rng = np.random.default_rng(0)
    x, y = (rng.uniform(30, 70, per_row).astype(np.float32) for _ in range(2))
    value = np.ones(per_row, dtype=np.float32)
    flat = grid.reshape(-1)
    spreading_time = best_of(
        lambda: [spreading.spread(flat, wide, x, y, value, per_row, spreading.WEIGHTS) for _ in range(n)]
    )
    profile_time = best_of(lambda: [light.sersic_in_place(value, x, per_row, 1.0, 1.68) for _ in range(n)])
    without = {**manifest, "psf_fwhm_arcsec": np.full_like(manifest["psf_fwhm_arcsec"], np.nan)}
    no_band = best_of(lambda: render(without, psf_model=models)) / n
    one = {**manifest, "psf_fwhm_arcsec": manifest["psf_fwhm_arcsec"].copy()}
    one["psf_fwhm_arcsec"][:, 1:] = np.nan
    one_band = best_of(lambda: render(one, psf_model=models)) / n
    sizes = f"{np.median(packed.frequencies.max(1)):.0f}^2 frequencies, {np.median(packed.grid_size):.0f}^2 grid"
    print(f"\nlensflow by part, microseconds per stamp ({per_row} samples in two renderings, {sizes}; shortest of 25):")
    for name, value_s in (
        ("whole", whole),
        ("packing (numpy)", packing),
        ("source: nodes, profile, spreading", collecting),
        ("  of which spreading", spreading_time / n),
        ("  of which profile", profile_time / n),
        ("transforms, error image, first band", one_band - no_band),
        ("PSF and pixels, each further band", (whole - one_band) / 2),
    ):
        print(f"  {name:40s} {1e6 * value_s:7.1f}")


def hst_bank() -> dict:
    """Ten galaxies of the HST's COSMOS field, or a galaxy of knots where the file is absent."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from lensflow.lensing.source_image import prepare_image_source
    from tests.lensing.images import Bank, lumpy_source

    hst = TRUTH.parents[1] / "data" / "hst_sources" / "real_galaxy_images_23.5_n1.fits"
    if not hst.exists():
        return Bank(lumpy=lumpy_source())
    from astropy.io import fits

    with fits.open(hst) as hdus:
        return Bank({str(i): prepare_image_source(hdu.data, 0.03) for i, hdu in enumerate(hdus)})


def image_sources(rounds: int, rows: int = 40) -> None:
    """Galaxies' images as sources beside Sersic profiles of the same geometry: six sets of rows, twice.

    The sets are the usual ranges and the whole ranges, SIE and EPL, with the rows' radii and with the galaxies' own.
    Image and Sersic rows take turns, ``rounds`` times; seconds are of the processor. Errors are against the engine with
    ten times the samples. The engine's first settings stayed; docs/engine.md says what was tried on which seeds.
    """
    bank = hst_bank()
    from tests.lensing.images import with_images
    from tests.lensing.references import finer
    from tests.lensing.rows import error_over_peak, flux_error, random_rows, wide_rows

    print("\nimage sources: microseconds a row of a Sersic and of an image, their ratio (median of the rounds);")
    print(
        "error/peak: median, p95, max; flux: max; error over render_err: median, max; rows above 1e-3, unflagged ones"
    )
    for seeds in ((101, 105, 205), (1101, 1105, 1205)):
        for name, made in (
            ("usual SIE", random_rows(rows, seed=seeds[0])),
            ("whole SIE", wide_rows(rows, seeds[1], "SIE")),
            ("whole EPL", wide_rows(rows, seeds[2], "EPL")),
        ):
            shown = with_images(made, *bank)
            own = np.array([bank[k].half_light_radius_arcsec for k in shown["src_id"]])
            for scale in ("row's R_e", "own R_e"):
                sersic = made if scale == "row's R_e" else made | {"src_reff_arcsec": own}
                shown["src_reff_arcsec"] = sersic["src_reff_arcsec"]
                result = render(shown, sources=bank)
                render(sersic)
                seconds = np.empty((rounds, 2))
                for line in seconds:
                    for k, (manifest, sources) in enumerate(((sersic, None), (shown, bank))):
                        start = clock()
                        render(manifest, sources=sources)
                        line[k] = (clock() - start) / rows
                with finer():
                    truth = render(shown, sources=bank).arc
                error, flux = error_over_peak(result.arc, truth), flux_error(result.arc, truth)
                over, above = error / result.render_err, error > GOAL
                median_s = 1e6 * np.median(seconds, axis=0)
                print(f"  {name}, {scale:10s} seed {seeds[('usual SIE', 'whole SIE', 'whole EPL').index(name)]:5d}: "
                      f"{median_s[0]:5.0f} {median_s[1]:5.0f}  x {np.median(seconds[:, 1] / seconds[:, 0]):.2f};  "
                      f"{np.median(error):.1e} {np.quantile(error, 0.95):.1e} {error.max():.1e};  {flux.max():.1e};  "
                      f"{np.median(over):.2f} {over.max():.2f};  {above.sum()}, "
                      f"{(above & (result.render_err <= GOAL)).sum()}", flush=True)  # fmt: skip


def image_against_others(rounds: int, rows: int = 12) -> None:
    """Image sources, SIE, beside Sersic sources of the same geometry and lenstronomy's INTERPOL, in turns.

    Errors are against uniform rays: 16 x 16 to the pixel, 32 x 32 where ours differs by more than 2e-4 from that.
    INTERPOL reads the image by rules of its own between its pixels, and lenstronomy averages over pixels before the
    convolution.
    """
    bank = hst_bank()
    from tests.lensing.images import slow_render, with_images
    from tests.lensing.rows import error_over_peak, random_rows, scalars

    sersic = random_rows(rows, 3, 3)
    shown = with_images(sersic, *bank)
    sersic["src_reff_arcsec"] = np.array([bank[k].half_light_radius_arcsec for k in shown["src_id"]])
    shown["src_reff_arcsec"] = sersic["src_reff_arcsec"]
    calls: dict[str, Callable[[], np.ndarray]] = {
        "lensflow, Sersic": lambda: render(sersic).arc,
        "lensflow, image": lambda: render(shown, sources=bank).arc,
    }
    for rays in (4, 8):
        if other := interpol(shown, bank, rays):
            calls[f"INTERPOL {rays}x{rays}, shared"] = other

    def truth_of(i: int, s: int) -> np.ndarray:
        return slow_render(scalars(shown, i), bank[shown["src_id"][i]], None, SIZE, s, PAD, 2 * SIZE)[None]

    ours = calls["lensflow, image"]()[:, :1]
    truth = np.array([truth_of(i, 16) for i in range(rows)])
    for i in np.flatnonzero(error_over_peak(ours, truth) > 0.2 * GOAL):
        truth[i] = truth_of(i, 32)
    found = {name: call() for name, call in calls.items()}
    seconds = np.empty((min(rounds, 5), len(calls)))
    for line in seconds:
        for k, (name, call) in enumerate(calls.items()):
            repeats = 3 if name.startswith("lensflow") else 1
            start = clock()
            for _ in range(repeats):
                call()
            line[k] = (clock() - start) / repeats / rows
    print(f"\nimage sources and lenstronomy's INTERPOL, SIE, {rows} rows of three bands, galaxies' own R_e, in turns:")
    for k, name in enumerate(calls):
        ratio = np.median(seconds[:, k] / seconds[:, 1])
        line = f"  {name:26s} {1e6 * np.median(seconds[:, k]):9.0f} us a row  {ratio:7.2f} x lensflow's image;  "
        if name == "lensflow, Sersic":
            print(line)
            continue
        arc = found[name][:, :1]
        if name.startswith("INTERPOL"):  # its unit of light, per pixel or per arcsec^2, does not matter here
            arc = arc * (truth.sum((2, 3)) / arc.sum((2, 3)))[..., None, None]
        of_peak, of_flux = ("  ".join(f"{e:.1e}" for e in part) for part in errors(arc, truth))
        print(f"{line}error/peak: {of_peak}; flux " + ("fitted" if name.startswith("INTERPOL") else of_flux))


def component_sources(rows: int = 24, knots: int = 8) -> None:
    """Discs with a bulge (n = 1 to 4) and knots, beside the disc alone and beside a row for each component.

    Errors are of rows with bulges of n = 1 and fewer knots, against uniform rays, 16 x 16 to the pixel.
    """
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.lensing.rows import random_rows, take, with_components
    from tests.lensing.test_components import on_the_caustic, one_by_one

    disc = random_rows(rows, 3, 3, src_reff_arcsec=0.3)
    several = with_components(disc, knots=knots, places=knots)
    only = {
        "bulge": {k: v for k, v in several.items() if "knot" not in k},
        f"{knots} knots": {k: v for k, v in several.items() if "bulge" not in k},
        f"bulge and {knots} knots": several,
    }
    seconds = {"disc": best_of(lambda: render(disc), 9) / rows}
    seconds |= {name: best_of(lambda r=r: render(r), 9) / rows for name, r in only.items()}
    parts = [part for part, _ in one_by_one(several)]
    separate = best_of(lambda: [render(part) for part in parts], 5) / rows
    line = ", ".join(f"{name} {1e6 * s:.0f} ({s / seconds['disc']:.1f} x)" for name, s in seconds.items())
    print(f"\ncomponents, microseconds a row: {line}; {knots + 2} rows of one component each {1e6 * separate:.0f}")
    hard = take(on_the_caustic(6, 5), slice(0, 6))
    found = render(hard)
    truth = np.array([render_row_reference(row_of(hard, i), supersample=16, period_pix=128) for i in range(6)])
    error, flux = errors(found.arc, truth)
    ratio = (np.abs(found.arc - truth).max((2, 3)) / truth.max((2, 3))).max(1) / found.render_err
    numbers = "; flux ".join("  ".join(f"{e:.1e}" for e in v) for v in (error, flux))
    print(f"compact knots on caustics: error/peak: median, p95, max {numbers}; over render_err up to {ratio.max():.1f}")


def interpol(rows: Manifest, bank: dict, rays: int) -> Callable[[], np.ndarray] | None:
    """The rows by lenstronomy, the lensed image shared by the bands; None where it is not installed."""
    try:
        from lenstronomy.Data.imaging_data import ImageData
        from lenstronomy.Data.psf import PSF
        from lenstronomy.ImSim.image_model import ImageModel
        from lenstronomy.LensModel.lens_model import LensModel
        from lenstronomy.LightModel.light_model import LightModel
        from lenstronomy.Util.param_util import phi_q2_ellipticity, shear_polar2cartesian
    except ImportError:
        return None
    lens_model = LensModel(["SIE", "SHEAR"])

    def one(row: dict) -> np.ndarray:
        image = bank[row["src_id"]]
        e1, e2 = phi_q2_ellipticity(row["lens_phi_rad"], row["lens_q"])
        g1, g2 = shear_polar2cartesian(row["shear_phi_rad"], row["shear"])
        lens = [
            {"theta_E": row["theta_e_arcsec"], "e1": e1, "e2": e2, "center_x": 0.0, "center_y": 0.0},
            {"gamma1": g1, "gamma2": g2},
        ]
        scale = image.scale_arcsec(row["src_reff_arcsec"])
        x, y = (np.array([image.x_center, image.y_center]) - 0.5 * (np.array(image.pixels.shape[::-1]) - 1)) * scale
        c, s = np.cos(row["src_phi_rad"]), np.sin(row["src_phi_rad"])
        # lenstronomy centres the array, not its light.
        source = [
            {
                "image": image.pixels / scale**2, "amp": 1.0, "scale": scale, "phi_G": row["src_phi_rad"],
                "center_x": row["src_x_arcsec"] - (c * x - s * y), "center_y": row["src_y_arcsec"] - (s * x + c * y),
            }
        ]  # fmt: skip
        light_model = LightModel(["INTERPOL"])  # it keeps the first image that it is given
        data = ImageData(
            np.zeros((SIZE, SIZE)), 1.0, ra_at_xy_0=-row["x_center"] * PIXEL, dec_at_xy_0=-row["y_center"] * PIXEL,
            transform_pix2angle=np.eye(2) * PIXEL,
        )  # fmt: skip
        arc, lensed = [], None
        for width, flux in zip(row["psf_fwhm_arcsec"], row["src_flux_nmgy"], strict=True):
            kernel = PSF("PIXEL", kernel_point_source=psf.kernel(41, width / PIXEL, "moffat"))
            model = ImageModel(data, kernel, lens_model, light_model, kwargs_numerics={"supersampling_factor": rays})
            if lensed is None:
                lensed = model.source_surface_brightness(source, lens, unconvolved=True)
            arc.append(flux * model.ImageNumerics.convolution_class.convolution2d(lensed))
        return np.array(arc)

    return lambda: np.array([one(row_of(rows, i)) for i in range(len(rows["src_id"]))])


def main(
    rounds: int = 7,
    core: int = 0,
    figure: Annotated[Path | None, typer.Option(help="draw error against speed into this file")] = None,
) -> None:
    """Speed and accuracy of the renderer beside those of other tools, on one pinned core, in one run."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    warnings.filterwarnings("ignore")
    manifest, models, truth = load()
    n = len(models)
    every = np.arange(n)
    tools: dict[str, tuple[Callable, np.ndarray]] = {
        "lensflow": (lensflow, every),
        "lensflow's reference, 8x8 rays": (uniform_reference, every[:3]),
    }
    try:
        import lenstronomy  # noqa: F401

        tools["lenstronomy 4x4, source shared"] = (Lenstronomy(manifest, models, 4, True), every[:16])
        tools["lenstronomy 5x5, as called"] = (Lenstronomy(manifest, models, 5, False), every[:4])
    except ImportError:
        print("lenstronomy is not installed: left out")
    try:
        import galsim  # noqa: F401

        tools["numpy + galsim 4x4"] = (galsim_rows, every[:8])
    except ImportError:
        print("galsim is not installed: left out")
    against = f"; errors against {TRUTH.name}" if truth is not None else ""
    print(f"{n} rows, 3 bands, {SIZE}x{SIZE} pixels, one core{against}; load {os.getloadavg()[0]:.1f}; processor time")
    arcs = {name: tool(manifest, models, index) for name, (tool, index) in tools.items()}  # and compiles
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, (tool, index) in tools.items():
            repeats = 5 if name == "lensflow" else 1
            start = clock()
            for _ in range(repeats):
                tool(manifest, models, index)
            seconds[name].append((clock() - start) / repeats / len(index))
    ours = np.array(seconds["lensflow"])
    print(f"{'':34s} {'stamps/s':>9s} {'lensflow is':>12s}   error/peak: median, p95, max   flux: median, p95, max")
    results = {}
    for name, (_, index) in tools.items():
        ratio, speed = np.median(np.array(seconds[name]) / ours), float(1 / np.median(seconds[name]))
        line = f"{name:34s} {speed:9.1f} {ratio:10.1f} x   "
        if truth is not None:
            results[name] = speed, errors(arcs[name], truth[index])
            line += "  ".join(f"{e:8.1e}" for e in results[name][1].ravel())
        print(line)
    if figure:
        if not results:
            sys.exit(f"no figure: {TRUTH} is absent, so there are no errors to draw")
        draw(figure, results)
    profile(manifest, models)
    component_sources()
    image_sources(rounds)
    image_against_others(rounds)


if __name__ == "__main__":
    typer.run(main)
