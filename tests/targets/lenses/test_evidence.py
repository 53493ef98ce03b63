"""References as tables cite them."""

import pytest

from lensflow.config.realism import EXCLUDED_REFERENCES as SETTING
from lensflow.targets.lenses.evidence import EXCLUDED_REFERENCES, cites, is_sure, kind_of, references_of, truth_of


def test_what_is_known_of_the_excluded_lists_is_of_those_of_the_setting():
    assert tuple(EXCLUDED_REFERENCES) == SETTING


@pytest.mark.parametrize(
    "reference, cited",
    [
        ("Lopes et al. (2004) - doi:10.1086/423038", "Lopes 2004"),
        ("https://doi.org/10.1086/423038", "Lopes 2004"),
        ("LOPES+ 2004", "Lopes 2004"),
        ('B\\"ohringer et al. (2004) - arXiv:astro-ph/0405546', "B\u00f6hringer 2004"),
        ("Bohringer et al. 2000", "B\u00f6hringer 2000"),
        ("Moustakas et al. (2012) - adsabs:2012hst..prop12833M", "Moustakas 2012"),
        ("Gladders et al. (2005) - arXiv:0411075", "Gladders 2005"),
        ("Lopes et al. (2014)", ""),
        ("Lopesino et al. (2004)", ""),
        ("Huang et al. (2020) - arXiv:1906.00970", ""),
    ],
)
def test_a_reference_is_known_by_author_and_year_or_by_identifier(reference, cited):
    assert cites(reference, SETTING) == cited


def test_references_are_taken_apart():
    text = "A (2001) - x | B (2002) | https://a.b/1 https://a.b/2 RCS2 | B (2002)"
    assert references_of(text) == ["A (2001) - x", "B (2002)", "https://a.b/1", "https://a.b/2 RCS2"]


def test_words_of_kinds_grades_and_truths():
    assert [kind_of(k) for k in ("GAL-GAL", "Cluster", "group", "Galaxy-Quasar", "QSO", "DEV")] == [
        "galaxy", "cluster", "group", "quasar", "quasar", "unknown"]  # fmt: skip
    assert [is_sure(g) for g in ("A", "2.51", "2.5", "B", "confident", "probable", "9")] == [1, 1, 0, 0, 1, 0, 0]
    assert [truth_of(t) for t in ("True", "0", "", "perhaps")] == [1, 0, -1, None]
