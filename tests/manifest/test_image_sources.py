import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lensflow.config import SourcesConfig
from lensflow.errors import ConfigError, ManifestError
from lensflow.manifest.build import build_manifest
from lensflow.manifest.image_sources import draw_source_ids, open_bank, split_of_sources
from lensflow.manifest.population import i_magnitude
from lensflow.manifest.source_bank import SourceBank
from tests.factories import make_config, make_cutouts

FRACTIONS = (0.7, 0.15, 0.15)


def bank_of_blobs(n=20):
    y, x = np.mgrid[:24, :24] - 11.5
    return SourceBank.from_arrays({f"galaxy-{i}": np.exp(-np.hypot(x, y) / (1.5 + 0.1 * i)) for i in range(n)}, 0.03)


def planned(bank, **sources):
    plan = {"sources": {"images": "unused-*.fits", **sources}, "injections_per_host": 20}
    return build_manifest(make_cutouts(40), make_config(plan=plan), bank)


def test_every_image_serves_one_split_only():
    manifest = planned(bank_of_blobs())
    ids, splits = manifest["src_id"].values, manifest["split"].values
    used = [set(ids[(ids != "") & (splits == s)]) for s in range(3)]
    assert len(used[0]) > 5 and used[1] and used[2]
    assert not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2]


@given(n=st.integers(1, 60), seed=st.integers(0, 1000))
def test_splits_of_images_match_the_fractions_and_do_not_depend_on_their_order(n, seed):
    ids = np.array([f"g{i}" for i in range(n)])
    split = split_of_sources(ids, FRACTIONS, seed)
    assert np.abs(np.bincount(split, minlength=3) - n * np.array(FRACTIONS)).max() <= 1
    order = np.random.default_rng(seed).permutation(n)
    assert np.array_equal(split_of_sources(ids[order], FRACTIONS, seed), split[order])


def test_native_size_is_the_images_own_and_prior_size_the_plans():
    bank = bank_of_blobs()
    native, prior = planned(bank), planned(bank, size="prior")
    row = int(np.argmax(native["src_id"].values != ""))
    name = str(native["src_id"].values[row])
    assert native["src_reff_arcsec"].values[row] == bank.get(name).half_light_radius_arcsec
    assert set(np.unique(prior["src_reff_arcsec"].values[prior["src_id"].values != ""])) <= {0.06, 0.1, 0.15, 0.2}


def test_share_is_the_share_of_injections_with_an_image_and_controls_have_none():
    manifest = planned(bank_of_blobs(), share=0.5)
    image, control = manifest["src_id"].values != "", manifest["is_control"].values
    assert not image[control].any()
    assert 0.4 < image[~control].mean() < 0.6
    assert (
        np.isnan(manifest["src_n"].values[image]).all()
        and np.isfinite(manifest["src_n"].values[~image & ~control]).all()
    )


def test_a_row_draws_the_same_image_whatever_rows_are_around_it():
    ids, rows = np.array([f"g{i}" for i in range(9)]), np.arange(50, dtype=np.uint64)
    settings, split = SourcesConfig(images="x"), np.zeros(50, np.uint8)
    whole = draw_source_ids(settings, ids, FRACTIONS, rows, split, 1)
    half = draw_source_ids(settings, ids[::-1], FRACTIONS, rows[25:], split[25:], 1)
    assert np.array_equal(whole[25:], half)


def test_a_split_without_an_image_is_an_error_with_the_way_out():
    with pytest.raises(ManifestError, match=r"none of the 1 images falls into the split .* give more images"):
        planned(bank_of_blobs(1))


def test_images_that_do_not_exist_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no file matches"):
        open_bank(SourcesConfig(images=f"{tmp_path}/*.fits"))


def test_catalog_and_images_exclude_each_other():
    with pytest.raises(ConfigError, match="exactly one of catalog and images"):
        make_config(plan={"sources": {"catalog": "a.fits", "images": "b/*.fits"}})
    with pytest.raises(ConfigError, match="exactly one of catalog and images"):
        make_config(plan={"sources": {}})


def tabled(tmp_path, src_id, bank, **columns):
    path = tmp_path / "rows.parquet"
    hosts = [f"host-{i:03d}" for i in range(len(src_id))]
    pq.write_table(pa.table({"host_id": hosts, "src_id": src_id, **columns}), path)
    plan = {"sources": {"images": "unused"} if bank else None, "design": "table", "table": str(path)}
    cutouts = make_cutouts(len(src_id))
    cutouts["split"].values[:] = 0
    m = build_manifest(cutouts, make_config(plan=plan), bank)
    return m.isel(sample=~m["is_control"].values)


def test_the_images_of_a_table_are_the_sources_and_empty_ones_are_sersic_profiles(tmp_path):
    bank = bank_of_blobs()
    rows = tabled(tmp_path, ["galaxy-3", "galaxy-3", None, "galaxy-11"], bank)
    assert rows["src_id"].values.tolist() == ["galaxy-3", "galaxy-3", "", "galaxy-11"]
    assert np.isnan(rows["src_n"].values).tolist() == [True, True, False, True]
    size = rows["src_reff_arcsec"].values
    assert size[0] == bank.get("galaxy-3").half_light_radius_arcsec and size[3] > size[0]


def test_images_may_be_named_by_numbers_and_a_size_of_the_table_stands(tmp_path):
    y, x = np.mgrid[:24, :24] - 11.5
    bank = SourceBank.from_arrays({str(100 + i): np.exp(-np.hypot(x, y) / 2) for i in range(4)}, 0.03)
    rows = tabled(tmp_path, [102, 100], bank, src_reff_arcsec=[0.3, 0.4])
    assert rows["src_id"].values.tolist() == ["102", "100"]
    assert rows["src_reff_arcsec"].values.tolist() == [0.3, 0.4]


def test_an_image_of_a_table_that_there_is_not_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"'galaxy-33' is none of the 20 images .*Did you mean 'galaxy-3'"):
        tabled(tmp_path, ["galaxy-1", "galaxy-33"], bank_of_blobs())
    with pytest.raises(ManifestError, match=r"src_id names the image galaxy-1, but plan.sources names no images"):
        tabled(tmp_path, ["galaxy-1"], None)


def test_native_magnitude_is_the_images_own_in_i_whatever_the_prior_and_keeps_the_colours():
    bank = bank_of_blobs()
    plan = {"preset": "realistic", "sources": {"images": "unused-*.fits", "share": 0.7}, "injections_per_host": 20}
    cutouts, bands = make_cutouts(40), ("g", "r", "z")
    drawn = build_manifest(cutouts, make_config(plan=plan), bank)
    plan["sources"] |= {"magnitude": "native", "zero_point": 27.0}
    native = build_manifest(cutouts, make_config(plan=plan), bank)
    image = native["src_id"].values != ""
    expected = [27.0 - 2.5 * np.log10(bank.get(str(name)).native_flux) for name in native["src_id"].values[image]]
    assert i_magnitude(native["src_flux_nmgy"].values[image], bands, 1) == pytest.approx(expected, abs=1e-9)
    ratio = native["src_flux_nmgy"].values / drawn["src_flux_nmgy"].values
    assert ratio[image].std(axis=1).max() < 1e-9
    other = ~image & ~native["is_control"].values
    assert (ratio[other] == 1).all()


def test_an_image_without_a_magnitude_is_named():
    plan = {"sources": {"catalog": "unused.fits", "magnitude": "native"}, "injections_per_host": 2}
    with pytest.raises(ManifestError, match=r"image source 'galaxy-\d+' has no magnitude \(no MAG in its catalogue\)"):
        build_manifest(make_cutouts(4), make_config(plan=plan), bank_of_blobs())


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"images": "a.fits", "magnitude": "native"}, "needs their zero_point"),
        ({"catalog": "a.fits", "zero_point": 25.0}, "would do nothing"),
    ],
)
def test_a_zero_point_goes_with_native_magnitudes(sources, words):
    with pytest.raises(ConfigError, match=words):
        make_config(plan={"sources": sources})
