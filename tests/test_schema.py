from pathlib import Path

import numpy as np
import pytest

from lensflow import schema
from lensflow.errors import StoreError


@pytest.mark.parametrize("store", list(schema.STORES))
def test_names_are_unique_and_described(store):
    names = [v.name for v in schema.STORES[store]]
    assert len(set(names)) == len(names)
    assert all(v.meaning for v in schema.STORES[store])


def test_angles_lengths_and_fluxes_carry_their_units_in_the_name():
    suffix = {"arcsec": "_arcsec", "rad": "_rad", "deg": "_deg", "nMgy": "_nmgy", "km/s": "_km_s"}
    for pool in (*schema.STORES.values(), schema.METRICS):
        for v in pool:
            if v.units in suffix:
                assert v.name.endswith(suffix[v.units]), v.name


def test_an_unknown_variable_names_the_nearest_one():
    with pytest.raises(StoreError, match="theta_e_arcsec"):
        schema.variable("manifest", "theta_e_arcse")


def test_a_dataset_gets_dims_dtype_and_units_from_the_registry():
    ds = schema.dataset("targets", {"host_id": ["a", "b"], "ra_deg": [1, 2]})
    assert ds["ra_deg"].dtype == np.float64 and ds["ra_deg"].attrs["units"] == "deg"
    with pytest.raises(StoreError, match="dimensions"):
        schema.dataset("targets", {"ra_deg": [[1.0]]})


def test_check_names_everything_that_is_missing():
    ds = schema.dataset("targets", {"host_id": ["a"], "ra_deg": [1.0]})
    with pytest.raises(StoreError, match=r"dec_deg is missing.*brickname is missing"):
        schema.check("targets", ds)


def test_band_reasons_are_named_with_their_band():
    bits = int(schema.Reason.NO_COVERAGE | schema.Reason.NO_PSF)
    assert schema.reason_names(bits, "g") == ["NO_COVERAGE_g", "NO_PSF_g"]
    assert schema.reason_names(int(schema.Reason.OUTSIDE_BRICK), "g") == ["OUTSIDE_BRICK"]


def test_packed_columns_follow_the_registry():
    columns = schema.packed_columns(schema.METRICS, ["g", "r"])
    assert columns[0] == "magnification" and "snr_peak_g" in columns and len(set(columns)) == len(columns)


def test_the_documentation_is_up_to_date():
    assert Path(__file__).parents[1].joinpath("docs/schema.md").read_text() == schema.markdown(), "run make docs"
