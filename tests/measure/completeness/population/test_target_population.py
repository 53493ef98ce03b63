"""Target populations from YAML, catalogues and LensPop's files: what is declared is what is read."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lensflow.errors import CompletenessError, ConfigError, LensflowError
from lensflow.measure.completeness.population.lenspop import read_lenspop
from lensflow.measure.completeness.population.target_population import as_target, target_population

YAML = """
name: steep
source: nobody's
parameters:
  theta_e_arcsec: {distribution: expon, arguments: {scale: 0.5}, support: [0.5, 2.5]}
  src_mag_r: {values: [22, 25], density: [0.2, 0.4666667]}
  src_reff_arcsec: {distribution: norm, arguments: {loc: -0.7, scale: 0.2}, of: log10}
  shear: {masses: {0: 0.25, 0.05: 0.75}}
"""
# Made up; the head is in the form of LensPop's files.
LENSPOP = """#Lens population
#[0] zl, lens redshift
#[1] zs, source redshift
#[2] b, Einstein radius (arcseconds)
#[3] sig_v, lens velocity dispersion (km/s)
#[4] ql, lens flattening (1=circular, q=1-e)
#[9] xs, source x coordinate relative, 0 is lens centre (arcseconds)
#[10] ys, source y coordinate relative, 0 is lens centre (arcseconds)
#[13] rs, source half light radius (arcseconds) NB/ sersic index is 1
#[15] source r band magnitude
0.50 2.00 1.00 250 0.70 1 20 19 18 0.30 0.40 0.6 30 0.20 25 24.5 24
0.50 2.00 2.00 250 0.70 1 20 19 18 0.30 0.40 0.6 30 0.20 25 25.5 24
0.50 2.00 3.00 250 0.70 1 20 19 18 0.30 0.40 0.6 30 0.20 25 26.5 24
"""


def test_yaml_is_read_as_it_says(tmp_path):
    path = tmp_path / "target.yaml"
    path.write_text(YAML)
    found = as_target(str(path))
    assert found.name == "steep" and "expon" in found.words
    radii, sizes = found.densities["theta_e_arcsec"], found.densities["src_reff_arcsec"]
    assert radii.p([1.0]) == pytest.approx(stats.truncexpon(4, 0.5, 0.5).pdf(1.0))
    assert sizes.below([10**-0.7]) == pytest.approx(0.5)
    assert found.densities["src_mag_r"].p([25.0]) == pytest.approx(0.4666667)
    assert found.densities["shear"].p([0.05, 0.02]).tolist() == [0.75, 0]
    assert "no part of it" in found.all_notes[0]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("expon", "expo", "no continuous distribution 'expo'. Did you mean 'expon'"),
        ("scale: 0.5", "scal: 0.5", "scal"),
        ("scale: 0.5", "scale: -1", "not defined for"),
        ("of: log10", "of: ln", "of: Input should be"),
        ("masses:", "mases:", "mases"),
        ("density: [0.2, 0.4666667]", "of: log", "values and density"),
        ("name: steep", "name: steep\ncatalogue: a.csv", "exactly one of parameters and catalogue"),
    ],
)
def test_yaml_that_says_nothing_sensible_is_refused_by_its_key(tmp_path, old, new, text):
    path = tmp_path / "target.yaml"
    path.write_text(YAML.replace(old, new, 1))
    with pytest.raises(ConfigError, match=text):
        as_target(str(path))


def test_a_catalogue_is_read_with_its_columns_units_and_weights(tmp_path):
    table, path = tmp_path / "lenses.csv", tmp_path / "target.yaml"
    pd.DataFrame({"b": [1.0, 2.0], "mag": [23, 24], "w": [1, 3]}).to_csv(table, index=False)
    text = "name: mine\ncatalogue: {}\ncolumns: {{theta_e_arcsec: b, src_mag_r: mag}}\nweight: w\n"
    path.write_text(text.format(table))
    found = as_target(str(path))
    assert found.catalogue["theta_e_arcsec"].tolist() == [1, 2] and found.weight.tolist() == [1, 3]
    assert found.source == str(table)
    path.write_text(text.format(table).replace("src_mag_r: mag", "src_mag_r: mags"))
    with pytest.raises(LensflowError, match="mags"):
        as_target(str(path))
    table.write_text("b,mag,w\n1.0,23,1\n2.0,,3\n")
    path.write_text(text.format(table))
    with pytest.raises(CompletenessError, match="mine: row 1: src_mag_r is nan"):
        as_target(str(path))
    path.write_text(f"name: mine\ncatalogue: {table}\n")
    with pytest.raises(ConfigError, match="name the parameters"):
        as_target(str(path))
    with pytest.raises(ConfigError, match="at least one parameter"):
        target_population({})


def test_lenspop_is_read_by_what_its_own_head_says(tmp_path):
    path = tmp_path / "lenses_LSSTa.txt"
    path.write_text(LENSPOP)
    found = read_lenspop(str(path), ("theta_e_arcsec", "src_mag_r", "src_offset"))
    assert found.catalogue["theta_e_arcsec"].tolist() == [1, 2, 3]
    assert found.catalogue["src_mag_r"].tolist() == [24.5, 25.5, 26.5]
    assert found.catalogue["src_offset"] == pytest.approx(np.array([0.5, 0.25, 0.5 / 3]))
    assert "not all lenses" in found.all_notes[0] and "Collett 2015" in found.source
    path.write_text(LENSPOP.replace("[2] b, Einstein radius", "[2] b, shear"))
    with pytest.raises(CompletenessError, match="column 2 is not LensPop's 'einstein radius"):
        read_lenspop(str(path))
    path.write_text(LENSPOP + "\n1 2 3\n")
    with pytest.raises(CompletenessError, match="columns changed"):
        read_lenspop(str(path))
    with pytest.raises(CompletenessError, match=r"have no theta_e\. Did you mean 'theta_e_arcsec'"):
        read_lenspop(str(path), ("theta_e",))
