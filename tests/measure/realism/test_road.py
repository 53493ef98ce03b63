"""Stamps of another road are refused, with the number."""

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from lensflow.measure.realism.road import road_of_stamps, same_road, some_rows

SIGMA = np.array([0.01, 0.02])


def stamps(seed, n=40, size=64, scale=0.262):
    """Galaxies on sky whose noise is correlated as that of a coadd is: 0.18 at one pixel."""
    random = np.random.default_rng(seed)
    white = random.normal(size=(n, 2, size + 2, size + 2))
    mixed = white[..., 1:-1, 1:-1] + 0.0925 * (
        white[..., :-2, 1:-1] + white[..., 2:, 1:-1] + white[..., 1:-1, :-2] + white[..., 1:-1, 2:]
    )
    mixed /= np.sqrt(1 + 4 * 0.0925**2)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    light = np.exp(-np.hypot(x, y) / 3) * random.uniform(0.5, 2, (n, 2, 1, 1))
    image = (light + mixed * SIGMA[:, None, None]).astype(np.float32)
    return xr.Dataset(
        {
            "image": (("host", "band", "y", "x"), image),
            "invvar": (("host", "band", "y", "x"), np.broadcast_to(1 / SIGMA[:, None, None] ** 2, image.shape).copy()),
            "status": ("host", np.zeros(n, np.uint8)),
            "host_id": ("host", [f"s{seed}-{k}" for k in range(n)]),
        },
        coords={"band": ["g", "r"]},
        attrs={"pixel_scale_arcsec": scale},
    )


@pytest.fixture(scope="module")
def run():
    return stamps(0)


def test_stamps_of_one_road_pass(run):
    found = same_road(stamps(1), run)
    assert found.is_same and found.reason == "" and bool(found.table["ok"].all())
    assert found.table["run"].sel(check="lag_1") == pytest.approx(0.18, abs=0.01)
    assert found.table["run"].sel(check="sky_sigma") == pytest.approx(1.0, abs=0.03)
    assert (found.n_real, found.n_run) == (40, 40)


def test_few_stamps_of_one_road_pass_too(run):
    assert all(same_road(stamps(seed, n=6), run).is_same for seed in range(2, 8))


def test_stamps_moved_by_half_a_pixel_are_refused(run):
    """Spec 10.6: what a viewer's resampling does."""
    moved = stamps(1)
    moved["image"][:] = ndimage.shift(moved["image"].values, (0, 0, 0.5, 0.5), order=1, mode="nearest")
    found = same_road(moved, run)
    assert not found.is_same and found.reason.startswith("real stamps are not of the run's road: ")
    assert "autocorrelation of the sky's noise at one pixel" in found.reason and "sd apart, 0.5 allowed" in found.reason
    assert found.table["difference"].sel(check="lag_1") > 3
    assert not bool(found.table["ok"].sel(check="sky_sigma"))


def test_a_lanczos_shift_is_refused_as_a_bilinear_one_is(run):
    moved = stamps(1)
    moved["image"][:] = ndimage.shift(moved["image"].values, (0, 0, 0.5, 0.5), order=3, mode="nearest")
    assert not same_road(moved, run).is_same


def edited(change):
    found = stamps(1).copy(deep=True)
    return change(found)


def brighter(s):
    s["image"][:] = s["image"] * 1.3
    return s


def rounded(s):
    s["image"][:] = np.round(s["image"] / 0.005) * 0.005
    return s


def zeros(s):
    s["image"].values[:, :, :4] = 0
    return s


def holes(s):
    s["image"].values[:, :, :2] = np.nan
    return s


@pytest.mark.parametrize(
    "change, said",
    [
        (brighter, "sky sigma over that expected from invvar"),
        (rounded, "rounding of the file"),
        (zeros, "exactly 0"),
        (holes, "not finite"),
        (lambda s: s.assign(image=s["image"].astype(np.float64)), "dtype: float64, the run has float32"),
        (lambda s: s.assign_attrs(pixel_scale_arcsec=0.27), "pixel scale: 0.27 arcsec, the run has 0.262"),
        (lambda s: s.assign_coords(band=["r", "z"]), "bands: r, z, the run has g, r"),
        (lambda s: s.isel(y=slice(0, 60), x=slice(0, 60)), "stamp size: 60 pix, the run has 64 pix"),
    ],
)
def test_another_road_is_named(run, change, said):
    found = same_road(edited(change), run)
    assert not found.is_same and said in found.reason


def test_stamps_without_sky_are_not_called_alike(run):
    blind = stamps(1, n=3)
    blind["invvar"][:] = 0
    found = same_road(blind, run)
    assert "too few stamps have blank sky" in found.reason


def test_bands_without_data_say_nothing(run):
    partial = stamps(1)
    partial["invvar"].values[:20, 0] = 0
    partial["image"].values[:20, 0] = 0
    assert same_road(partial, run).is_same
    assert np.isnan(road_of_stamps(partial)["lag_1"].values[:20, 0]).all()


def test_the_stamps_to_measure_depend_on_no_order():
    names, status = np.array([f"h{k}" for k in range(30)]), np.zeros(30, np.uint8)
    status[3] = 2
    rows = some_rows(names, status, 10)
    assert len(rows) == 10 and 3 not in rows
    order = np.random.default_rng(0).permutation(30)
    again = some_rows(names[order], status[order], 10)
    assert sorted(names[order][again]) == sorted(names[rows])
