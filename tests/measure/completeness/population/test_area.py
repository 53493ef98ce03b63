"""Averages over the sky: cells count as their area, whatever number of galaxies is in them."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lensflow.errors import CompletenessError, LensflowWarning, TargetError
from lensflow.measure.completeness.bins import Ranges
from lensflow.measure.completeness.counts import Counted
from lensflow.measure.completeness.population.area import area_tables, sky_cells
from lensflow.measure.completeness.population.brick_areas import legacy_area_deg2, read_brick_areas
from lensflow.targets.brick_names import brick_names

AXES = (Ranges("psfsize_r", (1.0, 1.3, 1.6)), Ranges("psfdepth_r", (23.0, 24.0, 25.0)))
RADII = Ranges("theta_e_arcsec", (0.5, 1.0, 2.0))
# Name, PSF size, depth, area: sharp and deep is small, blurred is large, a corner has no host, one was never observed.
BRICKS = [
    ("sharp", 1.1, 24.5, 1.0),
    ("blurred", 1.5, 24.5, 6.0),
    ("blurred2", 1.45, 24.4, 2.0),
    ("shallow", 1.1, 23.5, 1.0),
    ("dark", 0.0, 0.0, 5.0),
]


def write(folder, rows=BRICKS, **columns):
    path = folder / "bricks.csv"
    frame = pd.DataFrame(rows, columns=["brickname", "psfsize_r", "psfdepth_r", "area_deg2"])
    frame.assign(**columns).to_csv(path, index=False)
    return str(path)


def injections(hosts, radius=(0.7, 1.5), each=10):
    """Rows of hosts in bricks; recovered with a chance that hangs on the brick and the radius."""
    brick = np.repeat([b for b, n in hosts for _ in range(n)], each)
    host = np.repeat(np.arange(sum(n for _, n in hosts)), each)
    theta = np.tile(radius, len(host) // 2)
    good = np.where(brick == "sharp", 0.8, 0.2) * np.where(theta > 1, 1.0, 0.5)
    score = (np.random.default_rng(1).random(len(host)) < good).astype(float)
    n = len(host)
    of = {b[0]: b for b in BRICKS}
    sizes, depths = (np.array([of[b][k] for b in brick], np.float32) for k in (1, 2))
    band = ("sample", "band")
    return xr.Dataset(
        {
            "row_id": ("sample", np.arange(n, dtype=np.uint64)), "host_index": ("sample", host),
            "score": ("sample", score),
            "is_control": ("sample", np.zeros(n, bool)), "total_injected_flux_nmgy": (band, np.ones((n, 1))),
            "render_not_converged": ("sample", np.zeros(n, bool)), "is_clean": ("sample", host % 2 == 0),
            "psf_source": (band, np.zeros((n, 1))), "psf_fwhm_arcsec": (band, np.ones((n, 1))),
            "assumed_psf": ("sample", np.zeros(n, bool)), "theta_e_arcsec": ("sample", theta),
            "psfsize_arcsec": (band, sizes[:, None]), "psfdepth_mag": (band, depths[:, None]),
            "brickname": ("sample", brick),
        },
        coords={"band": ["r"], "host_id": ("sample", host.astype(str))},
    )  # fmt: skip


@pytest.fixture
def made(tmp_path):
    """Nine in ten hosts are where seeing is good, a tenth of the sky."""
    rows = injections([("sharp", 900), ("blurred", 70), ("blurred2", 30)])
    counted = Counted.from_rows(rows)
    sky = sky_cells(read_brick_areas(write(tmp_path), "r"), rows, AXES)
    return rows, counted, sky, area_tables(counted, rows, [0.5], sky, RADII, 10, 20)


def test_completeness_is_that_of_the_sky_and_not_of_the_hosts(made):
    _, counted, _, found = made
    every = found["area"].sel(curve="all").isel(threshold=0)
    # Sharp 1 deg^2, blurred 8, a tenth untested: (0.6 + 8 x 0.15) / 9; of hosts: 0.9 x 0.6 + 0.1 x 0.15.
    assert float(every["completeness"]) == pytest.approx((0.6 + 8 * 0.15) / 9, abs=0.02)
    assert counted.recovered([0.5]).mean() == pytest.approx(0.555, abs=0.02)
    assert float(every["completeness_low"]) < (0.6 + 8 * 0.15) / 9 < float(every["completeness_high"])
    assert float(every["untested_share"]) == pytest.approx(0.1) and bool(every["tested"])
    assert every.attrs == {"area_deg2": 10.0, "unobserved_deg2": 5.0}
    c = float(every["completeness"])
    bounds = [float(every[k]) for k in ("effective_area_deg2", "low_bound", "high_bound")]
    assert bounds == pytest.approx([9 * c, 0.9 * c, 0.9 * c + 0.1])
    by_radius = found["area_theta_e_arcsec"].sel(curve="all").isel(threshold=0)
    assert by_radius["theta_e_arcsec"].values.tolist() == ["[0.5, 1)", "[1, 2)"]
    assert by_radius["effective_area_deg2"].values == pytest.approx([0.4 + 8 * 0.1, 0.8 + 8 * 0.2], abs=0.4)


def test_area_and_hosts_of_the_cells_add_up_and_cells_without_hosts_are_shown(made):
    cells = made[3]["area_cells"]
    assert float(cells["area_deg2"].sum()) == 10 and int(cells["n_hosts"].sum()) == 1000
    blurred = cells.sel(psfsize_r="[1.3, 1.6)", psfdepth_r="[24, 25)")
    assert (float(blurred["area_deg2"]), int(blurred["n_hosts"])) == (8, 100)
    assert ((cells["area_deg2"] > 0) & (cells["n_hosts"] == 0)).sum() == 1


def test_few_hosts_in_a_cell_stand_for_no_area(tmp_path):
    """Five hosts of one cell have no scatter that could be known: their area is untested, not sure."""
    rows = injections([("sharp", 100), ("blurred", 5)])
    counted = Counted.from_rows(rows)
    sky = sky_cells(read_brick_areas(write(tmp_path), "r"), rows, AXES)
    every = area_tables(counted, rows, [0.5], sky, RADII, 10, 20)["area"].sel(curve="all").isel(threshold=0)
    assert float(every["untested_share"]) == pytest.approx(0.9) and not bool(every["tested"])
    none = area_tables(counted, rows, [0.5], sky, RADII, 200, 20)["area"].sel(curve="all").isel(threshold=0)
    assert np.isnan(none["completeness"]) and float(none["untested_share"]) == 1 and float(none["high_bound"]) == 1


def test_hosts_outside_of_the_table_and_tables_of_other_surveys_are_noticed(tmp_path):
    rows = injections([("sharp", 20), ("shallow", 20)])
    bricks = read_brick_areas(write(tmp_path, BRICKS[:1]), "r")
    with pytest.raises(CompletenessError, match=r"no observed brick 'shallow', where host 20 lies \(199 other rows"):
        sky_cells(bricks, rows, AXES)
    longer = rows.assign(brickname=("sample", np.char.add(rows["brickname"].values, "er-by-far")))
    with pytest.raises(CompletenessError, match="no observed brick 'sharper-by-far'"):
        sky_cells(read_brick_areas(write(tmp_path), "r"), longer, AXES)
    unobserved = read_brick_areas(write(tmp_path, [*BRICKS[:3], ("shallow", 0, 0, 1)]), "r")
    with pytest.raises(CompletenessError, match="no observed brick 'shallow'"):
        sky_cells(unobserved, rows, AXES)
    other = [(n, s + 0.3 * (s > 0), d, a) for n, s, d, a in BRICKS]
    with pytest.warns(LensflowWarning, match=r"psfsize_r of hosts is -0\.3 arcsec off that of their bricks"):
        sky_cells(read_brick_areas(write(tmp_path, other), "r"), rows, AXES)


def test_areas_come_from_edges_or_from_the_legacy_surveys_bricks(tmp_path):
    ra, dec = np.array([0.13, 181.3, 77.7, 10.0]), np.array([0.0, 32.5, -68.25, 89.9])
    names = brick_names(ra, dec).astype(str)
    # Positions just inside the brick have its name, those just outside have not: the area is that of the name.
    for k in range(3):
        row = -90 + 0.25 * np.floor((dec[k] + 90.125) / 0.25)
        height = np.rad2deg(np.diff(np.sin(np.deg2rad([row - 0.125, row + 0.125]))))[0]
        width = legacy_area_deg2(dec[k : k + 1])[0] / height
        first = np.floor(ra[k] / width) * width
        for shift, inside in ((1e-6, True), (-1e-6, False)):
            ends = np.array([first + shift, first + width - shift]) % 360
            assert ((brick_names(ends, np.full(2, dec[k])).astype(str) == names[k]) == inside).all()
    table = pd.DataFrame({"brickname": names, "psfsize_r": 1.2, "psfdepth_r": 24.0, "ra": ra, "dec": dec})
    path = str(tmp_path / "b.csv")
    table.to_csv(path, index=False)
    found = read_brick_areas(path, "r")
    assert found.area_deg2.sum() == pytest.approx(legacy_area_deg2(dec).sum())
    every = np.arange(-90, 90.1, 0.25)
    sines = np.sin(np.deg2rad(np.clip([every - 0.125, every + 0.125], -90, 90)))
    counts = 360 * np.rad2deg(sines[1] - sines[0]) / legacy_area_deg2(every)
    assert counts == pytest.approx(np.rint(counts))  # a whole number of bricks in each row
    edges = table.drop(columns=["ra", "dec"]).assign(ra1=0, ra2=2, dec1=0, dec2=[1, 1, 1, 1])
    edges.to_csv(path, index=False)
    assert read_brick_areas(path, "r").area_deg2 == pytest.approx(2 * np.rad2deg(np.sin(np.deg2rad(1))))
    table.assign(brickname=["x", *names[1:]]).to_csv(path, index=False)
    with pytest.raises(TargetError, match=r"brick x .* is none of the Legacy Surveys'"):
        read_brick_areas(path, "r")


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([*BRICKS, BRICKS[0]], "brick sharp has more than one row"),
        ([(n, s, 10 ** (0.8 * (d - 20)), a) for n, s, d, a in BRICKS], "no magnitude"),
        ([(n, 0.0, d, a) for n, s, d, a in BRICKS], "no brick has a PSF size and a depth"),
        ([("sharp", 1.1, 24.5, -1.0)], "an area of -1"),
        ([], "empty"),
    ],
)  # fmt: skip
def test_tables_that_would_give_wrong_areas_are_refused(tmp_path, rows, text):
    with pytest.raises(TargetError, match=text):
        read_brick_areas(write(tmp_path, rows), "r")
    with pytest.raises(TargetError, match="psfsize"):
        read_brick_areas(write(tmp_path), "z")
