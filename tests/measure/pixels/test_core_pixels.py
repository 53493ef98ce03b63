"""The middle pixel by pixel equals a plain loop, and a host moved by a pixel shows there."""

import numpy as np

from lensflow.measure.pixels import Block, CorePixels, Settings, Status, findings
from tests.measure.conftest import CONFIG
from tests.measure.pixels.pairs_factory import pairs_block

PAIRS = pairs_block(n_hosts=12, per_host=4)


def measured(pairs):
    return CorePixels.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))


def test_means_equal_a_plain_loop():
    found = measured(PAIRS)
    for b, band in enumerate("grz"):
        rows = []
        for i in np.flatnonzero(~PAIRS["is_control"].values & np.isfinite(PAIRS["psf_fwhm_arcsec"].values[:, b])):
            y, x = (round(float(PAIRS[k].values[i])) for k in ("y_center", "x_center"))
            stamp, ctrl, arc = (
                PAIRS[k].values[i, b, y - 1 : y + 2, x - 1 : x + 2].astype(float) for k in ("stamp", "ctrl", "arc")
            )
            rows.append([stamp - ctrl, stamp - ctrl - arc])
        mean = np.mean(rows, axis=0)
        np.testing.assert_allclose(found["difference"].sel(band=band), mean[0], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found["residual"].sel(band=band), mean[1], rtol=1e-4, atol=1e-6)
        assert int(found["n_rows"].sel(band=band)) == len(rows)
        assert (found["residual_low"] <= found["residual"]).all() and (
            found["residual"] <= found["residual_high"]
        ).all()


def test_blocks_add_up():
    parts = [PAIRS.isel(sample=slice(0, 27)), PAIRS.isel(sample=slice(27, None))]
    a, b = (CorePixels.from_block(Block(p, CONFIG)) for p in parts)
    np.testing.assert_allclose(
        (a + b).result(Settings(CONFIG, 1))["difference"], measured(PAIRS)["difference"], rtol=1e-9
    )


def test_a_host_moved_by_a_pixel_is_an_alarm_and_a_sound_one_is_none():
    def judged(pairs):
        return next(f for f in findings({"core_pixels": measured(pairs)}))

    assert judged(PAIRS).status is Status.OK
    moved = PAIRS.copy(deep=True)
    arcs = ~PAIRS["is_control"].values
    host = np.roll(PAIRS["ctrl"].values, 1, axis=-1) - PAIRS["ctrl"].values
    moved["stamp"].values[arcs] += host[arcs]
    found = judged(moved)
    assert found.status is Status.ALARM and found.where
