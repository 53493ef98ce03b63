"""The catalogue's ellipticity, turned onto the stamp's pixels however the image lies on the sky."""

import astropy.units as u
import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord

from lensflow.schema import HostShape
from lensflow.survey.catalogue_shape import catalogue_shapes
from lensflow.survey.contradictions import contradictions
from lensflow.survey.cutouts import cut_block
from lensflow.survey.layout import Layout
from lensflow.survey.photometry import with_measurements
from tests.survey.brick_factory import SURVEY, brick_wcs, targets, write_brick
from tests.survey.shape_factory import turned

PLACES = np.array([60.0, 150.0, 240.0])
PA_DEG = np.array([20.0, 75.0, 140.0])
# Wide enough that the PSF, which is not drawn, matters little.
Q, WIDTH_ARCSEC = 0.5, 2.0


def wcs_of(turn_deg, mirrored):
    wcs = brick_wcs(dec_deg=55.0)
    c, s = np.cos(np.deg2rad(turn_deg)), np.sin(np.deg2rad(turn_deg))
    wcs.wcs.cd = np.array([[c, -s], [s, c]]) @ np.diag([0.262 if mirrored else -0.262, 0.262]) / 3600
    return wcs


def cut(root, wcs):
    """Three long galaxies, drawn on the sky by astropy, with tractor's ellipticities in their catalogue."""
    hosts = targets(PLACES, PLACES, wcs=wcs)

    def draw(products):
        for k, place in enumerate(PLACES.astype(int)):
            window = slice(place - 35, place + 36)
            y, x = np.mgrid[window, window]
            here = SkyCoord(hosts["ra_deg"].values[k], hosts["dec_deg"].values[k], unit="deg")
            east, north = (v.arcsec for v in here.spherical_offsets_to(wcs.pixel_to_world(x, y)))
            pa = np.deg2rad(PA_DEG[k])
            along, across = east * np.sin(pa) + north * np.cos(pa), east * np.cos(pa) - north * np.sin(pa)
            light = np.float32(0.3) * np.exp(-0.5 * (along**2 + (across / Q) ** 2) / WIDTH_ARCSEC**2)
            for band in "grz":
                products["image", band][window, window] += light.astype("f4")

    write_brick(root, wcs=wcs, edit=draw, compression="GZIP_1")
    e = (1 - Q) / (1 + Q)
    hosts["shape_e1"] = "host", e * np.cos(2 * np.deg2rad(PA_DEG))
    hosts["shape_e2"] = "host", e * np.sin(2 * np.deg2rad(PA_DEG))
    return with_measurements(cut_block(hosts.assign_coords(band=list("grz")), Layout(str(root)), "grz", SURVEY))


def agrees(cutouts, wcs):
    """Whether angles on the stamps are those of astropy's steps along the position angle."""
    hosts = SkyCoord(cutouts["ra_deg"].values, cutouts["dec_deg"].values, unit="deg")
    step = hosts.directional_offset_by(PA_DEG * u.deg, 2 * u.arcsec)
    dx, dy = (a - b for a, b in zip(wcs.world_to_pixel(step), wcs.world_to_pixel(hosts), strict=True))
    assert (cutouts["host_shape_source"].values == HostShape.CATALOGUE).all()
    assert cutouts["host_q"].values == pytest.approx(Q, rel=1e-6)
    assert np.abs(turned(cutouts["host_phi_rad"].values, np.arctan2(dy, dx))).max() < 1e-3
    # The image says the same: nothing is contradicted.
    return [line for line in contradictions(cutouts) if "shape" in line] == []


@pytest.mark.slow
def test_the_angle_on_a_turned_and_mirrored_stamp_is_that_of_a_step_along_the_position_angle(tmp_path):
    wcs = wcs_of(-110, True)
    cutouts = cut(tmp_path, wcs)
    assert agrees(cutouts, wcs)
    # Another convention of the catalogue is told from the images.
    other = with_measurements(cutouts.assign(shape_e2=-cutouts["shape_e2"]))
    assert any(
        "Angles of the catalogue's shapes" in line and "north through east" in line for line in contradictions(other)
    )
    beyond = with_measurements(cutouts.assign(shape_e1=cutouts["shape_e1"] + 1.5))
    assert any("(the first: h0) make an ellipticity of 1 or more" in line for line in contradictions(beyond))


@pytest.mark.slow
@pytest.mark.parametrize(("turn_deg", "mirrored"), [(0, False), (30, False), (0, True)])
def test_so_it_is_on_any_other_stamp(tmp_path, turn_deg, mirrored):
    wcs = wcs_of(turn_deg, mirrored)
    assert agrees(cut(tmp_path, wcs), wcs)


def test_shapes_that_say_nothing_are_none():
    n = 6
    e1, east, north = np.full(n, 0.2), np.full(n, np.pi), np.full(n, np.pi / 2)
    e2 = np.zeros(n)
    e1[0], e1[1], e1[2], e2[3] = 0.0, 1.0, np.nan, np.nan
    east[4] = np.nan
    columns = {"shape_e1": e1, "shape_e2": e2, "east_phi_rad": east, "north_phi_rad": north}
    cutouts = xr.Dataset({name: ("host", values) for name, values in columns.items()})
    q, phi = catalogue_shapes(cutouts)
    assert np.isfinite(q).tolist() == np.isfinite(phi).tolist() == [False] * 5 + [True]
    assert q[5] == pytest.approx(0.8 / 1.2) and phi[5] == pytest.approx(np.pi / 2)
    assert np.isnan(catalogue_shapes(cutouts.drop_vars("east_phi_rad"))[0]).all()
