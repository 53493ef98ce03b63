"""Stored arcs with other noise: the bits that rendering gives, and nothing is rendered."""

import numpy as np
import pytest

from lensflow.config import InjectionConfig
from lensflow.errors import StoreError
from lensflow.injection import inject, inject_block
from lensflow.injection.other_noise import OF_NOISE, with_other_noise
from lensflow.manifest.build import build_manifest
from tests.factories import make_config, make_cutouts

MASKED = {"core_mask_radius_pix": 5.0, "core_mask_method": "taper"}


@pytest.fixture(scope="module")
def rows():
    """Hosts, one of them without g and one with a hole, and their manifest."""
    cutouts = make_cutouts(4, size=48, absent=((1, 0),)).assign_coords(host_index=("host", np.arange(4)))
    cutouts["invvar"].values[2, :, 10:30, 20:26] = 0
    cutouts["image"].values[2, :, 10:30, 20:26] = 0
    return cutouts, build_manifest(cutouts, make_config(plan={"injections_per_host": 4}))


@pytest.mark.parametrize("masked", [{}, MASKED])
@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({}, {}),
        ({}, {"noise": False}),
        ({"noise": False}, {}),
        ({}, {"gain_factor": 50.0}),
        ({}, {"gain": "exposure", "exposure_time_s": {"g": 90, "r": 90, "z": 90}}),
    ],
)
def test_stored_arcs_with_other_noise_are_the_bits_of_rendering(rows, monkeypatch, masked, was, now):
    stored = inject_block(*rows, InjectionConfig(**masked, **was))
    rendered = inject_block(*rows, InjectionConfig(**masked, **now))
    monkeypatch.setattr(inject, "render", None)
    again = with_other_noise(stored, *rows, InjectionConfig(**masked, **now))
    assert set(again.variables) == set(rendered.variables)
    for name in rendered.data_vars:
        assert again[name].values.tobytes() == rendered[name].values.tobytes(), name
    if was != now:
        assert not np.array_equal(stored["stamp"], rendered["stamp"])
        assert any(not np.array_equal(stored[n], rendered[n], equal_nan=True) for n in OF_NOISE)


def test_arcs_of_other_rows_are_refused(rows):
    hosts, manifest = rows
    stored = inject_block(hosts, manifest).assign(row_id=manifest["row_id"].isel(sample=slice(None, None, -1)))
    with pytest.raises(StoreError, match="other rows"):
        with_other_noise(stored, hosts, manifest, InjectionConfig())


def test_the_gain_factor_is_one_over_the_variance_and_huge_ones_leave_no_noise(rows):
    hosts, manifest = rows
    blocks = {f: inject_block(hosts, manifest, InjectionConfig(gain_factor=f)) for f in (1.0, 4.0, 1e60)}
    silent = inject_block(hosts, manifest, InjectionConfig(noise=False))
    assert blocks[1e60]["stamp"].values.tobytes() == silent["stamp"].values.tobytes()
    noise = {f: (b["stamp"].values.astype(float) - silent["stamp"].values) for f, b in blocks.items()}
    assert noise[1.0].std() / noise[4.0].std() == pytest.approx(2, rel=1e-3)
