"""The cutting step on small bricks: early stop, files opened, PSF ratio, PSF images, a survey behind HTTP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import Table

from lensflow.config import load_config
from lensflow.errors import SurveyError
from lensflow.fits import transport
from lensflow.fits.transport import TransportError
from lensflow.run import cut_step
from lensflow.run.sources import bricks_along_sky
from lensflow.schema import PsfSource, Reason, Status
from lensflow.store import receipts
from lensflow.store.run_folder import RunFolder
from lensflow.survey.layout import Layout
from tests.fits.range_server import serve
from tests.survey.brick_factory import BRICK, PSFSIZE, brick_wcs, file_of, write_brick

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
SMALL = {"store": {"hosts_per_region": 4, "inner_chunk": 4}}


def write_hosts(folder: Path, n: int, bricks=(BRICK,)) -> str:
    """A table of n hosts on a grid well inside the test brick, shared out to ``bricks``."""
    k = np.arange(n)
    ra, dec = brick_wcs().wcs_pix2world(100.3 + 9.1 * (k % 11), 100.2 + 9.3 * (k // 11 % 11), 0)
    names = [bricks[i % len(bricks)] for i in k]
    table = Table({"host_id": [f"h{i:03d}" for i in k], "ra": ra, "dec": dec, "brickname": names})
    table.write(folder / "targets.csv", format="ascii.csv")
    return str(folder / "targets.csv")


def config_of(tmp_path, root, n=12, bricks=(BRICK,), **survey):
    targets = write_hosts(tmp_path, n, bricks)
    given = {"root": str(root), "targets": targets, "stamp_size": 16, **survey}
    tree = {"out": str(tmp_path / "run"), "survey": given, **SMALL}
    return load_config(tree)


@pytest.mark.slow
def test_the_failure_budget_stops_the_run_early_with_counts_by_reason(tmp_path):
    write_brick(tmp_path / "survey")
    missing = [f"{k:04d}p999" for k in range(19)]
    config = config_of(tmp_path, tmp_path / "survey", n=120, bricks=(BRICK, *missing), failure_budget=0.05)
    with pytest.raises(SurveyError, match=r"hosts failed, more than survey.failure_budget = 0.05.*MISSING_FILE_g \d+"):
        cut_step(config)
    done = receipts.read_receipts(RunFolder.of(config).receipts("cutouts"))
    assert 0 < len(done) < 30  # a step that does not stop leaves a receipt of every region, whatever their reasons


def test_the_message_of_a_stopped_run_names_files_and_the_way_out(tmp_path):
    write_brick(tmp_path / "survey")
    config = config_of(tmp_path, tmp_path / "survey", n=24, bricks=(BRICK, "9999p999"), failure_budget=0.4)
    with pytest.raises(SurveyError) as stopped:
        cut_step(config)
    text = str(stopped.value)
    assert "No such survey file:" in text and "9999p999" in text
    assert "raise survey.failure_budget and run again" in text and "docs/cutouts.md" in text
    # The counts by reason are those of the receipts: what was tried, no more.
    done = receipts.read_receipts(RunFolder.of(config).receipts("cutouts"))
    tried = receipts.total_counts(done.values())
    assert int(text.split(" of ", 1)[0]) <= tried["status: FAILED"]
    # Raising the budget goes on from there.
    again = config.model_copy(update={"survey": config.survey.model_copy(update={"failure_budget": 0.5})})
    assert (cut_step(again)["status"].values == Status.FAILED).sum() == 12


@pytest.mark.slow
def test_every_one_of_200_000_rows_is_accounted_for_where_most_bricks_are_missing(tmp_path):
    names = [f"{k:04d}p050" for k in range(500)]
    there, n = set(names[::100]), 400
    rng, rows = np.random.default_rng(1), {k: [] for k in ("host_id", "ra", "dec", "brickname")}
    for k, brick in enumerate(names):
        wcs = brick_wcs(ra_deg=10 + 0.05 * k)
        if brick in there:
            write_brick(tmp_path / "survey", brick, wcs=wcs)
        ra, dec = wcs.wcs_pix2world(*rng.uniform(0, 299, (2, n)), 0)
        rows["host_id"] += [f"{brick}-{i}" for i in range(n)]
        rows["ra"], rows["dec"] = [*rows["ra"], *ra], [*rows["dec"], *dec]
        rows["brickname"] += [brick] * n
    Table(rows).write(tmp_path / "targets.fits")
    given = {"root": str(tmp_path / "survey"), "targets": str(tmp_path / "targets.fits")}
    survey = {**given, "stamp_size": 16, "failure_budget": 1.0}
    config = load_config({"out": str(tmp_path / "run"), "survey": survey})
    out = cut_step(config)
    done = receipts.read_receipts(RunFolder.of(config).receipts("cutouts"))
    counts = receipts.total_counts(done.values())
    by_status = sum(v for k, v in counts.items() if k.startswith("status: "))
    assert out.attrs["n_read"] == 200_000
    assert by_status == counts["hosts"] == out.sizes["host"] == 200_000 - out.attrs["n_duplicates"]
    missing = ~np.isin(out["brickname"].values, list(there))
    assert ((out["reasons"].values & Reason.MISSING_FILE) > 0).tolist() == missing.tolist()
    assert (out["status"].values[missing] == Status.FAILED).all()
    assert counts["status: OK"] > 1500
    assert counts["files: opened"] == 13 * len(there)


def test_receipts_say_what_was_read_and_the_store_keeps_the_measured_psf_ratio(tmp_path):
    write_brick(tmp_path / "survey")
    config = config_of(tmp_path, tmp_path / "survey")
    out = cut_step(config)
    counts = receipts.total_counts(receipts.read_receipts(RunFolder.of(config).receipts("cutouts")).values())
    assert counts["files: opened"] == 13  # once, for three regions
    assert counts["files: bytes read"] > 0
    assert counts["files: bytes whole"] == sum(f.stat().st_size for f in file_of(tmp_path / "survey", "maskbits")
                                               .parent.iterdir())  # fmt: skip
    assert out.attrs["psf_band_ratio"] == pytest.approx({b: PSFSIZE[b] / PSFSIZE["r"] for b in "grz"}, rel=1e-4)
    assert out["mask_bit_frac"].shape == (12, 17)


@pytest.mark.slow
def test_a_hole_in_a_map_is_filled_by_the_ratio_of_this_run(tmp_path):
    def hole(products):
        products["psfsize", "g"][:] = 1.2 * PSFSIZE["r"]  # theory says 1.06
        products["psfsize", "g"][:140] = 0

    write_brick(tmp_path / "survey", edit=hole)
    out = cut_step(config_of(tmp_path, tmp_path / "survey", n=60)).compute()
    filled = out["psf_source"].values[:, 0] == PsfSource.FALLBACK_R
    assert 0 < filled.sum() < 60
    np.testing.assert_allclose(out["psfsize_arcsec"].values[:, 0], 1.2 * PSFSIZE["r"], rtol=0.03)


def test_psf_images_are_stored_where_the_config_asks(tmp_path):
    write_brick(tmp_path / "survey", bands="r")
    axis = np.arange(31) - 15
    image = np.exp(-(axis[:, None] ** 2 + axis**2) / 18).astype(np.float32)
    hdu = fits.PrimaryHDU(image)
    hdu.header["BAND"] = "r"
    hdu.writeto(Layout(str(tmp_path / "survey")).path(BRICK, "psf"))
    config = config_of(tmp_path, tmp_path / "survey", psf_images=True, psf_image_size=21)
    out = cut_step(config.model_copy(update={"bands": ("r",)}))
    assert out["psf_kernel"].dims == ("host", "band", "psf_y", "psf_x")
    assert out["psf_kernel"].shape == (12, 1, 21, 21)
    np.testing.assert_allclose(out["psf_kernel"].sum(("psf_y", "psf_x")).compute(), 1, rtol=1e-5)
    assert (out["psf_source"] == PsfSource.COADD_PSF).all()


@pytest.mark.slow
def test_a_survey_behind_http_gives_the_same_cutouts(tmp_path):
    write_brick(tmp_path / "survey")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    local = cut_step(config_of(tmp_path / "a", tmp_path / "survey")).compute()
    with serve(tmp_path / "survey") as server:
        remote = cut_step(config_of(tmp_path / "b", server.url)).compute()
    xr.testing.assert_identical(local.drop_attrs(), remote.drop_attrs())


@pytest.mark.slow
def test_a_store_that_fails_stops_the_run_and_the_next_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "RETRY_AFTER_S", (0.0,))
    write_brick(tmp_path / "survey")
    config_path = tmp_path / "survey"
    with serve(config_path) as server:
        config = config_of(tmp_path, server.url, psf_ratio_bricks=0)
        server.fail = {f"legacysurvey-{BRICK}-maskbits.fits.fz": [503] * 1000}
        with pytest.raises(TransportError, match=r"maskbits.*cannot be reached"):
            cut_step(config)
        server.fail = {}
        out = cut_step(config)
    assert not out["reasons"].values.any()


def test_a_bricks_hosts_stand_together():
    brick = np.array(["b", "a", "b", "c", "a"])
    cells = np.array([7, 5, 3, 4, 6])
    assert bricks_along_sky(brick, cells).tolist() == [0, 2, 0, 1, 2]
