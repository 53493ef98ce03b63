"""Stored arcs are those of the installed renderer and of the slow reference; a changed one is noticed."""

from dataclasses import replace

import numpy as np
import pytest

from lensflow.diagnostics import Status, findings
from lensflow.diagnostics import rendering as module
from lensflow.diagnostics.rendering import ACCURACY, rendering
from lensflow.diagnostics.specimens import Specimens


@pytest.fixture(scope="module")
def kept(pairs):
    """Eight of the rows, so that no test waits for all of them."""
    few = Specimens.from_block(pairs.isel(sample=slice(0, 10)))
    assert few.keys.size == 8
    return few


@pytest.fixture
def quick(monkeypatch):
    """Leave out the reference, half a second a row."""
    monkeypatch.setattr(module, "REFERENCE_ROWS", 0)


def test_a_sound_run_is_made_anew_within_the_accuracy_and_beside_the_reference(kept):
    found = rendering(kept)
    assert float(found["error"].max()) <= 1e-6 and float(found["flux_error"].max()) <= 1e-6
    made = found["reference_error"].notnull()
    assert int(made.sum()) == module.REFERENCE_ROWS
    widest = int(np.argmax(kept.columns["src_reff_arcsec"] * kept.columns["src_q"]))
    assert bool(made[widest])
    assert {f.status for f in findings({"rendering": found})} == {Status.OK}


@pytest.mark.parametrize("size", [3e-3, -3e-3])
def test_one_changed_pixel_is_noticed_in_its_row_and_band(kept, quick, size):
    arc = kept.arc.copy()
    arc[5, 2, 30, 31] += size * arc[5, 2].max()
    found = rendering(replace(kept, arc=arc))
    assert np.argwhere(found["error"].values > ACCURACY).tolist() == [[5, 2]]
    assert float(found["error"][5, 2]) == pytest.approx(abs(size), rel=1e-2)
    alarm = next(f for f in findings({"rendering": found}) if f.status is Status.ALARM)
    assert alarm.check == "stored arcs made anew" and alarm.where == "row 5, z"


def test_an_arc_scaled_as_a_whole_is_an_error_of_its_flux(kept, quick):
    arc = kept.arc.copy()
    arc[2, 1] *= 1.004
    found = rendering(replace(kept, arc=arc))
    assert float(found["flux_error"][2, 1]) == pytest.approx(0.004, rel=1e-3)
    assert int((found["flux_error"] > ACCURACY).sum()) == 1


def test_arcs_of_two_rows_exchanged_are_noticed_in_both(kept, quick):
    arc = kept.arc.copy()
    arc[[0, 1]] = arc[[1, 0]]
    found = rendering(replace(kept, arc=arc))
    bad = (found["error"] > ACCURACY).any("band").values
    assert bad.tolist() == [True, True] + [False] * 6


def test_light_where_the_renderer_puts_none_is_an_error_without_measure(kept, quick):
    absent = np.argwhere(~np.isfinite(kept.columns["psf_fwhm_arcsec"]))
    row, band = absent[0] if absent.size else (0, 0)
    columns = {**kept.columns, "psf_fwhm_arcsec": kept.columns["psf_fwhm_arcsec"].copy()}
    columns["psf_fwhm_arcsec"][row, band] = np.nan
    arc = kept.arc.copy()
    arc[row, band] = kept.arc[row, 1]
    found = rendering(replace(kept, columns=columns, arc=arc))
    assert np.isinf(found["error"][row, band]) and np.isinf(found["flux_error"][row, band])
    assert next(f for f in findings({"rendering": found}) if f.check == "their flux").status is Status.ALARM


def test_what_is_not_compared_is_said(kept):
    few = replace(kept, attrs={})
    found = rendering(few)
    assert np.isnan(found["error"]).all() and "do not say psf_model" in found.attrs["why"]
    (judged,) = findings({"rendering": found})
    assert judged.status is Status.NOT_TESTED
    assert rendering(replace(kept, n_images=3, attrs={})).attrs["n_images"] == 3
