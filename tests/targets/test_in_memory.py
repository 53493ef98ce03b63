"""A table in memory gives the targets of the file that it came from, or is refused by name."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

import lensflow as lf
from lensflow.errors import ConfigError, TargetError
from lensflow.targets import read_targets
from tests.factories import make_config
from tests.small_survey import small_survey

# Ids beyond 2^53, a missing value of every kind, a column per band.
IDS = [39627700000000001, 39627700000000002, 39627700000000003]
CSV = """TARGETID,RA,DEC,BRICKNAME,FLUX_R,Z_LENS,SHAPE_R
39627700000000001,10.5,-1.25,0105m012,3.5,0.5,1.0
39627700000000002,10.625,-1.25,0105m012,,-99,1.5
39627700000000003,10.75,-1.25,0107m012,7.25,0.75,2.0
"""


@pytest.fixture
def of_file(tmp_path):
    path = tmp_path / "targets.csv"
    path.write_text(CSV)
    return read(str(path))


def read(table, **settings):
    return read_targets(table, missing_values=[-99], **settings)


def frame():
    return pd.DataFrame(
        {
            "targetid": IDS, "ra": [10.5, 10.625, 10.75], "dec": [-1.25] * 3,
            "brickname": ["0105m012", "0105m012", "0107m012"], "flux_r": [3.5, np.nan, 7.25],
            "z_lens": [0.5, -99, 0.75], "shape_r": [1.0, 1.5, 2.0],
        }
    )  # fmt: skip


def table():
    out = Table.from_pandas(frame())
    out["flux_r"] = MaskedColumn([3.5, 1e20, 7.25], mask=[False, True, False])
    out["ra"] = (np.deg2rad(out["ra"]) * u.rad).astype(">f8")
    out["shape_r"] = [1 / 60, 1.5 / 60, 2 / 60] * u.arcmin
    return out


def with_quantities():
    out = QTable(table())
    out["flux_r"] = Masked([3.5, 1e20, 7.25] * u.Unit("nmgy"), mask=[False, True, False])
    out["sky"] = SkyCoord([1, 2, 3] * u.deg, [1, 2, 3] * u.deg)
    return out


def dataset():
    out = xr.Dataset.from_dataframe(frame().rename_axis("host"))
    out["ra"] = out["ra"].copy(data=np.deg2rad(out["ra"])).assign_attrs(units="rad")
    return out


TABLES = {
    "DataFrame": frame,
    "DataFrame by id": lambda: frame().set_index("targetid"),
    "nullable DataFrame": lambda: frame().convert_dtypes(),
    "categories": lambda: frame().astype({"brickname": "category"}),
    "filtered DataFrame": lambda: pd.concat([frame(), frame()]).iloc[[3, 1, 5]],
    "Table": table,
    "QTable": with_quantities,
    "Dataset": dataset,
    "lazy Dataset": lambda: dataset().chunk(host=2),
    "Dataset by id": lambda: dataset().swap_dims(host="targetid").drop_vars("host"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_the_targets_are_those_of_the_file(of_file, kind):
    found = read(TABLES[kind]())
    assert found["host_id"].values.tolist() == [str(i) for i in IDS]
    assert set(found.variables) == set(of_file.variables)
    for name in of_file.variables:
        if found[name].dtype.kind == "f":
            np.testing.assert_allclose(found[name].values, of_file[name].values, rtol=1e-12, err_msg=name)
        else:
            assert (found[name].values == of_file[name].values).all()
    assert np.isnan(found["flux_nmgy"].values[1, 1]) and np.isnan(found["z_lens"].values[1])


def test_read_targets_can_be_handed_back(of_file):
    again = read_targets(of_file)
    xr.testing.assert_identical(again.drop_attrs(), of_file.drop_attrs())


REFUSED = {
    "no table": (lambda: [{"ra": 1.0}], r"builtins\.list is no table that lensflow reads"),
    "a dict": (lambda: {"ra": [1.0], "dec": [1.0]}, r"a builtins\.dict is no table"),
    "an array": (lambda: np.zeros((3, 2)), r"numpy\.ndarray is no table"),
    "no rows": (lambda: frame().iloc[:0], "is empty"),
    "no position": (lambda: frame().drop(columns="ra"), r"targets \(pandas DataFrame\): no column 'ra_deg'"),
    "inexact ids": (lambda: frame().astype({"targetid": float}), r"holds whole numbers exactly only below .*|3\.96"),
    "an id for two places": (lambda: frame().assign(targetid=1), "names 3 different positions"),
    "no number": (lambda: frame().astype({"ra": object}).replace({"ra": {10.625: "here"}}), r"'here'.*row 1"),
    "no position at all": (lambda: frame().assign(dec=[1, np.nan, 2]), r"dec.*row 1"),
    "two columns of a name": (lambda: pd.concat([frame(), frame()[["ra"]]], axis=1), "more than one column"),
    "names that are numbers": (lambda: frame().rename(columns={"ra": 0}), "column 0 has no text"),
    "texts without a name": (lambda: frame().set_index("brickname").rename_axis(None), "rename_axis"),
    "an unknown unit": (lambda: _with_unit("furlong"), r"targets \(astropy Table\): column ra .*furlong"),
    "a unit of another kind": (lambda: dataset().assign(ra=dataset()["ra"].assign_attrs(units="Jy")), r"is in 'Jy'"),
    "two dims": (lambda: dataset().rename(host="a").assign_coords(b=("b", [1, 2])), "variables along one dim"),
    "values in rows": (lambda: _with_vectors(), "has .* values in each row"),
    "lists in rows": (lambda: frame().assign(ra=[[1.0, 2.0]] * 3), r"holds a list.*not a number"),
}


def _with_unit(unit):
    out = Table.from_pandas(frame())
    out["ra"].unit = u.Unit(unit, parse_strict="silent")
    return out


def _with_vectors():
    out = Table.from_pandas(frame())
    out["ra"] = np.zeros((3, 2))
    return out


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_understood_is_refused_by_name(kind):
    make, words = REFUSED[kind]
    with pytest.raises(TargetError, match=words):
        read(make())


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    tree = small_survey(folder)
    return folder, tree, lf.cut(make_config(**tree)).load()


def without_targets(folder, tree, name):
    bricks = {k: v for k, v in tree["survey"].items() if k != "targets"}
    return make_config(**tree | {"out": str(folder / name), "survey": bricks})


@pytest.mark.parametrize(
    "kind", ["frame", pytest.param("table", marks=pytest.mark.slow), pytest.param("dataset", marks=pytest.mark.slow)]
)
def test_cutouts_of_a_table_in_memory_are_those_of_its_file(survey, kind):
    folder, tree, of_file = survey
    read_as = {"frame": pd.read_csv, "table": Table.read, "dataset": read_targets}[kind]
    config = without_targets(folder, tree, kind)
    cutouts = lf.cut(config, targets=read_as(tree["survey"]["targets"]))
    for name in of_file.variables:
        assert cutouts[name].values.tobytes() == of_file[name].values.tobytes(), name
    again = lf.cut(config, targets=read_as(tree["survey"]["targets"]))
    assert again.attrs["fingerprint"] == cutouts.attrs["fingerprint"]


def test_targets_are_given_once(survey):
    folder, tree, _ = survey
    table = pd.read_csv(tree["survey"]["targets"])
    with pytest.raises(ConfigError, match=r"a table is given, and survey\.targets names"):
        lf.cut(make_config(**tree), targets=table)
    with pytest.raises(ConfigError, match=r"survey\.targets is needed"):
        lf.cut(without_targets(folder, tree, "none"))
    with pytest.raises(ConfigError, match=r"survey\.synthetic brings its own hosts"):
        lf.cut(make_config(str(folder / "none"), survey={"synthetic": {}}), targets=table)
    assert not (folder / "none").exists()
