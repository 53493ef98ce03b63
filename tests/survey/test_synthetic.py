"""The synthetic survey: real file layout, light where the WCS says, noise and galaxies like the real ones."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy import ndimage

from lensflow.config import SyntheticConfig
from lensflow.errors import SurveyError
from lensflow.lensing import psf
from lensflow.survey.layout import BAND_PRODUCTS, Layout
from lensflow.survey.synthetic import bricks as synthetic
from lensflow.survey.synthetic import sky as synthetic_sky
from lensflow.survey.synthetic.bricks import (
    brick_arrays,
    brick_scene,
    plan_bricks,
    write_brick,
    write_survey,
    write_targets,
)
from lensflow.survey.synthetic.spectra import galaxy_spectrum, through_moffat

SMALL = SyntheticConfig(n_bricks=3, brick_size_pix=400, hosts_per_brick=16, bricks_without_g=1)
BANDS = ("g", "r", "z")
DES = Path(__file__).parents[3] / "shared/data/des_lrg"
BIG_STAMP = 91  # as the real stamps of shared/data/des_lrg


def mad_sigma(values: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def measure_host(image: np.ndarray, x: float, y: float, scale: float) -> dict[str, float]:
    """Figures of spec/survey.md for one host; ``image`` is (band, 91, 91), the sky is what lies beyond 25 pixels."""
    yy, xx = np.indices(image.shape[1:])
    dx, dy = xx - x, yy - y
    r = np.hypot(dx, dy)
    sky, aperture, core = r > 25, r * scale < 5, r < 5
    out: dict[str, float] = {}
    for band, plane in zip(BANDS, image.astype(np.float64), strict=True):
        a = plane - np.median(plane[sky])
        flux = a[aperture].sum()
        out[f"mag_{band}"] = 22.5 - 2.5 * np.log10(max(flux, 1e-3))
        out[f"sky_{band}"] = mad_sigma(a[sky])
        if band != "r":
            continue
        order = np.argsort(r[aperture])
        grown = np.maximum.accumulate(np.cumsum(a[aperture][order]))
        out["half_light_arcsec"] = float(np.interp(flux / 2, grown, r[aperture][order])) * scale
        out["core_share"] = a[core].sum() / flux
        out["peak_r"] = a[core].max()
        near = r < 8
        weight = a[near] / a[near].sum()
        mx, my = (weight * dx[near]).sum(), (weight * dy[near]).sum()
        cxx, cyy = (weight * (dx[near] - mx) ** 2).sum(), (weight * (dy[near] - my) ** 2).sum()
        cxy = (weight * (dx[near] - mx) * (dy[near] - my)).sum()
        spread = np.hypot((cxx - cyy) / 2, cxy)
        out["axis_ratio"] = float(np.sqrt(max((cxx + cyy) / 2 - spread, 0) / ((cxx + cyy) / 2 + spread)))
        smooth = ndimage.gaussian_filter(a, 1.0)
        labels, n = ndimage.label(smooth > 6 * mad_sigma(smooth[sky]))
        host = labels[int(y + 0.5), int(x + 0.5)]
        out["neighbours"] = sum(1 for i in range(1, n + 1) if i != host and r[labels == i].min() < 32)
    out["g-r"], out["r-z"] = out["mag_g"] - out["mag_r"], out["mag_r"] - out["mag_z"]
    return out


def blank_sky(image: np.ndarray, good: np.ndarray) -> tuple[float, float]:
    """Sigma (MAD) and lag-1 correlation of the pixels away from everything that is detected."""
    smooth = ndimage.gaussian_filter(image.astype(np.float64), 1.0)
    ok = good & ~ndimage.binary_dilation(smooth > np.median(smooth) + 3 * mad_sigma(smooth), iterations=5)
    a = image - np.median(image[ok])
    pairs = ok[:, 1:] & ok[:, :-1]
    return mad_sigma(a[ok]), float((a[:, 1:] * a[:, :-1])[pairs].mean() / (a[ok] ** 2).mean())


def host_table(config: SyntheticConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Figures of all hosts with a whole, unmasked stamp in the bricks that have all bands."""
    rows = []
    for brick in plan_bricks(config):
        if not brick.has_g:
            continue
        arrays, hosts = brick_arrays(brick, config, seed), brick_scene(brick, config, seed).hosts
        image = np.stack([arrays["image", b] for b in BANDS])
        good = np.logical_and.reduce([arrays["invvar", b] > 0 for b in BANDS]) & (arrays["maskbits", ""] <= 1)
        for x, y in zip(hosts.x, hosts.y, strict=True):
            j, i = int(np.floor(x - 44.5)), int(np.floor(y - 44.5))
            box = np.s_[..., i : i + BIG_STAMP, j : j + BIG_STAMP]
            if min(i, j) >= 0 and good[box].shape == (BIG_STAMP, BIG_STAMP) and good[box].all():
                rows.append(measure_host(image[box], x - j, y - i, synthetic_sky.PIXEL_SCALE_ARCSEC))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("survey")
    write_survey(str(root), SMALL, BANDS, seed=5)
    return root


def data(root: Path, brick: str, product: str, band: str = "") -> np.ndarray:
    return fits.getdata(Layout(str(root)).path(brick, product, band), ext=1)


def digests(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.md5(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


# --- the plan and the files


def test_bricks_carry_real_names_and_lie_side_by_side() -> None:
    bricks = plan_bricks(SyntheticConfig(n_bricks=1500))
    assert [b.name for b in bricks[:3]] == ["0591m305", "0594m305", "0597m305"]
    assert bricks[0].ra_deg == pytest.approx(59.180064308682, abs=1e-9)  # the real one
    assert len({b.name for b in bricks}) == 1500
    step = (bricks[1].ra_deg - bricks[0].ra_deg) * np.cos(np.radians(30.5))
    assert step == pytest.approx(0.25, rel=0.01)


def test_files_look_like_the_survey_s(survey: Path) -> None:
    brick = plan_bricks(SMALL)[0]
    for product, band in [(p, b) for p in BAND_PRODUCTS for b in BANDS] + [("maskbits", "")]:
        with fits.open(Layout(str(survey)).path(brick.name, product, band), disable_image_compression=True) as hdus:
            header = hdus[1].header
        assert (header["ZIMAGE"], header["ZNAXIS1"], header["ZNAXIS2"]) == (True, 400, 400)
        assert (header["ZTILE1"], header["ZTILE2"]) == (100, 100)
        assert header["CTYPE1"] == "RA---TAN"
        assert header["CRPIX1"] == 200.5
        assert header["BRICKNAM"] == brick.name
        if product in ("image", "invvar", "psfsize"):
            assert (header["ZCMPTYPE"], header["ZBITPIX"]) == ("RICE_1", -32)
            assert header["ZQUANTIZ"] == "SUBTRACTIVE_DITHER_2"
        elif product == "nexp":
            assert header["ZCMPTYPE"] == "HCOMPRESS_1"


def test_files_read_back_as_what_was_drawn(survey: Path) -> None:
    brick = plan_bricks(SMALL)[0]
    for (product, band), drawn in brick_arrays(brick, SMALL, 5).items():
        read = data(survey, brick.name, product, band)
        if product in ("nexp", "maskbits"):
            assert np.issubdtype(read.dtype, np.integer)
            np.testing.assert_array_equal(read, drawn)
        else:
            assert read.dtype.newbyteorder("=") == np.float32
            np.testing.assert_array_equal(read == 0, drawn == 0)
            noise = synthetic_sky.RECIPES[band].sky_sigma_nmgy
            step = {"image": noise / 16, "invvar": 1e-3 / noise**2, "psfsize": 1e-4}[product]
            np.testing.assert_allclose(read, drawn, rtol=1e-6, atol=0.51 * step)


def test_a_band_has_the_same_pixels_whichever_others_are_wanted() -> None:
    for brick in plan_bricks(SMALL)[1:]:  # the last one without g
        every = brick_arrays(brick, SMALL, 5)
        for band in BANDS:
            one = brick_arrays(brick, SMALL, 5, (band,))
            assert set(one) == {p for p in every if p[1] in (band, "")}
            for product, array in one.items():
                np.testing.assert_array_equal(array, every[product])


@pytest.mark.parametrize("size", [250, 301, 302])
def test_brick_sizes_need_not_fit_the_tiles(size: int, tmp_path: Path) -> None:
    config = SyntheticConfig(n_bricks=1, brick_size_pix=size, hosts_per_brick=4, bricks_without_g=0)
    brick = plan_bricks(config)[0]
    assert write_brick(str(tmp_path), brick, config, ("r",), 1) > 0
    np.testing.assert_array_equal(data(tmp_path, brick.name, "nexp", "r"), brick_arrays(brick, config, 1)["nexp", "r"])


def test_masks_and_medians_are_those_of_the_whole_image() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((60, 80)) < 0.02
    np.testing.assert_array_equal(synthetic_sky.grown(mask), ndimage.binary_dilation(mask))
    yy, xx = np.indices((60, 60))
    discs = (30.2, 10.7, 8.0), (-3.0, 58.5, 9.5), (70.0, 70.0, 5.0), (20.0, 20.0, 200.0), (12.0, 9.0, 0.5)
    for x, y, radius in discs:
        expected = (xx - x) ** 2 + (yy - y) ** 2 < radius**2
        np.testing.assert_array_equal(synthetic_sky.disc_mask(60, x, y, radius), expected)
    for low, high in ((2, 3), (2, 7), (0, 2)):
        nexp = (rng.integers(low, high, (40, 40)) + 1).astype(np.int16)
        light, noise = rng.normal(size=(2, 40, 40)).astype(np.float32)
        variance = rng.uniform(0.5, 2, (40, 40))
        total = variance + np.maximum(light, 0) / (50.0 * nexp / np.median(nexp))
        image, invvar = synthetic_sky.observed(light, noise, variance.copy(), nexp, 50.0)
        np.testing.assert_array_equal(image, light + noise * np.sqrt(total).astype(np.float32))
        np.testing.assert_array_equal(invvar, (1 / total).astype(np.float32))


def test_compiled_spectra_are_numpys() -> None:
    box, (k, value) = 48, synthetic_sky.sersic_transform(3.0)
    kx, ky = 2 * np.pi * np.fft.rfftfreq(box), 2 * np.pi * np.fft.fftfreq(box)
    phase = np.exp(-1j * kx * 20.3) * np.exp(-1j * ky[:, None] * 23.9)
    for q, reff in ((0.6, 5.0), (0.4, 40.0), (1.0, 0.002)):  # the second beyond the table's end
        c, s = np.cos(0.7), np.sin(0.7)
        along, across = kx * c + ky[:, None] * s, ky[:, None] * c - kx * s
        shape = np.interp(reff * np.sqrt(along**2 / q + across**2 * q), k, value)
        spectrum = phase.copy()
        galaxy_spectrum(kx, ky, c, s, q, reff, k, value, spectrum)
        np.testing.assert_allclose(spectrum, shape * phase, rtol=1e-14, atol=0)
    radius = np.hypot(kx, ky[:, None])
    out, half, alpha = np.empty_like(phase), radius[: box // 2 + 1], synthetic_sky.moffat_alpha(4.0)
    through_moffat(phase, half, alpha, np.exp(-half * alpha), 2.5, out)
    expected = phase * (2.5 * psf.moffat_transform(radius / (2 * np.pi), 4.0, 3.5))
    np.testing.assert_allclose(out, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(survey: Path, tmp_path: Path) -> None:
    again, other, part = tmp_path / "again", tmp_path / "other", tmp_path / "part"
    write_survey(str(again), SMALL, BANDS, seed=5)
    assert digests(again) == digests(survey)
    last = plan_bricks(SMALL)[-1]
    write_brick(str(part), last, SMALL, ("z",), 5)  # alone, with one band: the same files
    assert digests(part).items() <= digests(survey).items()
    write_brick(str(other), last, SMALL, BANDS, 6)
    assert not set(digests(other).values()) & set(digests(survey).values())


def test_bricks_written_by_threads_at_once_are_those_of_one(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cfitsio's HCOMPRESS encoder keeps its state in variables of the process: files came out garbled."""
    brick = plan_bricks(SMALL)[-1]
    arrays = brick_arrays(brick, SMALL, 5)
    monkeypatch.setattr(synthetic, "brick_arrays", lambda *_: arrays)  # so that the encoders meet
    roots = [tmp_path / str(k) for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda root: write_brick(str(root), brick, SMALL, BANDS, 5), roots))
    expected = {path: digest for path, digest in digests(survey).items() if brick.name in path}
    assert any("nexp" in path for path in expected)
    for root in roots:
        assert digests(root) == expected


def test_complete_files_stay_and_broken_or_stale_ones_are_replaced(tmp_path: Path) -> None:
    brick, root = plan_bricks(SMALL)[0], str(tmp_path)
    total = write_brick(root, brick, SMALL, ("r",), 5)
    files = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    assert total == sum(p.stat().st_size for p in files)
    assert write_brick(root, brick, SMALL, ("r",), 5) == 0
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    assert write_brick(root, brick, SMALL, ("r",), 5) == len(whole)
    assert files[0].read_bytes() == whole
    assert write_brick(root, brick, SMALL, ("r",), 6) > 0  # another seed


def test_a_write_that_dies_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: fits.HDUList, name: Path) -> None:
        Path(name).write_bytes(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(fits.HDUList, "writeto", die)
    with pytest.raises(OSError, match="disk full"):
        write_brick(str(tmp_path), plan_bricks(SMALL)[0], SMALL, ("r",), 5)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_band_without_recipe_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="no recipe for band 'i'"):
        write_targets(str(tmp_path), SMALL, ("r", "i"), 0)


def test_too_many_hosts_for_the_brick_is_an_error() -> None:
    config = SyntheticConfig(n_bricks=1, brick_size_pix=200, hosts_per_brick=3000, bricks_without_g=0)
    brick = plan_bricks(config)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic.random, "generator", lambda *_: _Stuck(np.random.Philox(0)))
        with pytest.raises(SurveyError, match=r"no room for 3000 hosts .*hosts_per_brick"):
            brick_scene(brick, config, 0)


class _Stuck(np.random.Generator):
    """Draws that always fall in the middle."""

    def uniform(self, low=0.0, high=1.0, size=None):  # type: ignore[no-untyped-def, override]
        return np.full(size, (low + high) / 2) if size is not None else (low + high) / 2


# --- what is missing where


def test_a_brick_without_g_has_no_g_files(survey: Path) -> None:
    for brick in plan_bricks(SMALL):
        found = {p.name.split("-", 2)[2] for p in Path(Layout(str(survey)).folders(brick.name, ("r",))[0]).iterdir()}
        assert len(found) == (13 if brick.has_g else 9)
        assert any("-g.fits" in name for name in found) == brick.has_g
    assert [b.has_g for b in plan_bricks(SMALL)] == [True, True, False]


def test_the_corner_without_z_is_zero_in_z_only(survey: Path) -> None:
    name = plan_bricks(SMALL)[0].name
    for product in BAND_PRODUCTS:
        z = data(survey, name, product, "z")
        assert not z[:80, :80].any()
        assert (z[80:, :] != 0).mean() > 0.95
        assert (data(survey, name, product, "r")[:80, :80] != 0).mean() > 0.95


def test_every_brick_has_a_hole_in_a_psf_map_where_it_is_covered(survey: Path) -> None:
    for brick in plan_bricks(SMALL):
        holes = 0
        for band in brick.bands:
            psfsize, nexp = data(survey, brick.name, "psfsize", band), data(survey, brick.name, "nexp", band)
            holes += (((psfsize == 0) & (nexp > 0)).sum()) > 500
        assert holes == 1


def test_masks_show_stars_a_trail_and_the_border(survey: Path) -> None:
    for brick in plan_bricks(SMALL):
        bits = data(survey, brick.name, "maskbits")
        for bit in (0, 1, 8, 9, 11):
            assert (bits >> bit & 1).any(), bit
        assert (bits[:5] & 1).all()
        assert not (bits[20:-20, 20:-20] & 1).any()
        allmask = {b: (bits & synthetic_sky.ALLMASK[b]) > 0 for b in brick.bands}
        assert max(m.sum() for m in allmask.values()) > 500  # the trail
        for band, masked in allmask.items():
            assert not data(survey, brick.name, "invvar", band)[masked].any()
        saturated = (bits & synthetic_sky.SATUR["r"]) > 0
        assert data(survey, brick.name, "image", "r")[saturated].max() > 10  # the star is in the image


# --- hosts


def test_targets_match_the_bricks(survey: Path) -> None:
    table = Table.read(survey / "targets.fits")
    bricks = plan_bricks(SMALL)
    assert table.colnames == [
        "host_id", "ra_deg", "dec_deg", "brickname", "flux_g_nmgy", "flux_r_nmgy", "flux_z_nmgy", "type",
    ]  # fmt: skip
    assert len(set(table["host_id"])) == len(table) == 3 * SMALL.hosts_per_brick
    for brick in bricks:
        rows = table[table["brickname"] == brick.name]
        hosts = brick_scene(brick, SMALL, 5).hosts
        np.testing.assert_allclose(np.ma.filled(rows["flux_r_nmgy"], np.nan), hosts.flux_nmgy[:, 1], rtol=1e-6)
        assert np.isnan(np.ma.filled(rows["flux_g_nmgy"], np.nan)).all() == (not brick.has_g)
        wcs = WCS(fits.getheader(Layout(str(survey)).path(brick.name, "image", "r"), ext=1))
        x, y = wcs.world_to_pixel_values(rows["ra_deg"], rows["dec_deg"])
        np.testing.assert_allclose(np.stack([x, y]), np.stack([hosts.x, hosts.y]), atol=1e-6)
        without_z = (x < 79.5) & (y < 79.5) & brick.has_corner_without_z
        np.testing.assert_array_equal(np.isnan(np.ma.filled(rows["flux_z_nmgy"], np.nan)), without_z)


def test_some_hosts_are_at_the_edge_in_the_corner_and_in_the_hole_and_none_coincide() -> None:
    config = SyntheticConfig()
    for brick in plan_bricks(config):
        scene = brick_scene(brick, config, 0)
        x, y, last = scene.hosts.x, scene.hosts.y, config.brick_size_pix - 1
        to_edge = np.min([x, y, last - x, last - y], axis=0)
        assert 2 <= (to_edge < 31).sum() <= 3
        assert to_edge.min() > 0
        assert (np.hypot(x - scene.hole[0], y - scene.hole[1]) < scene.hole[2]).any()
        assert ((x < scene.corner_pix) & (y < scene.corner_pix)).sum() >= (3 if brick.has_corner_without_z else 0)
        apart = np.hypot(x[:, None] - x, y[:, None] - y)[np.triu_indices(x.size, 1)]
        assert apart.min() >= 24


def test_hosts_sit_anywhere_within_a_pixel() -> None:
    config = SyntheticConfig(hosts_per_brick=300)
    hosts = [brick_scene(b, config, 3).hosts for b in plan_bricks(config)]
    for axis in ("x", "y"):
        part = np.concatenate([getattr(h, axis) for h in hosts]) % 1.0
        counts = np.histogram(part, 10, (0, 1))[0]
        assert ((counts - 120) ** 2 / 120).sum() < 27.9  # chi-square, 9 degrees of freedom, p = 0.001


def test_the_wcs_leads_to_the_light(tmp_path: Path) -> None:
    config = SyntheticConfig(n_bricks=1, brick_size_pix=600, hosts_per_brick=30, bricks_without_g=0)
    table = Table.read(write_survey(str(tmp_path), config, ("r",), seed=2))
    path = Layout(str(tmp_path)).path(table["brickname"][0], "image", "r")
    image, wcs = fits.getdata(path, ext=1).astype(float), WCS(fits.getheader(path, ext=1))
    offsets = []
    for x, y in zip(*wcs.world_to_pixel_values(table["ra_deg"], table["dec_deg"]), strict=True):
        j, i = int(x) - 10, int(y) - 10
        if min(i, j) < 0 or max(i, j) + 21 > 600:
            continue
        yy, xx = np.mgrid[i : i + 21, j : j + 21]
        cx, cy = x, y
        for _ in range(30):  # centroid under a round weight that moves along
            weight = np.exp(-0.5 * ((xx - cx) ** 2 + (yy - cy) ** 2) / 2.0**2) * image[i : i + 21, j : j + 21]
            dx, dy = (weight * (xx - cx)).sum() / weight.sum(), (weight * (yy - cy)).sum() / weight.sum()
            cx, cy = cx + 2 * dx, cy + 2 * dy
        offsets.append(complex(cx - x, cy - y))
    alone = [o for o in offsets if abs(o) < 1]  # the others have a brighter neighbour
    assert len(alone) >= 0.85 * len(offsets) >= 20
    assert abs(np.mean(alone)) < 0.05
    assert np.mean(np.abs(alone)) < 0.1


# --- pixels


def test_exponential_discs_have_their_known_transform() -> None:
    k, value = synthetic_sky.sersic_transform(1.0)
    np.testing.assert_allclose(value, (1 + (k / 1.678347) ** 2) ** -1.5, atol=2e-5)


@pytest.mark.parametrize("n", [1.0, 4.0])
def test_a_rendered_galaxy_matches_brute_force(n: float) -> None:
    # The profile on a polar grid that resolves the cusp, each point spread by the Moffat formula: no Fourier transform.
    fwhm, reff_pix, q, phi, x0, y0 = 4.0, 3.0, 0.6, 0.7, 33.3, 30.8
    galaxy = synthetic_sky.Galaxies(
        *(np.array([v]) for v in (x0, y0)), np.array([[2.0]]),
        *(np.array([v]) for v in (reff_pix * synthetic_sky.PIXEL_SCALE_ARCSEC, n, q, phi)),
    )  # fmt: skip
    image = np.zeros((64, 64), np.float32)
    synthetic_sky.add_galaxies([image], galaxy, np.array([[fwhm]]))
    u = (np.arange(4000) + 0.5) / 4000 * 30 ** (1 / n)
    b = synthetic_sky.special.gammaincinv(2 * n, 0.5)
    radius, angle = u**n, (np.arange(96) + 0.5) * 2 * np.pi / 96
    weight = np.exp(-b * u) * u ** (2 * n - 1) * np.cos(np.clip((radius - 20) / 10, 0, 1) * np.pi / 2) ** 2
    major, minor = np.outer(radius, np.cos(angle)) / np.sqrt(q), np.outer(radius, np.sin(angle)) * np.sqrt(q)
    sx = x0 + reff_pix * (major * np.cos(phi) - minor * np.sin(phi))
    sy = y0 + reff_pix * (major * np.sin(phi) + minor * np.cos(phi))
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / 3.5) - 1))
    for j, i in [(33, 31), (36, 33), (28, 31), (40, 20), (10, 50)]:
        moffat = 2.5 / (np.pi * alpha**2) * (1 + ((j - sx) ** 2 + (i - sy) ** 2) / alpha**2) ** -3.5
        truth = 2.0 * (weight @ moffat.mean(axis=1)) / weight.sum()
        assert image[i, j] == pytest.approx(truth, abs=3e-4 * float(image.max()))


@pytest.mark.parametrize("fwhm", [3.0, 4.0, 6.0])
def test_psf_has_the_noise_equivalent_area_that_psfsize_declares(fwhm: float) -> None:
    star = synthetic_sky.Stars(np.array([40.3]), np.array([39.8]), np.array([[1.0]]), np.array([20.0]))
    image = np.zeros((81, 81), np.float32)
    synthetic_sky.add_stars([image], star, np.array([[fwhm]]))
    area = image.sum(dtype=float) ** 2 / (image.astype(float) ** 2).sum()
    psfsize = 2.3548 * np.sqrt(area / (4 * np.pi))
    assert fwhm / psfsize == pytest.approx(synthetic_sky.FWHM_PER_PSFSIZE, rel=0.025)  # 2 % of the light is halo


def test_psf_sizes_over_bricks_follow_the_percentiles_of_the_survey() -> None:
    bricks = plan_bricks(SyntheticConfig(n_bricks=1000, bricks_without_g=0))
    sizes = [synthetic.psfsize_arcsec(b, 0) for b in bricks]
    wanted = {
        "g": (1.132, 1.247, 1.300, 1.517),
        "r": (1.049, 1.118, 1.148, 1.299),
        "z": (0.977, 1.046, 1.080, 1.250),
    }
    for band, percentiles in wanted.items():
        np.testing.assert_allclose(np.percentile([s[band] for s in sizes], (1, 5, 10, 50)), percentiles, rtol=0.035)


def test_noise_is_that_of_dr9_and_invvar_tells_its_truth() -> None:
    config = SyntheticConfig(n_bricks=2, brick_size_pix=500, hosts_per_brick=10, bricks_without_g=0)
    sigma: dict[str, list[float]] = {b: [] for b in BANDS}
    for brick in plan_bricks(config):
        arrays = brick_arrays(brick, config, 1)
        for band in BANDS:
            image, invvar = arrays["image", band], arrays["invvar", band]
            scaled, correlation = blank_sky(image * np.sqrt(invvar), (invvar > 0) & (arrays["maskbits", ""] == 0))
            assert scaled == pytest.approx(1, abs=0.04)
            assert correlation == pytest.approx(0.19, abs=0.03)
            sigma[band].append(float(np.median(invvar[invvar > 0]) ** -0.5))
    for band, wanted in zip(BANDS, (0.0019, 0.0024, 0.0082), strict=True):
        assert np.mean(sigma[band]) == pytest.approx(wanted, rel=0.1)


def test_galaxies_add_their_poisson_noise_to_the_variance() -> None:
    brick = plan_bricks(SMALL)[1]
    arrays, hosts = brick_arrays(brick, SMALL, 5), brick_scene(brick, SMALL, 5).hosts
    variance = 1 / np.maximum(arrays["invvar", "r"], 1e-9)
    ratios = []
    for x, y in zip(np.rint(hosts.x).astype(int), np.rint(hosts.y).astype(int), strict=True):
        if min(x, y) > 20 and max(x, y) < 380 and arrays["invvar", "r"][y, x] > 0:
            around = variance[y - 15 : y + 16, x - 15 : x + 16]
            ratios.append((variance[y, x] - np.median(around)) / arrays["image", "r"][y, x])
    assert np.median(ratios) == pytest.approx(1 / 52_000, rel=0.3)


# --- the hosts against the real ones (docs/synthetic-survey.md)

# name: (median of spec/survey.md, tolerance). The measured peak is lower than the real stamps': their seeing
# was better than the median brick's.
WANTED = {
    "mag_g": (21.9, 0.2), "mag_r": (20.1, 0.2), "mag_z": (18.9, 0.2), "g-r": (1.81, 0.1), "r-z": (1.13, 0.1),
    "half_light_arcsec": (1.34, 0.2), "core_share": (0.49, 0.07), "axis_ratio": (0.92, 0.05), "peak_r": (0.17, 0.06),
    "neighbours": (1, 0.5),
}  # fmt: skip


@pytest.mark.slow
def test_hosts_look_like_real_luminous_red_galaxies() -> None:
    table = host_table(SyntheticConfig())
    assert table["mag_r"].size > 150
    for name, (median, tolerance) in WANTED.items():
        assert np.median(table[name]) == pytest.approx(median, abs=tolerance), name
    assert np.percentile(table["neighbours"], 95) == pytest.approx(4, abs=1)


@pytest.mark.real
def test_the_ruler_gives_the_figures_of_the_real_stamps() -> None:
    if not DES.exists():
        pytest.skip(f"{DES} is not there")
    stamps = np.stack([fits.getdata(DES / f"image-{b}.fits") for b in BANDS], axis=1)
    rows = [measure_host(stamp, 45, 45, 0.263) for stamp in stamps]
    for name, (median, tolerance) in WANTED.items():
        assert np.median([row[name] for row in rows]) == pytest.approx(median, abs=tolerance), name
