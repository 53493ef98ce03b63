"""From each survey's own files to cutouts in nanomaggies, with the configs that ``lensflow init`` writes."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.io import fits

from lensflow import geometry, run
from lensflow.config import load_config
from lensflow.config.starters import starter
from lensflow.errors import ConfigError, TargetError
from lensflow.schema import PsfSource, Reason, Status
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.masks import masked_pixels
from lensflow.targets import read_targets
from tests.shared import made_once
from tests.surveys.made_files import BAD, FLUX_NMGY, POSITIONS, SIGMA_NMGY, SURVEYS, WITHOUT_DATA, write_survey

PAGE = Path(__file__).parents[2] / "docs" / "your-survey.md"
SIZE = 48


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


def link_euclid(root):
    """The lines of the page that give Euclid's mosaics names without a time stamp."""
    lines = next(block for block in blocks("python") if "BGSUB-MOSAIC" in block)
    exec(lines.replace('"q1/MER"', repr(str(root / "MER"))).replace('"linked"', repr(str(root))), {})


def _make(folder):
    for survey in SURVEYS.values():
        write_survey(survey, folder / survey.name / "files")
    link_euclid(folder / "euclid" / "files")
    for link in (folder / "euclid" / "files").glob("*/*-VIS.fits"):  # the folder is moved once it is whole
        goal = os.path.relpath(link.resolve(), link.parent)
        link.unlink()
        link.symlink_to(goal)


@pytest.fixture(scope="module")
def made():
    return made_once("made-surveys", _make)


def tree_of(made, name, **survey):
    """The survey's own config, for stamps that fit into the made files."""
    folder = made / name
    tree = yaml.safe_load(starter(name, "run.yaml", root=str(folder / "files"), targets=str(folder / "hosts.csv")))
    tree["survey"] |= {"stamp_size": SIZE, **survey}
    # Made files have pixels of 0.1 to 0.26 arcsec and a few hosts, which carry no verdict.
    tree["plan"]["controls_per_host"] = 1
    tree["gate"] = {"required": False}
    return tree | {"cluster": {"kind": "threads", "workers": 2, "dashboard": None}}


def cut(tree):
    config = load_config(tree)
    targets = read_targets(config.survey.targets, config.bands)
    targets = targets.sortby("host_id")
    return cut_block(targets, Layout.of(config.survey), config.bands, config.survey), config


@pytest.mark.parametrize("name", SURVEYS)
def test_cutouts_are_in_nanomaggies_whatever_the_survey_counts_in(made, name):
    block, config = cut(tree_of(made, name))
    assert block.attrs["messages"] == []
    assert (block["status"].values == Status.OK).all()
    assert block.attrs["pixel_scale_arcsec"] == pytest.approx(SURVEYS[name].scale_arcsec, rel=1e-4)
    for b, band in enumerate(config.bands):
        light = block["image"].values[:, b].sum(axis=(1, 2))
        noise = SIGMA_NMGY * SIZE
        np.testing.assert_allclose(light, FLUX_NMGY[band], atol=5 * noise, rtol=0.01)
        np.testing.assert_allclose(block["invvar"].values[:, b] ** -0.5, SIGMA_NMGY, rtol=1e-3)
    assert (block["psf_source"].values == PsfSource.MANIFEST).all()
    assert not (block["reasons"].values & (Reason.ASSUMED_PSF | Reason.UNKNOWN_MASK_BIT)).any()


@pytest.mark.parametrize("name", SURVEYS)
def test_masked_pixels_and_those_without_data_are_the_surveys(made, name):
    """A cutout about the corner with both: what is bad in one band is bad, by the number that its file gives."""
    bits = {"mask_bits": [0]} if name == "euclid" else {}
    tree = tree_of(made, name, stamp_size=80, min_coverage_frac=0.5, **bits)
    config = load_config(tree)
    targets = read_targets(config.survey.targets, config.bands).sortby("host_id").isel(host=[0])
    block = cut_block(targets, Layout.of(config.survey), config.bands, config.survey)
    x, y = POSITIONS[0]
    corner = geometry.stamp_corner(np.array([[y, x]]), 80)[0]
    expected_bad, expected_empty = np.zeros((2, 220, 220), bool)
    expected_bad[BAD], expected_empty[WITHOUT_DATA] = True, True
    cell = np.s_[corner[0] : corner[0] + 80, corner[1] : corner[1] + 80]
    # In the pipeline's masks of HSC and Rubin, pixels without data are masked too.
    masked = expected_bad | (expected_empty if name in ("hsc", "lsst") else False)
    np.testing.assert_array_equal(
        masked_pixels(block["maskbits"].values[0], config.survey.mask_bits, config.bands), masked[cell]
    )
    assert expected_empty[cell].any() and expected_bad[cell].any()
    empty = (block["invvar"].values[0] == 0).all(axis=0)
    np.testing.assert_array_equal(empty, expected_empty[cell])
    assert np.isnan(block["wise_brightmask_frac"].values).all()


@pytest.mark.whole
@pytest.mark.parametrize("name", SURVEYS)
def test_a_run_cuts_plans_and_injects(made, name, tmp_path):
    tree = tree_of(made, name) | {"out": str(tmp_path / "run")}
    tree["plan"] |= {"injections_per_host": 2}
    tree["store"] = {"samples_per_region": 8, "hosts_per_region": 4, "inner_chunk": 4}
    config = load_config(tree)
    for step in (run.cut_step, run.plan_step, run.inject_step):
        step(config)
    pairs = run.open_run(config.out).pairs.load()
    injected = ~pairs["is_control"].values
    assert injected.sum() == 8 and (~injected).sum() == 4
    arc = pairs["arc"].values
    assert np.isfinite(arc).all() and (arc[injected].sum(axis=(1, 2, 3)) > 0).all()
    # Flux of the arc is the source's times its magnification, whatever the survey's unit and pixel.
    b = list(config.bands).index("r")
    light = arc[injected][:, b].sum(axis=(1, 2))
    truth = pairs["src_flux_nmgy"].values[injected][:, b]
    assert ((light / truth > 0.2) & (light / truth < 100)).all()


REFUSED = [
    ("hsc", {"weights": "invvar"}, "none of its images is named as invvar"),
    ("hsc", {"zero_point": 22.5}, "FLUXMAG0"),
    ("hsc", {"zero_point": None}, "FLUXMAG0"),
    ("hsc", {"mask_bits": ["BAD", "BRIGHT_STAR"]}, "does not number the mask plane BRIGHT_STAR"),
    ("hsc", {"band_names": {"g": "HSC-G"}}, "No such survey file"),
    ("des", {"zero_point": 25.0}, "MAGZERO"),
    ("des", {"weights": "variance"}, "none of its images is named as variance"),
    ("euclid", {"zero_point": None}, "MAGZERO"),
    ("lsst", {"zero_point": 27.0}, "nJy"),
    ("lsst", {"weights": "rms"}, "none of its images is named as rms"),
]


@pytest.mark.parametrize(("name", "wrong", "words"), REFUSED)
def test_a_setting_that_the_files_contradict_is_named_and_nothing_is_cut_with_it(made, name, wrong, words):
    tree = tree_of(made, name, failure_budget=1.0)
    tree["survey"] |= wrong
    if wrong.get("zero_point", 0) is None:
        del tree["survey"]["zero_point"]
    block, _ = cut(tree)
    assert any(words in line for line in block.attrs["messages"]), block.attrs["messages"]
    if "mask_bits" in wrong:
        assert (block["reasons"].values & Reason.CORRUPT_FILE).all()
    else:
        assert not block["covered"].values.all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mask_bits": "default"}, "bits of the Legacy Surveys' masks"),
        ({"mask_bits": "historic_r"}, "bits of the Legacy Surveys' masks"),
        ({"mask_bits": ["BAD", "BAD"]}, "named twice"),
        ({"mask_bits": ["bad"]}, "mask_bits"),
        ({"psf_images": True}, "no files of PSF images"),
        ({"product_names": {"weight": "wei"}}, "no product 'weight'"),
        ({"band_names": {"y": "HSC-Y"}}, "none of the bands"),
        ({"layout": "{root}/{tract}/calexp-{band}.fits"}, "lacks {brick}"),
    ],
)
def test_what_the_config_alone_contradicts_is_a_config_error(made, wrong, words):
    tree = tree_of(made, "hsc")
    tree["survey"] |= wrong
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_config(tree)


def test_files_whose_planes_exttype_names_are_read_alike(made, tmp_path):
    """As in a real exposure of HSC: EXTTYPE, no EXTNAME, a mask of 16 unsigned bits, FLUXMAG0 = 0."""
    for band in "griz":
        name = f"HSC-{band.upper()}"
        path = f"{name}/9813/4,4/calexp-{name}-9813-4,4.fits"
        (tmp_path / path).parent.mkdir(parents=True)
        with fits.open(made / "hsc" / "files" / path) as hdus:
            hdus[0].header["FLUXMAG0"] = 0.0
            hdus["MASK"].data = hdus["MASK"].data.astype("u2")
            for hdu in hdus[1:]:
                hdu.header["EXTTYPE"] = hdu.header.pop("EXTNAME")
            hdus.writeto(tmp_path / path)
    corner = {"stamp_size": 80, "min_coverage_frac": 0.5}  # with pixels that are masked or without data
    one, two = (cut(tree_of(made, "hsc", **corner, **more))[0] for more in ({}, {"root": str(tmp_path)}))
    assert one["covered"].values.all() and (one["maskbits"].values != 0).any() and (one["invvar"].values == 0).any()
    for name in ("image", "invvar", "maskbits", "status"):
        np.testing.assert_array_equal(one[name].values, two[name].values)
    again, _ = cut(tree_of(made, "hsc", root=str(tmp_path), zero_point=None, failure_budget=1.0))
    assert any("FLUXMAG0 = 0.0, which is no zero point" in m for m in again.attrs["messages"])


def test_a_file_with_two_variances_or_two_images_is_refused(made, tmp_path):
    source = made / "lsst" / "files" / "5063" / "14" / "r" / "deep_coadd_5063_14_r.fits"
    for name in ("VARIANCE", "IMAGE"):
        root = tmp_path / name
        for band in "griz":
            goal = root / "5063" / "14" / band / f"deep_coadd_5063_14_{band}.fits"
            goal.parent.mkdir(parents=True)
            with fits.open(source.parents[1] / band / goal.name) as hdus:
                fits.HDUList([*hdus, hdus[name].copy()]).writeto(goal)
        block, _ = cut(tree_of(made, "lsst", root=str(root), failure_budget=1.0))
        assert any("equal claim" in line for line in block.attrs["messages"])
        assert not block["covered"].values.any()


def test_every_config_of_the_page_is_the_one_that_init_writes():
    page = PAGE.read_text()
    for name in SURVEYS:
        assert f"--survey {name}" in page


def test_hosts_that_do_not_name_their_files_are_refused(made, tmp_path):
    """The Legacy Surveys' bricks would be computed from their positions, and none of them be found."""
    rows = (made / "hsc" / "hosts.csv").read_text().splitlines()
    table = tmp_path / "hosts.csv"
    table.write_text("\n".join(",".join(row.split(",")[:3]) for row in rows))
    config = load_config(tree_of(made, "hsc", targets=str(table)) | {"out": str(tmp_path / "run")})
    with pytest.raises(TargetError, match=r"no column brickname.*docs/your-survey\.md"):
        run.cut_step(config)
