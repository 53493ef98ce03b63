"""A user's table of galaxies: every row is used or counted, and what cannot be meant is refused."""

import numpy as np
import pytest
from astropy import units as u
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lensflow.config import Range
from lensflow.config.source_table import SourceTableConfig
from lensflow.errors import ManifestError
from lensflow.manifest.source_table import read_source_table
from tests.manifest.made_galaxies import made_galaxies, write_galaxies

GRZ = ("g", "r", "z")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("galaxies")


def read(path, bands=GRZ, mag_range=None, needs_redshift=True, **changes):
    return read_source_table(SourceTableConfig(table=str(path), **changes), bands, (), mag_range, needs_redshift)


def few(n=200):
    return made_galaxies(n)


@pytest.mark.parametrize("kind", ["t.csv", "t.ecsv", "t.fits", "t.parquet"])
def test_every_kind_of_file_gives_the_same_galaxies(folder, kind):
    made = few()
    table = read(write_galaxies(folder / kind, made))
    order = np.argsort(made["z"])
    assert table.row.tolist() == order.tolist() and table.name.tolist() == made["id"][order].tolist()
    assert table.bands == ("g", "r", "z") and not table.excluded and table.n_read == 200
    assert np.allclose(table.mag[:, 1], made["mag_r"][order]) and np.allclose(
        table.reff_arcsec, made["reff_arcsec"][order]
    )


def bad(made, name, rows, value):
    out = np.array(made[name], dtype=float)
    out[rows] = value
    return {name: out}


FAULTS = {
    "MAG_SENTINEL_r": ("mag_r", 99.0),
    "NO_MAG_g": ("mag_g", np.nan),
    "IMPLAUSIBLE_MAG_z": ("mag_z", 2.0),
    "NO_SIZE": ("reff_arcsec", np.nan),
    "SIZE_NOT_POSITIVE": ("reff_arcsec", -99.0),
    "IMPLAUSIBLE_SIZE": ("reff_arcsec", 45.0),
    "NO_REDSHIFT": ("z", np.nan),
    "REDSHIFT_NOT_POSITIVE": ("z", -99.0),
    "IMPLAUSIBLE_REDSHIFT": ("z", 99.0),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_bad_value_leaves_its_row_out_and_is_counted_with_its_reason(folder, reason):
    made, (name, value) = few(), FAULTS[reason]
    table = read(write_galaxies(folder / "bad.fits", made, **bad(made, name, [3, 17, 90], value)))
    assert table.excluded == {reason: 3} and len(table) == 197
    assert not {3, 17, 90} & set(table.row.tolist())


def test_minus_99_and_a_missing_value_of_the_file_are_no_magnitudes_either(folder):
    made = few()
    masked = np.ma.MaskedArray(made["mag_z"], mask=np.arange(200) < 4)
    table = read(write_galaxies(folder / "m.ecsv", made, mag_z=masked, **bad(made, "mag_g", [10], -99.0)))
    assert table.excluded == {"MAG_SENTINEL_g": 1, "NO_MAG_z": 4}


def test_a_flux_that_is_not_positive_is_no_detection(folder):
    made = few()
    flux = 10 ** (-0.4 * (made["mag_r"] - 22.5))
    flux[:2] = [-0.1, 0.0]
    table = read(write_galaxies(folder / "f.fits", made, mag_r=None, flux_r=flux * u.Unit("nmgy")))
    assert table.excluded == {"NOT_DETECTED_r": 2}
    assert table.mag[:, 1] == pytest.approx(made["mag_r"][table.row], abs=1e-9)


def test_bands_that_are_not_needed_may_be_missing(folder):
    made = few()
    assert read(write_galaxies(folder / "u.fits", made, **bad(made, "mag_u", slice(0, 150), np.nan))).excluded == {}
    # They are needed where galaxies are moved.
    with pytest.raises(ManifestError, match=r"150 of 200 rows cannot be used \(NO_MAG_u 150\), more than"):
        read(write_galaxies(folder / "u.fits", made, **bad(made, "mag_u", slice(0, 150), np.nan)), redshift="plan")


def test_copies_of_a_row_count_once_and_an_id_of_two_galaxies_not_at_all(folder):
    made = few()
    twice = {k: np.concatenate([v, v[[5]], v[[9]]]) for k, v in made.items()}
    twice["mag_r"][-1] += 0.5
    table = read(write_galaxies(folder / "d.fits", twice))
    assert table.excluded == {"ID_OF_TWO_GALAXIES": 2, "DUPLICATE": 1}
    assert table.name.tolist().count("G00005") == 1 and "G00009" not in table.name.tolist()
    assert 200 not in table.row  # the first of the copies stays


def test_a_row_without_a_name_is_left_out_and_a_table_without_names_has_rows(folder):
    made = few()
    names = made["id"].copy()
    names[4] = ""
    assert read(write_galaxies(folder / "n.csv", made, id=names)).excluded == {"NO_ID": 1}
    table = read(write_galaxies(folder / "n.fits", made, id=None))
    assert table.name.tolist() == table.row.astype(str).tolist()


def test_weights_that_are_none_are_counted(folder):
    made = few()
    weight = np.ones(200)
    weight[:3] = [np.nan, -1, 0]
    assert read(write_galaxies(folder / "w.fits", made, weight=weight)).excluded == {"BAD_WEIGHT": 2, "WEIGHT_ZERO": 1}


def test_limits_of_the_magnitude_cut_the_table_and_are_no_fault_of_its_rows(folder):
    made = few()
    table = read(
        write_galaxies(folder / "l.fits", made), mag_range=Range(min=24, max=25), max_excluded=0.0, min_galaxies=50
    )
    inside = (made["mag_r"] >= 24) & (made["mag_r"] <= 25)
    assert sorted(table.row) == np.flatnonzero(inside).tolist() and len(table) < 150
    assert table.excluded == {"OUTSIDE_SRC_MAG_RANGE": int((~inside).sum())}


REFUSED = {
    "magnitudes that are fluxes": (lambda m: {"mag_r": 10 ** (-0.4 * (m["mag_r"] - 22.5))}, "mag_r: the middle of its"),
    "fluxes that are magnitudes": (lambda m: {"mag_r": None, "flux_r": m["mag_r"]}, "look like magnitudes"),
    "a unit of flux on a magnitude": (lambda m: {"mag_r": m["mag_r"] * u.Unit("nJy")}, "'nJy': magnitudes are needed"),
    "kpc": (lambda m: {"reff_arcsec": m["reff_arcsec"] * u.kpc}, "arcsec is needed"),
    "pixels": (lambda m: {"reff_arcsec": m["reff_arcsec"] / 0.03}, "Are they pixels"),
    "no size": (lambda m: {"reff_arcsec": None}, "no column 'reff_arcsec'"),
    "no redshift": (lambda m: {"z": None}, "no column 'z'"),
    "no band": (lambda m: {"mag_z": None, "mag_Y": None}, "z is at 926 nm: nothing is extrapolated"),
    "no photometry": (lambda m: dict.fromkeys([k for k in m if k.startswith("mag_")]), "nor any other band"),
    "mostly bad": (lambda m: bad(m, "z", slice(0, 101), np.nan), r"101 of 200 rows cannot be used \(NO_REDSHIFT 101\)"),
    "too few": (lambda m: {k: v[:80] for k, v in m.items()}, "80 usable galaxies of 80 rows .* 100 are needed"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_table_that_cannot_be_meant_is_refused_with_its_column(folder, fault):
    made = few()
    change, message = REFUSED[fault]
    with pytest.raises(ManifestError, match=message):
        read(write_galaxies(folder / "refused.ecsv", made, **change(made)))


def test_sizes_in_another_unit_are_converted(folder):
    made = few()
    table = read(write_galaxies(folder / "c.ecsv", made, reff_arcsec=(made["reff_arcsec"] / 60) * u.arcmin))
    assert table.reff_arcsec == pytest.approx(made["reff_arcsec"][table.row], rel=1e-12)


def test_bands_of_another_camera_are_interpolated_and_say_their_wavelength(folder):
    made = few()
    hst = {"F606W": made["mag_r"], "F435W": made["mag_g"], "F125W": made["mag_z"]}
    plain = {k: v for k, v in made.items() if not k.startswith("mag_")} | hst
    path = write_galaxies(folder / "hst.fits", plain)
    columns = {"mag_F435W": "F435W", "mag_F606W": "F606W", "mag_F125W": "F125W"}
    nm = {"F435W": 430.0, "F606W": 590.0, "F125W": 1250.0}
    table = read(path, columns=columns, wavelengths_nm=nm)
    assert table.bands == ("F435W", "F606W", "F125W") and table.band_nm == (430.0, 590.0, 1250.0)
    with pytest.raises(ManifestError, match=r"columns\.mag_F435W: the wavelength of F435W is not known"):
        read(path, columns=columns)
    with pytest.raises(ManifestError, match=r"wavelengths_nm: g is a band of DECam's here"):
        read(path, columns=columns, wavelengths_nm={"g": 480.0})


def test_a_table_without_redshifts_will_do_where_none_is_needed(folder):
    made = few()
    table = read(write_galaxies(folder / "noz.fits", made, z=None), needs_redshift=False)
    assert not table.has_redshifts and len(table) == 200


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 149), st.sampled_from(sorted(FAULTS))), max_size=40), st.integers(0, 99))
def test_every_row_is_used_or_counted_once_and_the_order_of_the_rows_does_not_count(folder, faults, seed):
    made = made_galaxies(150)
    for row, reason in faults:
        name, value = FAULTS[reason]
        made[name][row] = value
    table = read(write_galaxies(folder / "h.fits", made), min_galaxies=2)
    assert len(table) + sum(table.excluded.values()) == table.n_read == 150
    assert len(table) == 150 - len({row for row, _ in faults})
    order = np.random.default_rng(seed).permutation(150)
    other = read(write_galaxies(folder / "h.fits", {k: v[order] for k, v in made.items()}), min_galaxies=2)
    assert other.name.tolist() == table.name.tolist() and other.excluded == table.excluded
    assert order[other.row].tolist() == table.row.tolist() and np.array_equal(other.mag, table.mag)
