"""Which rows are shown as the worst, and what is said of them."""

import numpy as np
import pytest
import xarray as xr

from lensflow.measure.gate import GateResult, Verdict
from lensflow.show.gallery import GATE_ROWS, TELLING_ROWS, telling_rows, worst_rows
from tests.factories import make_config

N_HOSTS, PER_HOST = 20, 3
N = N_HOSTS * PER_HOST
CONFIG = make_config(gate={"recipes": ["core_r"]})


@pytest.fixture
def rows():
    """Sound rows; the last of each host is its control."""
    host = np.repeat(np.arange(N_HOSTS), PER_HOST)
    control = np.arange(N) % PER_HOST == PER_HOST - 1
    columns = {
        # Beyond what a double holds, and not in order.
        "row_id": (np.uint64(2**63) + np.arange(N, dtype=np.uint64))[::-1],
        "host_index": host,
        "is_control": control,
        "render_err": np.where(control, 0.0, np.linspace(1e-5, 1e-4, N)),
        "stamp_flux_fraction": np.where(control, np.nan, np.linspace(1.0, 0.9, N)),
    }
    per_band = {"psf_fwhm_arcsec": np.ones((N, 3)), "snr_peak": np.full((N, 3), 9.0)}
    data = {k: ("sample", v) for k, v in columns.items()} | {k: (("sample", "band"), v) for k, v in per_band.items()}
    return xr.Dataset(data)


@pytest.fixture
def hosts():
    return xr.Dataset(
        {"bad_pixel_frac": ("host", np.zeros(N_HOSTS)), "coverage_frac": (("host", "band"), np.ones((N_HOSTS, 3)))}
    )


def gate(name, verdict, rows, places, margins):
    worst = tuple(
        {"row_id": int(rows["row_id"].values[k]), "host_index": int(rows["host_index"].values[k]),
         "theta_e_arcsec": 1.0, "arc_snr": 9.0, "margin": m}
        for k, m in zip(places, margins, strict=True)
    )  # fmt: skip
    return GateResult(name, {}, "hash", 0.65, verdict, "", worst=worst)


def test_a_sound_run_shows_its_largest_error_and_its_faintest_share(rows, hosts):
    chosen = worst_rows(rows, hosts, [], CONFIG)
    assert set(chosen) == {N - 2}
    error, light = chosen[N - 2]
    assert "9.85×10⁻⁵" in error and "flagged above 0.001" in error
    assert "90.2 %" in light and "flagged below 50 %" in light


def test_rows_are_found_by_their_id_and_gates_take_turns(rows, hosts):
    gates = [
        gate("core_r", Verdict.PASS, rows, [0, 3, 6], [5.0, 4.0, -1.0]),
        gate("edge_all", Verdict.FAIL, rows, [9, 0], [900.0, 7.0]),
        gate("ring_all", Verdict.PASS, rows, [12], [9.0]),
    ]
    chosen = worst_rows(rows, hosts, gates, CONFIG)
    assert list(chosen)[:3] == [0, 9, 3]
    assert chosen[0] == (
        "core_r: the stamp scores 5.00 above its own control",
        "edge_all: the stamp scores 7.00 above its own control",
    )
    # Neither a row that scores below its control, nor those of a gate that is not required and does not fail.
    assert 6 not in chosen and 12 not in chosen


def test_gates_fill_no_more_than_their_places(rows, hosts):
    injected = np.flatnonzero(~rows["is_control"].values).tolist()[:12]
    gates = [gate(n, Verdict.FAIL, rows, injected, range(12, 0, -1)) for n in ("core_r", "core_all")]
    chosen = worst_rows(rows, hosts, gates, CONFIG)
    assert len(chosen) == GATE_ROWS + 1
    assert all(len(why) == 2 for why in chosen.values())


def test_every_kind_of_trouble_shows_two_hosts_and_its_number(rows, hosts):
    rows["render_err"].values[[0, 1, 3, 6]] = 0.5, 0.4, 0.03, 0.02
    rows["stamp_flux_fraction"].values[[9, 12]] = 0.1, 0.49
    hosts["bad_pixel_frac"].values[[6, 7]] = 0.3, 0.2
    hosts["coverage_frac"].values[8, 1] = 0.6
    rows["snr_peak"].values[27, 2] = np.nan
    chosen = worst_rows(rows, hosts, [], CONFIG)
    said = {k: " ".join(why) for k, why in chosen.items()}
    # Of host 0 the worst row alone; no third host.
    assert set(said) == {0, 3, 9, 12, 18, 24, 27}
    for k, words in {
        0: "0.500", 3: "0.0300", 9: "10 %", 12: "49 %", 18: "30 % of the stamp’s pixels are masked",
        24: "only 60 %", 27: "no pixel with data in 1 band",
    }.items():  # fmt: skip
        assert words in said[k]


def test_bands_without_an_exposure_and_controls_are_no_trouble(rows, hosts):
    hosts["coverage_frac"].values[:, 0] = 0.0
    rows["psf_fwhm_arcsec"].values[:, 0] = np.nan
    rows["snr_peak"].values[:, 0] = np.nan
    rows["render_err"].values[2] = 1.0
    assert set(worst_rows(rows, hosts, [], CONFIG)) == {N - 2}
    none = rows.isel(sample=rows["is_control"].values)
    assert worst_rows(none, hosts, [], CONFIG) == {}


def test_ten_rows_of_each_failing_or_explained_gate_are_shown_those_with_the_largest_margin_first(rows):
    injected = np.flatnonzero(~rows["is_control"].values).tolist()
    many, margins = injected[12::-1], range(13, 0, -1)
    gates = [
        gate("core_r", Verdict.FAIL, rows, many, margins),
        gate("core_all", Verdict.EXPLAINED, rows, [4, 0], [2.5, -1.0]),
        gate("edge_all", Verdict.PASS, rows, [9], [900.0]),
        gate("ring_all", Verdict.FAIL, rows, [9], [-1.0]),
    ]
    found = telling_rows(rows, gates)
    assert {k: list(v) for k, v in found.items()} == {"core_r": many[:TELLING_ROWS], "core_all": [4]}
    assert found["core_all"][4] == ("scores 2.50 above its own control",)
    # Rows that are not finished, or of another run, are not there to be shown.
    assert telling_rows(rows.isel(sample=slice(0, 3)), gates[1:2]) == {}
