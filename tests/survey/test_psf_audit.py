import io

import numpy as np
import pytest
import xarray as xr

from lensflow.schema import PsfSource
from lensflow.show.plain import PlainConsole
from lensflow.show.terminal import print_psf_audit
from lensflow.survey.psf_audit import psf_audit


@pytest.fixture
def cutouts():
    size = np.array([[1.4, 1.3], [1.5, 0.6], [np.nan, 1.2], [1.6, 0.7]])
    source = np.array([[0, 0], [2, 0], [4, 1], [0, 0]], np.uint8)
    return xr.Dataset(
        {"psfsize_arcsec": (("host", "band"), size), "psf_source": (("host", "band"), source)},
        {"host_id": ("host", ["a", "b", "c", "d"]), "band": ["g", "r"]},
    )


def test_every_host_is_counted_once_a_band_and_percentiles_leave_out_hosts_without_a_size(cutouts):
    audit = psf_audit(cutouts)
    assert (audit["hosts"].sum("source") == 4).all()
    g = audit.sel(band="g")
    assert dict(zip(audit["source"].values, g["hosts"].values, strict=True)) == {
        "map": 2, "manifest": 0, "fallback_r": 1, "coadd_psf": 0, "none": 1,
    }  # fmt: skip
    assert float(g["psfsize_arcsec"].sel(percentile=50)) == 1.5
    assert audit.attrs == {} and PsfSource.NONE.name.lower() in audit["source"].values


def test_sizes_that_no_site_sees_are_counted_and_the_smallest_is_named(cutouts):
    audit = psf_audit(cutouts)
    assert audit["suspicious"].values.tolist() == [0, 2]
    assert audit["most_suspicious"].values.tolist() == ["", "b"]


def test_a_small_size_of_the_readers_own_is_no_error_of_a_map(cutouts):
    cutouts["psfsize_arcsec"][2, 1], cutouts["psf_source"][2, 1] = 0.16, int(PsfSource.MANIFEST)
    audit = psf_audit(cutouts)
    assert audit["suspicious"].values.tolist() == [0, 2] and audit["most_suspicious"].values.tolist() == ["", "b"]


def test_a_band_without_any_size_has_nan_percentiles(cutouts):
    cutouts["psfsize_arcsec"][:, 0] = np.nan
    assert np.isnan(psf_audit(cutouts)["psfsize_arcsec"].sel(band="g")).all()


def test_the_table_names_bands_percentiles_and_the_suspicious_host(cutouts):
    console = PlainConsole(width=80, file=io.StringIO())
    print_psf_audit(console, psf_audit(cutouts))
    text = console.file.getvalue()
    assert "P99" in text and "0.603" in text
    assert "2 below 0.8" in text and "host b" in text
