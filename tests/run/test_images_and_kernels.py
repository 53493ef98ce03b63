"""Runs whose sources are images of galaxies and whose PSFs are the survey's own images, from bricks to pairs."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import lensflow as lf
from lensflow import run as steps
from lensflow.lensing.render import render
from lensflow.measure.pixels import Status, findings
from lensflow.schema import PsfSource
from lensflow.store.open import open_all_pairs, open_cutouts, open_manifest
from lensflow.store.run_folder import RunFolder
from tests.factories import make_config
from tests.quick import no_figures
from tests.survey.brick_factory import BRICK, brick_wcs, file_of, write_brick

pytestmark = pytest.mark.whole

N_HOSTS, KERNEL = 6, 31


@pytest.fixture(scope="module", autouse=True)
def quick():
    """The slow reference is asked here, unlike in other tests of runs."""
    with no_figures():
        yield


def psf_images(path):
    """Elliptical images, each band's another: no profile that the run could assume has their shape."""
    y, x = np.mgrid[:KERNEL, :KERNEL] - KERNEL // 2
    hdus = []
    for band, width in zip("grz", (2.4, 2.1, 1.9), strict=True):
        hdu = (fits.ImageHDU if hdus else fits.PrimaryHDU)(
            np.exp(-0.5 * ((x / width) ** 2 + ((y + 0.3 * x) / (0.8 * width)) ** 2)).astype(np.float32)
        )
        hdu.header["BAND"] = band
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)


def source_images(folder, n=9):
    folder.mkdir()
    y, x = np.mgrid[:40, :40] - 19.5
    for i in range(n):
        knot = 0.3 * np.exp(-0.5 * ((x - 6) ** 2 + (y + i - 4) ** 2) / 4)
        image = np.exp(-np.hypot(x, y / 0.7) / (3 + 0.3 * i)) + knot
        fits.writeto(folder / f"galaxy-{i}.fits", image.astype(np.float32))


def targets_of(path):
    x, y = np.linspace(50, 250, N_HOSTS), np.linspace(240, 60, N_HOSTS)
    ra, dec = brick_wcs().wcs_pix2world(x, y, 0)
    rows = [f"h{i},{ra[i]:.8f},{dec[i]:.8f},{BRICK},9.0" for i in range(N_HOSTS)]
    path.write_text("\n".join(["host_id,ra_deg,dec_deg,brickname,flux_r_nmgy", *rows]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    place = tmp_path_factory.mktemp("images")
    write_brick(place / "survey")
    psf_images(file_of(place / "survey", "psf"))
    source_images(place / "sources")
    settings = make_config(
        place / "run",
        survey={
            "root": str(place / "survey"),
            "targets": targets_of(place / "hosts.csv"),
            "stamp_size": 48,
            "psf_images": True,
            "psf_image_size": KERNEL,
        },
        splits={"nside": 16, "guard_arcsec": 0, "fractions": [1.0, 0.0, 0.0]},
        plan={
            "psf_model": "kernel",
            "injections_per_host": 4,
            "sources": {"images": str(place / "sources" / "*.fits"), "pixel_scale_arcsec": 0.03, "share": 0.75},
        },
    )
    steps.cut_step(settings)
    steps.plan_step(settings)
    steps.inject_step(settings)
    return settings


@pytest.fixture(scope="module")
def stores(config):
    folder = RunFolder.of(config)
    return open_cutouts(folder.cutouts), open_manifest(folder.manifest), open_all_pairs(folder.pairs)


def test_arcs_are_those_of_the_hosts_psf_images_and_the_named_source_images(config, stores):
    cutouts, manifest, pairs = stores
    assert (cutouts["psf_source"] == PsfSource.COADD_PSF).all()
    named = manifest["src_id"].values != ""
    assert 0 < named.sum() < (~manifest["is_control"].values).sum() and not named[manifest["is_control"].values].any()
    bank = lf.SourceBank.from_fits(sorted(Path(config.plan.sources.images).parent.glob("*.fits")), 0.03)
    alone = render(
        {str(k): v.values for k, v in manifest.data_vars.items()},
        stamp_size=48,
        pixel_scale_arcsec=float(cutouts.attrs["pixel_scale_arcsec"]),
        psf_model=cutouts["psf_kernel"].values,
        psf_index=manifest["host_index"].values,
        sources=bank,
    )
    assert np.array_equal(alone.arc, pairs["arc"].values)
    assert (pairs["arc"].values[named].max(axis=(1, 2, 3)) > 0).all()


def test_a_kernel_s_arc_is_not_a_moffat_s(config, stores):
    cutouts, manifest, pairs = stores
    columns = {str(k): v.values for k, v in manifest.data_vars.items()}
    scale = float(cutouts.attrs["pixel_scale_arcsec"])
    bank = lf.SourceBank.from_fits(sorted(Path(config.plan.sources.images).parent.glob("*.fits")), 0.03)
    moffat = render(columns, stamp_size=48, pixel_scale_arcsec=scale, psf_model="moffat", sources=bank).arc
    arc = pairs["arc"].values
    lit = arc.max(axis=(1, 2, 3)) > 0
    difference = np.abs(moffat - arc).max(axis=(1, 2, 3))[lit] / arc.max(axis=(1, 2, 3))[lit]
    assert (difference > 0.02).all()


def test_a_row_with_an_image_and_a_kernel_is_made_anew_to_the_bit(config, stores):
    _, manifest, _ = stores
    row = int(np.flatnonzero(manifest["src_id"].values != "")[0])
    again = lf.rerender(config.out, int(manifest["row_id"].values[row]))
    assert again.attrs["identical"] and again.attrs["same_code"]


def test_a_changed_source_image_is_another_run(config, tmp_path):
    path = sorted(Path(config.plan.sources.images).parent.glob("*.fits"))[0]
    before = path.read_bytes()
    try:
        fits.writeto(path, fits.getdata(path) * 1.5 + 0.1, overwrite=True)
        with pytest.raises(lf.errors.StaleStoreError, match=r"inputs\.sources"):
            steps.inject_step(lf.load_config(config.model_dump(mode="json")))
    finally:
        path.write_bytes(before)


def test_kernels_without_psf_images_are_refused_with_the_way_out(config):
    settings = lf.load_config({**config.model_dump(mode="json"), "out": f"{config.out}-profiles"})
    plain = settings.model_copy(update={"survey": settings.survey.model_copy(update={"psf_images": False})})
    steps.cut_step(plain)
    with pytest.raises(lf.errors.LensflowError, match="psf_images"):
        steps.plan_step(plain)
        steps.inject_step(plain)


@pytest.mark.slow
def test_a_run_whose_sources_are_images_alone_is_diagnosed_in_full(config, stores):
    cutouts, _, pairs = stores
    of_image = pairs["is_control"].values | (pairs["src_id"].values != "")
    pairs = pairs.isel(sample=np.flatnonzero(of_image)).compute()
    kernel = cutouts["psf_kernel"].values[pairs["host_index"].values]
    pairs = pairs.assign(psf_kernel=(("sample", "band", "psf_y", "psf_x"), kernel))
    measured = lf.diagnose(pairs, config)
    found = {(f.diagnostic, f.check): f for f in findings(measured) if f.diagnostic in ("psf", "rendering")}
    assert found[("rendering", "stored arcs rendered again")].status is Status.OK
    assert found[("psf", "image of an impulse")].status is Status.OK
    assert not [f for f in found.values() if f.status is Status.ALARM]
    assert measured["rendering"].attrs["n_images"] == int((~pairs["is_control"]).sum())
    # As behind a profile, where the reference is held against a disc on the rows' own lenses and PSFs.
    profile = pairs.drop_vars("psf_kernel").assign_attrs(psf_model="moffat", psf_beta=3.5)
    beside = lf.diagnose(profile, config)["rendering"]
    assert int(beside["reference_error"].notnull().sum()) == 1
    assert float((beside["reference_error"] / np.maximum(beside["reference_own_error"], 2e-3)).max()) < 1
