"""Tables of real lenses: every format, every odd value, every row counted."""

import csv
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

import lensflow as lf
from lensflow.errors import LensflowWarning, TargetError
from lensflow.sky import close_pairs
from lensflow.targets.lenses import LensNote, note_names, read_lenses

ARCSEC = 1 / 3600
LENSCAT = "name,RA [deg],DEC [deg],zlens,type,grading,ref\n"
LEGACY = "name,ra,dec,zlens,type,grading,ref\n"
SLACS = "Bolton et al. (2008) - arXiv:0805.1931"
HUANG = "Huang et al. (2020) - arXiv:1906.00970"
LOPES = "Lopes et al. (2004) - doi:10.1086/423038"
QUASARS = "https://research.ast.cam.ac.uk/lensedquasars/index.html"


def written(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def counted(lenses):
    """Check that the counts add up, and hand the table on."""
    assert lenses.attrs["n_read"] == lenses.attrs["n_removed"] + lenses.attrs["n_duplicates"] + lenses.sizes["lens"]
    assert lenses.attrs["n_removed"] == sum(lenses.attrs["removed"].values())
    assert len(set(lenses.lens_id.values.tolist())) == lenses.sizes["lens"]
    return lenses


def by_id(lenses, name):
    (row,) = np.flatnonzero(lenses.lens_id.values == name)
    return {k: v.values[row] for k, v in lenses.data_vars.items()}


@pytest.fixture
def lenscat(tmp_path):
    return counted(
        read_lenses(
            written(
                tmp_path,
                LENSCAT
                + f"SDSSJ1,10.12345,-5.12345,0.2,galaxy,confident,{SLACS}\n"
                + f"DESI-2,20.12345,5.12345,0.3 | nan,galaxy,confident,{HUANG}\n"
                + f"a | b | c,30.12345,5.12345,0.3 | 0.7,galaxy,probable,{HUANG} | {LOPES}\n"
                + f"-,40.123,5.1,not measured,galaxy,probable,{HUANG}\n"
                + f"12,50.12345,5.12345,L,galaxy,probable,{HUANG}\n"
                + f"12,60.12345,5.12345,0.599?,galaxy,probable,{HUANG}\n"
                + f"Q,70.12345,5.12345,0.55*,galaxy,confident,{QUASARS}\n"
                + f"NSCS,80.12345,5.12345,-,galaxy,probable,{LOPES}\n"
                + f"A1689,90.12345,5.12345,0.18,cluster,confident,{HUANG}\n"
                + f"G1,100.12345,5.12345,0.18,group,confident,{HUANG}\n",
            )
        )
    )


def test_lenscat_is_read_with_its_traps(lenscat):
    assert lenscat.attrs["removed"] == {
        "kind cluster": 1,
        "kind group": 1,
        "lensed quasar": 1,
        "reference: Lopes 2004: galaxy clusters": 1,
    }
    assert lenscat.sizes["lens"] == 6
    slacs, desi, merged = by_id(lenscat, "SDSSJ1"), by_id(lenscat, "DESI-2"), by_id(lenscat, "a")
    assert (slacs["tier"], slacs["is_lens"], slacs["z_lens"]) == ("A", 1, 0.2)
    assert (desi["tier"], desi["is_lens"], desi["z_lens"], desi["note"]) == ("B", -1, 0.3, 0)
    assert (merged["tier"], merged["also_named"]) == ("C", "b | c")
    assert note_names(int(merged["note"])) == ["CONFLICT_Z", "EXCLUDED_REFERENCE_TOO"]
    assert np.isnan(merged["z_lens"])


def test_names_that_are_none_or_shared_are_made_from_positions(lenscat):
    named = [i for i in lenscat.lens_id.values if i.startswith("12 J")]
    assert len(named) == 2 and "J040.123000+05.100000" in lenscat.lens_id.values
    unnamed = by_id(lenscat, "J040.123000+05.100000")
    assert note_names(int(unnamed["note"])) == ["NAMED_BY_POSITION", "COARSE_POSITION"]
    unsure = by_id(lenscat, named[1])
    assert unsure["z_lens"] == 0.599 and LensNote.UNSURE_Z & LensNote(int(unsure["note"]))
    assert LensNote.UNREADABLE_Z & LensNote(int(by_id(lenscat, named[0])["note"]))


def test_what_is_left_out_is_the_callers_to_say(tmp_path):
    path = written(
        tmp_path,
        LENSCAT
        + f"a,1.00001,2.00001,0.1,galaxy,probable,{LOPES}\n"
        + f"b,2.00001,2.00001,0.1,cluster,probable,{HUANG}\n"
        + f"c,3.00001,2.00001,0.1,galaxy,probable,{QUASARS}\n"
        + f"d,4.00001,2.00001,0.1,galaxy,probable,{HUANG}\n",
    )
    assert counted(read_lenses(path)).lens_id.values.tolist() == ["d"]
    every = counted(read_lenses(path, exclude_references=(), exclude_kinds=(), exclude_quasars=False))
    assert every.lens_id.values.tolist() == ["a", "b", "c", "d"]
    with pytest.warns(LensflowWarning, match=r"no row cites 'Nobody 1999'"):
        only = counted(read_lenses(path, exclude_references=["huang 2020", "Nobody 1999"]))
    assert only.lens_id.values.tolist() == ["a"]


def test_the_legacy_surveys_candidates_are_tier_b_where_confident(tmp_path):
    lenses = counted(
        read_lenses(
            written(
                tmp_path,
                LEGACY
                + f"DESI-1,10.5,-5.5,0.4,galaxy,confident,{HUANG}\nDESI-2,11.5,-5.5,0.4,galaxy,probable,{HUANG}\n",
            )
        )
    )
    assert lenses.tier.values.tolist() == ["B", "C"]


@pytest.mark.parametrize("apart, left", [(1.9, 1), (2.1, 2)])
def test_rows_within_two_arcsec_are_one_object(tmp_path, apart, left):
    lenses = counted(
        read_lenses(
            written(
                tmp_path,
                LENSCAT
                + f"poor,359.9999,60.5,nan,galaxy,probable,{HUANG}\n"
                + f"good,{(359.9999 + apart * ARCSEC / np.cos(np.deg2rad(60.5))) % 360:.9f},60.5,0.2,galaxy,confident,"
                + f"{SLACS}\n",
            )
        )
    )
    assert lenses.sizes["lens"] == left and lenses.attrs["n_duplicates"] == 2 - left
    good = by_id(lenses, "good")
    assert good["tier"] == "A" and good["z_lens"] == 0.2
    if left == 1:
        assert good["reference"] == f"{SLACS} | {HUANG}" and good["also_named"] == "poor"
        assert LensNote.MERGED & LensNote(int(good["note"]))


def test_a_merged_object_takes_what_its_best_row_lacks_and_no_redshift_that_is_contradicted(tmp_path):
    text = (
        "name,ra,dec,grade,z_lens,z_source,theta_e,tier\n"
        "a1,10,5,,nan,nan,nan,A\na2,10.0001,5,,0.4,1.5,1.2,C\n"
        "b1,20,5,,0.4,nan,1.1,A\nb2,20.0001,5,,0.5,nan,1.3,B\n"
    )
    lenses = counted(read_lenses(written(tmp_path, text)))
    a, b = by_id(lenses, "a1"), by_id(lenses, "b1")
    assert (a["tier"], a["z_lens"], a["z_source"], a["theta_e_arcsec"]) == ("A", 0.4, 1.5, 1.2)
    assert np.isnan(b["z_lens"]) and "CONFLICT_Z" in note_names(int(b["note"])) and b["theta_e_arcsec"] == 1.1


def test_an_object_of_an_excluded_kind_is_left_out_whoever_lists_it(tmp_path):
    text = LENSCAT + (
        f"bcg,10.00001,5.00001,0.2,galaxy,confident,{HUANG}\nabell,10.00002,5.00001,0.2,cluster,probable,{LOPES}\n"
        f"q1,20.00001,5.00001,0.2,galaxy,confident,{HUANG}\nq2,20.00002,5.00001,0.2,galaxy,confident,{QUASARS}\n"
        f"l1,30.00001,5.00001,0.2,galaxy,confident,{HUANG}\nl2,30.00002,5.00001,0.2,galaxy,probable,{LOPES}\n"
    )
    lenses = counted(read_lenses(written(tmp_path, text)))
    assert lenses.lens_id.values.tolist() == ["l1"]
    assert lenses.attrs["removed"] == {
        "kind cluster": 2,
        "lensed quasar": 2,
        "reference: Lopes 2004: galaxy clusters": 1,
    }


def test_a_lens_and_a_non_lens_at_one_position_are_both_dropped_and_listed(tmp_path):
    text = (
        "name,ra,dec,tier,confuser\nlens,10,5,A,\nspiral,10.0001,5,N,spiral\nfine,20,5,A,\n"
        "candidate,30,5,B,\nrefuted,30.0001,5,N,ring\n"
    )
    lenses = counted(read_lenses(written(tmp_path, text)))
    assert lenses.lens_id.values.tolist() == ["fine", "refuted"]
    assert lenses.attrs["removed"] == {"lens and non-lens at the same position": 2}
    assert [t.split(" ")[0] for t in lenses.attrs["contradictory"]] == ["lens", "spiral"]
    refuted = by_id(lenses, "refuted")
    assert (refuted["tier"], refuted["is_lens"], refuted["confuser"]) == ("N", 0, "ring")
    assert "REFUTED" in note_names(int(refuted["note"]))


def test_tables_are_joined_and_what_was_read_counts_once(tmp_path):
    one = read_lenses(written(tmp_path, LENSCAT + f"a,10.00001,5.00001,0.2,galaxy,confident,{HUANG}\n"
                              f"x,11.00001,5.00001,-,galaxy,probable,{LOPES}\n", "one.csv"))  # fmt: skip
    two = written(tmp_path, "name,ra,dec,grade\nb,10.0001,5,3.0\nc,20,5,1.4\n", "two.csv")
    both = counted(read_lenses([one, two], survey="two"))
    assert (both.attrs["n_read"], both.attrs["n_removed"], both.attrs["n_duplicates"]) == (4, 1, 1)
    assert both.lens_id.values.tolist() == ["a", "c"]
    chosen = one.isel(lens=[0]).copy(deep=True)
    before = chosen.copy(deep=True)
    assert counted(read_lenses(chosen)).identical(one) and chosen.identical(before)
    assert counted(read_lenses([chosen.isel(lens=[]), two])).attrs["removed"]["not selected by the caller"] == 1


@pytest.mark.parametrize(
    "grades, tiers",
    [
        (["2.6", "2.5", "1.5", "1.49", "0"], list("BBBCC")),
        (["A", "B", "C", "Grade A", "X"], list("BBCBN")),
        (["a+", "b-", "confident", "probable", ""], list("BBBCC")),
    ],
)
def test_grades_of_searches_are_tiers(tmp_path, grades, tiers):
    rows = "".join(f"n{k},{10 + k}.00001,5.00001,{g}\n" for k, g in enumerate(grades))
    lenses = counted(read_lenses(written(tmp_path, "name,ra,dec,grade\n" + rows)))
    assert lenses.tier.values.tolist() == tiers
    assert lenses.is_lens.values.tolist() == [{"N": 0}.get(t, -1) for t in tiers]


def test_columns_of_any_name_are_mapped_and_units_converted():
    table = Table({"Nom": ["a", "b"], "RAJ2000": [1.0, 2.0], "DEJ2000": [3.0, 4.0], "Rein": [0.02, -1.0],
                   "verdict": ["yes", "no"], "cls": ["", "merger"]})  # fmt: skip
    table["Rein"].unit = "arcmin"
    mapping = {"lens_id": "Nom", "ra_deg": "RAJ2000", "dec_deg": "DEJ2000", "theta_e_arcsec": "Rein",
               "is_lens": "verdict", "confuser": "cls"}  # fmt: skip
    lenses = counted(read_lenses(table, mapping, tier="A"))
    assert lenses.tier.values.tolist() == ["A", "N"] and lenses.is_lens.values.tolist() == [1, 0]
    np.testing.assert_allclose(lenses.theta_e_arcsec, [1.2, np.nan])
    assert note_names(int(lenses.note[1])) == ["UNREADABLE_THETA_E"] and lenses.confuser[1] == "merger"
    with pytest.raises(TargetError, match=r"no column 'ra_deg'.*Is it 'RAJ2000'"):
        read_lenses(table)
    with pytest.raises(TargetError, match=r"columns.theta_e: lensflow reads no such column. Did you mean"):
        read_lenses(table, mapping | {"theta_e": "Rein"})


def test_a_table_without_any_evidence_is_tier_c_and_says_so(tmp_path):
    path = written(tmp_path, "name,ra,dec\na,10,5\n")
    with pytest.warns(LensflowWarning, match="no column of tiers or grades, so all 1 rows are tier C"):
        assert read_lenses(path).tier.values.tolist() == ["C"]
    assert read_lenses(path, tier="A").is_lens.values.tolist() == [1]


def test_the_master_lens_database_is_sexagesimal_and_its_einstein_radii_are_of_several_definitions(tmp_path):
    text = (
        "system_name,ra_coord,dec_coord,kind,lensgrade,z_lens,z_source,theta_e\n"
        "M1,10:00:00.0,-00:30:00.0,GAL-GAL,A,0.2,0.9,1.1\nM2,11:00:00.0,+10:00:00.0,GAL-GAL,A,0.2,,\n"
        "M3,12:00:00.0,+10:00:00.0,CLUST-GAL,A,0.2,0.9,20\nM4,13:00:00.0,+10:00:00.0,GAL-QSO,A,0.2,0.9,1\n"
    )
    lenses = counted(read_lenses(written(tmp_path, text)))
    np.testing.assert_allclose(lenses.ra_deg, [150.0, 165.0])
    np.testing.assert_allclose(lenses.dec_deg, [-0.5, 10.0])
    assert lenses.tier.values.tolist() == ["A", "B"] and lenses.kind.values.tolist() == ["galaxy", "galaxy"]
    assert [note_names(int(n)) for n in lenses.note.values] == [["UNDEFINED_THETA_E"], []]
    assert lenses.attrs["removed"] == {"kind cluster": 1, "lensed quasar": 1}


@pytest.fixture
def desi(tmp_path):
    near = 3 * ARCSEC
    table = Table({
        "TARGETID": np.array([39627000000000001 + k for k in range(8)]),
        "SURVEY": ["main"] * 8, "PROGRAM": ["dark"] * 8, "HEALPIX": [1] * 8,
        "Z": [0.4, 1.6, 0.5, 0.501, 0.6, 0.7, 2.0, 0.41], "ZERR": [1e-4] * 8,
        "ZWARN": [0, 0, 0, 0, 0, 4, 4, 0], "SPECTYPE": ["GALAXY"] * 8,
        "TARGET_RA": [10.0, 10 + near, 20.0, 20 + near, 30.0, 40.0, 10 + near, 10 - near],
        "TARGET_DEC": [0.0] * 8,
    })  # fmt: skip
    path = tmp_path / "desi.fits"
    table.write(path)
    with pytest.warns(LensflowWarning, match="3 systems of 6 spectra"):
        return counted(read_lenses(str(path)))


def test_spectra_of_desi_are_put_together_to_systems(desi):
    assert desi.sizes["lens"] == 3 and desi.attrs["removed"] == {"DESI: ZWARN is not 0": 2}
    assert desi.lens_id.values.tolist()[0] == "DESI 39627000000000001"
    assert desi.tier.values.tolist() == ["A", "B", "B"]
    np.testing.assert_allclose(desi.z_lens, [0.4, 0.5, np.nan])
    np.testing.assert_allclose(desi.z_source, [1.6, np.nan, np.nan])
    np.testing.assert_allclose(desi.ra_deg, [10, 20, 30])
    assert [note_names(int(n)) for n in desi.note.values] == [["MERGED"], ["MERGED", "SAME_REDSHIFT"], ["ONE_REDSHIFT"]]


def test_a_table_of_which_more_than_a_tenth_has_no_position_is_refused(tmp_path):
    def table(n_lost, n):
        return written(
            tmp_path, "name,ra,dec,tier\n" + "".join(f"n{k},{'' if k < n_lost else k},5,A\n" for k in range(n))
        )

    lenses = counted(read_lenses(table(2, 20)))
    assert lenses.attrs["removed"] == {"no position": 2} and lenses.sizes["lens"] == 18
    with pytest.raises(TargetError, match="3 of 20 rows have no position, the first in row 0; more than 10%"):
        read_lenses(table(3, 20))


@pytest.mark.parametrize(
    "text, said",
    [
        ("name,ra,dec,tier\na,10,5,A\nb,360.0,5,A\n", r"ra_deg \(ra\) holds 360.0 .*in row 1"),
        ("name,ra,dec,tier\na,10:00:00,5,A\n", r"ra_deg \(ra\) holds '10:00:00': sexagesimal.*in row 0"),
        ("name,ra,dec,grade\na,10,5,87\n", r"grade holds '87', which is no grade.*in row 0"),
        ("name,ra,dec,grade\na,10,5,great\n", "grade holds 'great'"),
        ("name,ra,dec,tier\na,10,5,S\n", "tier holds 'S', which is none of A, B, C, N"),
        ("name,ra,dec,is_lens\na,10,5,maybe\n", "is_lens holds 'maybe'"),
        ("name,ra,dec,tier,is_lens\na,10,5,A,no\n", "is_lens holds 'no', and the row's tier is A"),
        ("name,ra,dec,tier,is_lens\na,10,5,N,yes\n", "is_lens holds 'yes', and the row's tier is N"),
        ("name,ra,dec,tier\n", "the table of lenses is empty"),
        ("name,x,y\na,10,5\n", "no column 'ra_deg'"),
        (LENSCAT + f"a,10,5,-,galaxy,probable,{LOPES}\n", "no lens is left of 1 rows .*Lopes 2004"),
    ],
)
def test_what_cannot_be_read_for_certain_is_refused(tmp_path, text, said):
    with pytest.raises(TargetError, match=said):
        read_lenses(written(tmp_path, text))


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"tier": "S"}, "none of A, B, C, N"),
        ({"exclude_kinds": ["clusters"]}, "no such kind: 'clusters'. Did you mean 'cluster'"),
        ({"units": {"ra": "deg"}}, "units.ra: units are given for ra_deg and dec_deg"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(tmp_path, arguments, said):
    with pytest.raises(TargetError, match=said):
        read_lenses(written(tmp_path, "name,ra,dec,tier\na,10,5,A\n"), **arguments)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(TargetError, match=r"no such table. Check the path given to read_lenses"):
        read_lenses(str(tmp_path / "none.csv"))


def test_it_is_public():
    assert lf.read_lenses is read_lenses


def _lenscat() -> Path | None:
    """The real table: in the installed package, which need not be importable, or where LENSFLOW_LENSCAT says."""
    if "LENSFLOW_LENSCAT" in os.environ:
        return Path(os.environ["LENSFLOW_LENSCAT"])
    found = importlib.util.find_spec("lenscat")
    return Path(found.origin).parent / "data" / "catalog.csv" if found and found.origin else None


@pytest.mark.skipif(_lenscat() is None, reason="lenscat is not installed, and LENSFLOW_LENSCAT names no catalog.csv")
def test_the_real_lenscat_is_read_and_counted():
    lenses = counted(read_lenses(str(_lenscat())))
    assert lenses.attrs["n_read"] == 32838
    lopes = lenses.attrs["removed"]["reference: Lopes 2004: galaxy clusters"]
    assert 9900 < lopes <= 9955 and 200 < lenses.attrs["removed"]["lensed quasar"] < 240
    assert lenses.attrs["removed"]["kind group"] >= 60 and lenses.attrs["removed"]["kind cluster"] >= 1000
    assert set(lenses.kind.values.tolist()) == {"galaxy"} and set(lenses.tier.values.tolist()) == {"A", "B", "C"}
    every = counted(read_lenses(str(_lenscat()), exclude_references=(), exclude_kinds=(), exclude_quasars=False))
    with _lenscat().open(encoding="utf-8") as file:
        at = np.array([[row["RA [deg]"], row["DEC [deg]"]] for row in csv.DictReader(file)], float)
    pairs = close_pairs(at[:, 0], at[:, 1], 2 * ARCSEC)
    assert len(pairs) == 109
    # Some objects have three rows, and so three pairs.
    assert every.attrs["removed"] == {} and len(np.unique(pairs[:, 1])) >= every.attrs["n_duplicates"] > 90
