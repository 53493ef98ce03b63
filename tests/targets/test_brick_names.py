from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from lensflow.errors import LensflowWarning, TargetError
from lensflow.targets import read_targets
from lensflow.targets.brick_names import brick_names, names_of_positions
from lensflow.targets.brick_table import brick_tables, check_computed_bricks

REAL = Path(__file__).parents[3] / "shared" / "data" / "ls_catalogs"


def test_names_are_those_that_the_survey_gives():
    # Bricks of DR9 and DR10 whose centres are in their names, and the caps.
    known = {(39.6, 0.0): "0396p000", (22.93935, -13.468768): "0229m135", (139.576537, 51.798058): "1395p517",
             (59.1072297, -30.4899077): "0591m305", (12.0, 90.0): "1800p900", (300.0, -89.99): "1800m900"}  # fmt: skip
    ra, dec = np.array(list(known)).T
    assert brick_names(ra, dec).astype(str).tolist() == list(known.values())


@given(st.floats(0, 360), st.floats(-89.8, 89.8))
def test_the_centre_in_a_name_is_within_a_brick_of_the_position(ra, dec):
    name = brick_names(np.array([ra]), np.array([dec]))[0].decode()
    centre_ra, centre_dec = int(name[:4]) / 10, int(name[5:]) / 10 * (1 if name[4] == "p" else -1)
    away = (ra - centre_ra + 180) % 360 - 180
    assert abs(dec - centre_dec) <= 0.125 + 0.1
    assert abs(away) * np.cos(np.deg2rad(min(abs(dec) + 0.25, 90))) <= 0.125 + 0.1


@given(st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90)), min_size=2, max_size=10))
def test_equal_names_of_positions_are_equal_positions(places):
    ra, dec = np.array(places).T
    names = names_of_positions(ra, dec)
    for i in range(1, len(names)):
        if names[i] == names[0]:
            assert abs(ra[i] - ra[0]) <= 1.1e-6 and abs(dec[i] - dec[0]) <= 1.1e-6


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="no real catalogues here")
def test_names_are_those_of_real_sweeps():
    compared = 0
    for path in REAL.glob("sweep-*.fits"):
        t = Table.read(path)
        names = brick_names(np.asarray(t["RA"], float), np.asarray(t["DEC"], float))
        assert names.tolist() == [n.strip().encode() for n in t["BRICKNAME"]]
        compared += len(names)
    assert compared > 0


def written(tmp_path):
    path = tmp_path / "lenses.csv"
    path.write_text("RA,DEC,grade\n22.939350,-13.468768,B\n41.500182,-0.789407,C\n")
    return str(path)


def test_a_list_of_positions_is_enough_and_what_is_made_up_is_said(tmp_path):
    with pytest.warns(LensflowWarning) as caught:
        out = read_targets(written(tmp_path))
    said = [str(w.message) for w in caught]
    assert out["brickname"].values.tolist() == ["0229m135", "0416m007"]
    assert out["host_id"].values.tolist() == ["J022.939350-13.468768", "J041.500182-00.789407"]
    assert any("named by their positions" in s for s in said) and any("computed from the positions" in s for s in said)
    assert out.attrs["notes"] == said


@pytest.mark.filterwarnings("ignore::lensflow.errors.LensflowWarning")
@pytest.mark.parametrize("inside", [True, False])
def test_computed_names_are_held_against_the_surveys_table(tmp_path, inside):
    out = read_targets(written(tmp_path))
    ra = [22.9, 41.5] if inside else [22.9, 43.0]
    Table(
        {
            "BRICKNAME": ["0229m135", "0416m007"],
            "RA1": np.array(ra) - 0.125, "RA2": np.array(ra) + 0.125,
            "DEC1": np.array([-13.5, -0.75]) - 0.125, "DEC2": np.array([-13.5, -0.75]) + 0.125,
        }
    ).write(tmp_path / "survey-bricks.fits.gz")  # fmt: skip
    for root in (tmp_path, tmp_path / "south"):
        table = next(t for t in brick_tables(str(root)) if Path(t).exists())
        if inside:
            check_computed_bricks(out, table)
        else:
            with pytest.raises(
                TargetError, match=r"has no brick 0416m007 at \(41\.50018, -0\.78941\), where host J041"
            ):
                check_computed_bricks(out, table)
