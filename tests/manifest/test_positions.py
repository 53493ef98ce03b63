import numpy as np
import pytest

from lensflow.errors import ManifestError
from lensflow.lensing.image_positions import image_positions
from lensflow.manifest.build import build_manifest
from lensflow.manifest.positions import caustic_box, in_region
from tests.factories import make_config, make_cutouts

COLUMNS = ("theta_e_arcsec", "lens_q", "lens_phi_rad", "shear", "shear_phi_rad", "src_x_arcsec", "src_y_arcsec")


def injections(n=300, hosts=1, **plan):
    m = build_manifest(make_cutouts(hosts), make_config(plan={"injections_per_host": n, **plan}))
    return m.isel(sample=~m["is_control"].values), m


def images(rows):
    return image_positions(*(rows[name].values for name in COLUMNS)).count


@pytest.mark.parametrize(("number", "plan"), [(2, {"src_offset_max": 3.0}), (4, {}), (4, {"shear": 0.1})])
def test_every_source_has_the_images_asked_for(number, plan):
    rows, _ = injections(src_min_images=number, lens_e=[0.1, 0.3], **plan)
    assert (images(rows) >= number).all() and (rows["src_tries"].values >= 1).all()


def test_few_tries_are_needed_even_for_small_caustics():
    rows, _ = injections(1000, src_min_images=4, lens_e=[0.02], shear=0.0)
    assert rows["src_tries"].values.mean() < 6


def test_positions_are_uniform_in_area_over_the_caustic():
    # The same region sampled by brute force: from the disc that holds it.
    lens = {"lens_e": [0.3], "theta_e_arcsec": 1.0, "shear": 0.0, "src_offset_max": 2.0}
    rows, _ = injections(1500, src_min_images=4, **lens)
    plain, _ = injections(20_000, **lens)
    plain = plain.isel(sample=images(plain) >= 4)

    def radius(ds):
        return np.sort(np.hypot(ds["src_x_arcsec"].values, ds["src_y_arcsec"].values))

    ours, theirs = radius(rows), radius(plain)
    assert len(theirs) > 150
    assert abs(np.searchsorted(theirs, ours) / len(theirs) - np.arange(len(ours)) / len(ours)).max() < 0.12


def test_the_region_still_holds_where_images_are_asked_for():
    plan = {"src_offset": "ring", "src_offset_min": 0.2, "src_offset_max": 0.4, "src_min_images": 2}
    rows, _ = injections(**plan)
    share = np.hypot(rows["src_x_arcsec"], rows["src_y_arcsec"]).values / rows["theta_e_arcsec"].values
    assert share.min() >= 0.2 and share.max() <= 0.4 and (images(rows) >= 2).all()


def test_a_ring_and_a_square_are_uniform_in_area():
    ring, _ = injections(4000, src_offset="ring", src_offset_min=0.3, src_offset_max=0.5)
    share = np.hypot(ring["src_x_arcsec"], ring["src_y_arcsec"]).values / ring["theta_e_arcsec"].values
    assert share.min() >= 0.3 - 1e-9 and share.max() <= 0.5 + 1e-9
    assert np.mean(share < 0.4) == pytest.approx((0.16 - 0.09) / (0.25 - 0.09), abs=0.03)
    square, _ = injections(4000, src_offset="square", src_offset_max=0.4)
    for name in ("src_x_arcsec", "src_y_arcsec"):
        assert abs(square[name].values).max() <= 0.4 and square[name].values.std() == pytest.approx(0.4 / 3**0.5, 0.05)


def test_a_round_lens_without_shear_has_no_place_for_four_images():
    plan = {"src_min_images": 4, "lens_e": [0.0, 0.3], "shear": 0.0}
    with pytest.raises(ManifestError, match=r"\d+ of 300 rows .* no source position with 4 images among 64 drawn"):
        injections(**plan)
    rows, manifest = injections(**plan, src_position_fails="drop")
    dropped = manifest.attrs["rows_dropped"]["NO_SOURCE_POSITION"]
    assert 0 < dropped < 300 and rows.sizes["sample"] == 300 - dropped and (images(rows) >= 4).all()
    assert (rows["lens_q"].values < 1).all() and int(manifest["is_control"].sum()) == 1


@pytest.mark.slow
def test_the_box_holds_every_source_of_many_images():
    gen = np.random.default_rng(1)
    n = 20_000
    te, q, g = gen.uniform(0.5, 2, n), gen.uniform(0.4, 1, n), gen.uniform(0, 0.15, n)
    phi, tilt = gen.uniform(0, np.pi, n), gen.uniform(0, np.pi, n)
    x, y = te * gen.uniform(-1.5, 1.5, n), te * gen.uniform(-1.5, 1.5, n)
    count = image_positions(te, q, phi, g, tilt, x, y).count
    u, v = np.cos(phi) * x + np.sin(phi) * y, np.cos(phi) * y - np.sin(phi) * x
    for number in (2, 4):
        low, high = caustic_box(te, q, phi, g, tilt, with_cut=number == 2)
        inside = (u >= low[:, 0]) & (u <= high[:, 0]) & (v >= low[:, 1]) & (v <= high[:, 1])
        assert inside[count >= number].all() and (count >= number).sum() > 100


def test_membership_of_the_region():
    plan = make_config(plan={"src_offset_max": 0.5}).plan
    assert in_region(plan, np.array([1.0, 1.0]), np.array([0.4, 0.6]), np.zeros(2)).tolist() == [True, False]
