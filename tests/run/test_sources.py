"""From target tables to the head of a cutouts store: order, splits, guard band, fraction, carried columns."""

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from lensflow import import_stamps, schema
from lensflow.config import SplitsConfig
from lensflow.errors import TargetError
from lensflow.manifest.build import eligible_hosts
from lensflow.run import cut_step, plan_step
from lensflow.run.sources import dataset_content, in_store_order, take_fraction
from lensflow.targets import read_targets
from tests.factories import make_config, make_cutouts
from tests.survey.brick_factory import BRICK, brick_wcs, write_brick


@pytest.fixture
def crowd(tmp_path):
    rng = np.random.default_rng(4)
    rows = [f"h{i:03d},{ra},{dec},b,R{i % 7}" for i, (ra, dec) in enumerate(rng.uniform(20, 20.2, (300, 2)))]
    path = tmp_path / "crowd.csv"
    path.write_text("\n".join(["id,ra,dec,brick,region", *rows]))
    return read_targets(str(path))


def split_of(ds):
    return dict(zip(ds["host_id"].values.tolist(), ds["split"].values.tolist(), strict=True))


def test_hosts_are_sorted_by_split_and_every_one_is_counted(crowd):
    out = in_store_order(crowd, SplitsConfig(), 1, guard=20.0)
    assert (np.diff(out["split"].values.astype(int)) >= 0).all() and out.sizes["host"] == 300
    counts = out.attrs["hosts_by_split"]
    assert sum(counts.values()) == 300 and 0 < counts["guard"] < 60
    assert in_store_order(crowd, SplitsConfig(), 1).attrs["hosts_by_split"]["guard"] == 0


def test_a_part_of_the_hosts_keeps_their_splits_and_counts_the_rest(crowd):
    whole = in_store_order(crowd, SplitsConfig(), 1, guard=20.0)
    third, half = take_fraction(whole, 0.3), take_fraction(whole, 0.5)
    assert set(third["host_id"].values) < set(half["host_id"].values) < set(whole["host_id"].values)
    assert split_of(half).items() <= split_of(whole).items()
    assert half.attrs["removed"] == {"not in survey.fraction": 300 - half.sizes["host"]}
    assert sum(half.attrs["hosts_by_split"].values()) == half.sizes["host"]
    assert 100 < half.sizes["host"] < 200
    assert half.attrs["n_read"] == half.attrs["n_removed"] + half.attrs["n_duplicates"] + half.sizes["host"]
    with pytest.raises(TargetError, match=r"survey\.fraction 1e-09 leaves none of 300"):
        take_fraction(whole, 1e-9)


def test_regions_are_never_divided_and_must_be_there(crowd):
    out = in_store_order(crowd, SplitsConfig(cells="region"), 1)
    region = dict(zip(crowd["host_id"].values.tolist(), crowd["region"].values.tolist(), strict=True))
    of_region: dict[str, set] = {}
    for host, split in split_of(out).items():
        of_region.setdefault(region[host], set()).add(split)
    assert len(of_region) == 7 and all(len(s) == 1 for s in of_region.values())
    with pytest.raises(TargetError, match="no column region"):
        in_store_order(crowd.drop_vars("region"), SplitsConfig(cells="region"), 1)


def test_hosts_of_the_guard_band_carry_no_arc():
    cutouts = make_cutouts(4)
    cutouts["split"] = xr.DataArray(np.array([0, 1, schema.GUARD, schema.GUARD], np.uint8), dims="host")
    hosts = eligible_hosts(cutouts, make_config())
    assert hosts.usable.tolist() == [True, True, False, False] and hosts.skipped == {"GUARD_BAND": 2}


def test_catalogue_columns_reach_the_cutouts_and_its_psf_size_is_used_where_there_is_no_map(tmp_path):
    positions = [(80, 80), (150, 150), (220, 90)]
    write_brick(tmp_path / "survey", skip={("psfsize", b) for b in "grz"})
    ra, dec = brick_wcs().pixel_to_world_values(*np.array(positions, float).T)
    lines = ["id,ra,dec,brick,ebv,type,psfsize_r,psfdepth_r_mag,z_lens,flux_r"]
    lines += [f"h{i},{ra[i]:.8f},{dec[i]:.8f},{BRICK},0.0{i + 1},DEV,1.3{i},24.{i},0.{i + 4},9" for i in range(3)]
    (tmp_path / "targets.csv").write_text("\n".join(lines))
    survey = {"root": str(tmp_path / "survey"), "targets": str(tmp_path / "targets.csv")}
    config = make_config(tmp_path / "run", survey=survey)
    cutouts = cut_step(config)
    i = np.array([int(name[1]) for name in cutouts["host_id"].values])
    np.testing.assert_allclose(cutouts["ebv"], (i + 1) / 100, rtol=1e-6)
    np.testing.assert_allclose(cutouts["z_lens"], (i + 4) / 10, rtol=1e-6)
    np.testing.assert_allclose(cutouts["psfdepth_mag"].sel(band="r"), 24 + i / 10, rtol=1e-6)
    assert cutouts["type"].values.tolist() == ["DEV"] * 3 and np.isnan(cutouts["shape_r_arcsec"]).all()
    r = cutouts.sel(band="r")
    np.testing.assert_allclose(r["psfsize_arcsec"], 1.3 + i / 100, rtol=1e-6)
    assert (r["psf_source"].values == schema.PsfSource.MANIFEST).all()
    assert cutouts.attrs["n_read"] == 3 and cutouts.attrs["removed"] == {}
    assert plan_step(config).sizes["sample"] > 0


def stamps_of_pairs(tmp_path, n=12):
    """Two stamps of each of n galaxies, 2 arcsec apart, and the config of a run of them."""
    draw = np.random.default_rng(0)
    for b in "grz":
        fits.writeto(tmp_path / f"{b}.fits", draw.normal(0, 0.01, (2 * n, 64, 64)).astype(np.float32))
    ra = np.repeat(10 + 0.5 * np.arange(n), 2) + np.tile([0, 2 / 3600], n)
    rows = [f"g{i:02d},{v:.6f},0.0,0.4,{200 + i},north" for i, v in enumerate(ra)]
    (tmp_path / "hosts.csv").write_text("\n".join(["id,ra,dec,z_lens,sigma_v_km_s,region", *rows]))
    stamps = {"files": {b: str(tmp_path / f"{b}.fits") for b in "grz"}, "hosts": str(tmp_path / "hosts.csv"),
              "pixel_scale_arcsec": 0.262, "psfsize_arcsec": {"g": 1.3, "r": 1.2, "z": 1.1}}  # fmt: skip
    return make_config(tmp_path / "run", survey={"stamps": stamps}, plan={"theta_e_from": "sigma_v"})


def test_stamps_are_split_by_their_positions_and_keep_what_their_table_says(tmp_path):
    config = stamps_of_pairs(tmp_path)
    cutouts = cut_step(config)
    split = split_of(cutouts)
    pairs = [{split[f"g{2 * k:02d}"], split[f"g{2 * k + 1:02d}"]} - {schema.GUARD} for k in range(12)]
    assert all(len(p) <= 1 for p in pairs) and len(set().union(*pairs)) > 1
    number = np.array([int(name[1:]) for name in cutouts["host_id"].values])
    np.testing.assert_allclose(cutouts["sigma_v_km_s"], 200 + number)
    np.testing.assert_allclose(cutouts["ra_deg"], 10 + 0.5 * (number // 2) + (number % 2) * 2 / 3600, atol=1e-6)
    manifest = plan_step(config)
    arcs = ~manifest["is_control"].values
    assert arcs.any() and np.isfinite(manifest["src_z"].values[arcs]).all()


def test_imported_stamps_take_what_is_known_of_their_hosts_and_say_their_order():
    n = 20
    images = {"r": np.random.default_rng(1).normal(0, 0.01, (n, 64, 64))}
    ra, names = 10 + 0.3 * np.arange(n), [f"{i:03d}" for i in range(n)]
    known = {"ra_deg": ra, "dec_deg": np.zeros(n), "z_lens": 0.01 * np.arange(n), "sigma_v_km_s": 200.0 + np.arange(n)}
    out = import_stamps(images, pixel_scale_arcsec=0.26, psfsize_arcsec={"r": 1.2}, host_id=names, **known)
    mine = np.array([int(v) for v in out["host_id"].values])
    assert sorted(mine) == list(range(n)) and "host_id says which is which" in out.attrs["order"]
    for name, values in known.items():
        np.testing.assert_allclose(out[name], values[mine], rtol=1e-6)
    assert (out["cell"].values >= 0).all()
    for wrong, message in (
        ({"ra_deg": ra[:3]}, r"ra_deg has shape \(3,\); one value for each of the 20 stamps"),
        ({"ra_deg": ra}, "is no position"),
        ({"host_id": ["a"] * n}, "stands there twice"),
        ({"host_id": np.arange(n) + 2.0**53}, "floating-point"),
    ):
        with pytest.raises(TargetError, match=message):
            import_stamps(images, pixel_scale_arcsec=0.26, psfsize_arcsec={"r": 1.2}, **wrong)


def test_the_fingerprint_of_a_table_is_of_its_text_and_not_of_where_it_lies():
    def table(*names):
        return xr.Dataset({"kind": ("lens", np.array(["".join(list(n)) for n in names], dtype=object))})

    assert dataset_content(table("ga" + "laxy", "group")) == dataset_content(table("galaxy", "group"))
    assert dataset_content(table("galaxy", "group")) != dataset_content(table("galaxy", "galaxy"))
