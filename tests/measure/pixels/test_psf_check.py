"""PSFs of every kind are rendered as they are; each way to spoil one breaks the limit that is named after it."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

from lensflow import schema
from lensflow.config import RunConfig
from lensflow.errors import LensflowWarning
from lensflow.lensing import KernelPSF
from lensflow.lensing.render import render
from lensflow.manifest.build import build_manifest
from lensflow.measure.pixels import Block, Origin, Settings, Status, alarms, findings, measure
from lensflow.measure.pixels import psf_check as module
from lensflow.measure.pixels.psf_check import LIMITS, ROWS, psf_check
from lensflow.measure.pixels.rendering import compare
from lensflow.measure.pixels.specimens import specimens_of, why_not
from lensflow.measure.zoo.faults import FAULTS
from lensflow.measure.zoo.small_run import SmallRun, small_run
from tests.measure.conftest import CONFIG

SIZE = 35


def broken(found: xr.Dataset) -> set[str]:
    """Limits that some row and band exceed."""
    return {k for k, limit in LIMITS.items() if (abs(found[k]) > limit).any()}


def replanned(run, hosts, **plan):
    tree = run.config.model_dump(mode="json")
    config = RunConfig.model_validate({**tree, "plan": {**tree["plan"], **plan}})
    return SmallRun(hosts, build_manifest(hosts, config), config)


def psf_images(fwhm_pix):
    """Crooked images, (host, band, y, x), as wide as ``fwhm_pix`` (host, band): no profile has their shape."""
    x = np.arange(SIZE) - SIZE // 2
    sigma = fwhm_pix[..., None, None] / 2.3548
    across = (x + 0.25 * x[:, None]) / (1.05 * sigma)
    images = np.exp(-0.5 * (across**2 + (x[:, None] / (0.9 * sigma)) ** 2))
    return (images / images.sum(axis=(2, 3), keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def kernel_pairs():
    """Pairs of a run whose PSFs are images, every sixth host without one in g; as `lensflow diagnose` reads them."""
    run = small_run(hosts=12, per_host=2)
    kernel = psf_images(np.nan_to_num(run.hosts["psfsize_arcsec"].values, nan=1.3) / 0.262)
    kernel[~run.hosts["covered"].values] = np.nan
    hosts = run.hosts.assign(psf_kernel=(schema.PSF_KERNEL.dims, kernel))
    source = np.where(hosts["covered"], schema.PsfSource.COADD_PSF, schema.PsfSource.NONE).astype(np.uint8)
    hosts["psf_source"] = hosts["psf_source"].copy(data=source)
    pairs = replanned(run, hosts, psf_model="kernel").pairs()
    of_rows = kernel[pairs["host_index"].values]
    return pairs.assign(psf_kernel=(("sample", *schema.PSF_KERNEL.dims[1:]), of_rows))


@pytest.fixture(scope="module")
def kernels(kernel_pairs):
    return specimens_of(kernel_pairs).rows


@pytest.fixture
def quick(monkeypatch):
    """Test the narrowest and the widest PSF only."""
    monkeypatch.setattr(module, "ROWS", 2)


@pytest.mark.parametrize("model", ["moffat", "gaussian"])
def test_profiles_pass_all_limits_at_every_width(run, pairs, model):
    if model == "gaussian":
        pairs = replanned(run, run.hosts, psf_model="gaussian").pairs()
    kept = specimens_of(pairs).rows
    found = psf_check(kept)
    assert kept.attrs["psf_model"] == model and broken(found) == set()
    assert found.sizes["row"] == ROWS
    widths = np.nanmean(kept["psf_fwhm_arcsec"], axis=1)
    tested = found["fwhm_arcsec"].mean("band").values
    assert tested[0] == pytest.approx(widths.min()) and tested[-1] == pytest.approx(widths.max())


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("sigma for FWHM", {"image_error", "width"}),
        ("psfsize as Moffat FWHM", {"image_error", "width"}),
        ("half-pixel centre", {"image_error", "centroid_pix"}),
    ],
)
def test_a_fault_of_a_profile_breaks_the_limits_that_it_should(pairs, name, limits):
    renderer = next(f.renderer for f in FAULTS if f.name == name)
    assert broken(psf_check(specimens_of(pairs).rows, renderer)) >= limits


def test_a_renderer_that_is_not_linear_or_wraps_round_is_told(pairs, quick):
    def brighter(manifest, **how):
        made = render(manifest, **how)
        return replace(made, arc=made.arc + np.float32(1e-3) * made.arc**2)

    def wrapped(manifest, **how):
        made = render(manifest, **how)
        return replace(made, arc=made.arc + 0.01 * np.roll(made.arc, made.arc.shape[-1] // 2 + 29, axis=-1))

    kept = specimens_of(pairs).rows
    assert "linearity" in broken(psf_check(kept, brighter))
    assert "wrap_round" in broken(psf_check(kept, wrapped))


@pytest.mark.slow
def test_a_run_with_psf_images_has_no_alarm_and_its_psfs_and_arcs_are_tested(kernel_pairs, kernels):
    found = psf_check(kernels)
    assert kernels.attrs["psf_model"] == "kernel" and why_not(kernels) == ""
    assert broken(found) == set() and np.isfinite(found["image_error"]).any("row").all()
    absent = ~np.isfinite(kernel_pairs["psf_fwhm_arcsec"].values[:, 0])
    assert absent.any() and np.isnan(kernel_pairs["psf_kernel"].values[absent, 0]).all()
    results = measure(Block(kernel_pairs, CONFIG)).results(Settings(CONFIG, 1))
    said = [f for f in findings(results) if f.diagnostic in ("psf", "rendering")]
    assert alarms(findings(results)) == {}
    slow = "beside the slow reference"
    assert {f.check for f in said if f.status is Status.NOT_TESTED} == {slow}  # it knows no images


def as_given(change):
    """Renderer that takes the kernels as ``change`` leaves them: not centred, not normalised."""

    def renderer(manifest, psf_model, **how):
        taken = np.empty(psf_model.shape[:2], dtype=object)
        for i, b in np.ndindex(taken.shape):
            kernel = psf_model[i, b]
            if not np.isnan(kernel).all():
                taken[i, b] = KernelPSF(change(kernel), 0.0, 0.0, False, 0.0, 1 / float((kernel**2).sum()))
        return render(manifest, psf_model=taken, **how)

    return renderer


def moved(kernel):
    return np.ascontiguousarray(ndimage.shift(kernel, (0.0, 0.5), order=5))


@pytest.mark.parametrize(
    ("change", "limits"),
    [
        (lambda k: k / k.sum(), set()),
        (moved, {"image_error", "centroid_pix"}),
        (lambda k: np.ascontiguousarray(k[::-1, :]), {"image_error"}),
        (lambda k: np.ascontiguousarray(k[13:-13, 13:-13]), {"image_error", "flux", "width"}),
        (lambda k: k[13:-13, 13:-13] / k[13:-13, 13:-13].sum(), {"image_error", "width"}),
        (lambda k: 1.01 * k, {"image_error", "flux"}),
    ],
    ids=["as it is", "half a pixel off", "upside down", "clipped", "clipped and normalised", "not normalised"],
)
def test_a_renderer_that_spoils_a_kernel_breaks_the_named_limits(kernels, change, limits, quick):
    found = broken(psf_check(kernels, as_given(change)))
    assert found >= limits and (limits or not found)


def with_kernels(kernels, change):
    stored = kernels["psf_kernel"]
    return kernels.assign(psf_kernel=(stored.dims, change(stored.values).astype(np.float32)))


def test_stored_kernels_of_any_normalisation_are_the_same_psf(kernels, quick):
    assert broken(psf_check(with_kernels(kernels, lambda k: 7 * k))) == set()


def test_stored_kernels_that_are_off_centre_are_expected_where_the_renderer_puts_them(kernels, quick):
    off = with_kernels(kernels, lambda k: np.where(np.isnan(k), k, ndimage.shift(np.nan_to_num(k), (0, 0, 0.3, -0.2))))
    with pytest.warns(LensflowWarning, match="recentred"):
        assert broken(psf_check(off)) == set()
    # One that leaves them there is half a pixel wrong, and so are arcs stored by it.
    assert {"centroid_pix", "image_error"} <= broken(psf_check(off, as_given(lambda k: k / k.sum())))


def test_stored_kernels_that_lack_their_wings_break_the_limit_of_clipped_flux(kernels, quick):
    x = np.arange(SIZE) - SIZE // 2
    moffat = (1 + (x**2 + x[:, None] ** 2) / 4.0**2) ** -2.5
    short = with_kernels(kernels, lambda k: np.where(np.isnan(k), k, moffat))
    with pytest.warns(LensflowWarning, match="lies beyond"):
        found = psf_check(short)
    assert broken(found) == {"clipped"}
    judged = [f for f in findings({"psf": found}) if f.status is Status.ALARM]
    assert [f.check for f in judged] == ["whole within its image"]


def test_an_arc_made_with_another_kernel_is_noticed(kernels):
    turned = with_kernels(kernels, lambda k: k[..., ::-1, :])
    assert np.nanmax(compare(turned, Origin()).error) > 0.01
    assert np.nanmax(compare(kernels, Origin()).error) < 1e-6


def test_kernels_that_are_not_there_are_said_to_be_missing(kernel_pairs):
    found = psf_check(specimens_of(kernel_pairs.drop_vars("psf_kernel")).rows)
    assert found.sizes["row"] == 0
    (judged,) = findings({"psf": found})
    assert judged.status is Status.NOT_TESTED and "`lensflow diagnose` has them" in judged.text
