"""Densities of a target: their variable, support, normalisation and draws, judged by scipy."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from lensflow.errors import ConfigError, LensflowWarning
from lensflow.measure.completeness.population.target_density import target_density

U = (np.arange(20_000) + 0.5) / 20_000


def exponential(x):
    return np.exp(-x / 0.5) / 0.5


CASES = {
    "distribution": lambda: target_density(stats.norm(1.2, 0.3)),
    "cut distribution": lambda: target_density(stats.expon(scale=0.5), (0.5, 2.5)),
    "distribution of log": lambda: target_density(stats.norm(0, 0.4), of="log"),
    "distribution of log10": lambda: target_density(stats.uniform(-1, 2), (0.3, 5), of="log10"),
    "function": lambda: target_density(exponential, (1e-9, 8)),
    "function of log10": lambda: target_density(lambda x: stats.norm.pdf(np.log10(x), 0, 0.2), (0.05, 20), of="log10"),
    "table": lambda: target_density(([0.5, 1.0, 2.5], [0.0, 1.0, 0.0])),
    "table of log": lambda: target_density(([0.5, 1.0, 3.0], [1.0, 0.4, 0.2]), of="log"),
}


@pytest.mark.filterwarnings("ignore:.*normalised")
@pytest.mark.parametrize("case", CASES)
def test_density_share_and_draws_are_of_one_distribution(case):
    found = CASES[case]()
    low, high = (float(v) for v in found.draw(np.array([1e-7, 1 - 1e-7])))
    for a, b in np.quantile(found.draw(U), [[0.05, 0.3], [0.4, 0.6], [0.7, 0.99]]):
        # Per unit of the parameter itself, whatever the variable is.
        area = integrate.quad(lambda x: float(found.p([x])[0]), a, b, limit=400, points=[1.0] if a < 1 < b else None)[0]
        assert float(np.diff(found.below([a, b]))[0]) == pytest.approx(area, rel=2e-4)
        drawn = found.draw(U)
        assert ((drawn >= a) & (drawn < b)).mean() == pytest.approx(area, abs=2e-3)
    assert found.p([low - 5, high + 50]) == pytest.approx([0, 0], abs=1e-12)
    assert found.below([-1e3, 1e6]).tolist() == [0, 1] and found.low <= low < high <= found.high


@pytest.mark.filterwarnings("ignore:.*normalised")
def test_a_density_of_the_logarithm_is_not_one_of_the_value():
    """The same numbers, read as densities of theta_E and of its logarithm, are other populations."""
    value, log = (target_density(([0.5, 2.0], [1.0, 1.0]), of=of) for of in ("value", "log"))
    assert value.p([0.5, 2.0]) == pytest.approx([2 / 3, 2 / 3])
    assert log.p([0.5, 2.0]) == pytest.approx([1 / (0.5 * np.log(4)), 1 / (2 * np.log(4))])
    assert log.below([1.0])[0] == pytest.approx(0.5)


@settings(max_examples=30)
@given(st.floats(0.1, 3), st.floats(0.2, 8), st.floats(0.5, 3))
def test_a_cut_distribution_is_scipy_s_truncated_one(scale, low, width):
    found = target_density(stats.expon(scale=scale), (low, low + width))
    judge = stats.truncexpon(b=width / scale, loc=low, scale=scale)
    x = np.linspace(low, low + width, 11)[1:-1]
    assert found.p(x) == pytest.approx(judge.pdf(x)) and found.below(x) == pytest.approx(judge.cdf(x), abs=1e-9)
    assert found.draw(U[::999]) == pytest.approx(judge.ppf(U[::999]))
    assert "no part of it" in found.notes[0]


def test_masses_are_at_their_values_and_nowhere_else():
    found = target_density({0.5: 0.2, 2.0: 0.5, 1.0: 0.3})
    assert found.is_discrete and found.p([0.5, 1, 2, 1.5]).tolist() == [0.2, 0.3, 0.5, 0]
    assert np.mean(found.draw(U) == 2) == pytest.approx(0.5) and found.below([2.0]).tolist() == [0.5]


def test_what_does_not_integrate_to_1_is_normalised_and_says_so():
    with pytest.warns(LensflowWarning, match=r"theta: integrates to 0\.1306, not to 1 within 1%: normalised"):
        found = target_density(lambda x: exponential(x) * 0.3615, (0.5, 2.5), name="theta")
    assert found.below([2.5, 1.0])[1] == pytest.approx(stats.truncexpon(4, 0.5, 0.5).cdf(1.0), abs=1e-5)
    assert "normalised" in found.notes[0]
    with pytest.warns(LensflowWarning, match="integrates to 3"):
        target_density({1: 1, 2: 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert target_density(([0, 1.0], [1.0, 1.005])).notes == ()  # within 1 %


@pytest.mark.parametrize(
    ("source", "more", "text"),
    [
        (exponential, {}, "needs a finite support"),
        (exponential, {"support": (0, np.inf)}, "needs a finite support"),
        (exponential, {"support": (2, 1)}, "two rising ends"),
        (exponential, {"support": (0, 1), "of": "log"}, "above 0"),
        (lambda x: -x, {"support": (1, 2)}, "not below 0; at 1 it is -1"),
        (lambda x: x * 0, {"support": (1, 2)}, "integrates to 0"),
        (lambda x: np.where(np.sin(1e6 * x) > 0, 1.0, 0.0), {"support": (0, 1)}, "too rough"),
        (lambda x: 1.0, {"support": (0, 1)}, "for values of shape"),
        (([1, 1], [1, 1]), {}, "rising values"),
        (([1, 2], [1, np.nan]), {}, "at 2 it is nan"),
        (stats.norm(0, 1), {"support": (50, 60)}, "nothing of the distribution"),
        (stats.poisson(3), {}, "give the masses"),
        ({}, {}, "at least one value"),
        ({1: -1}, {}, "not below 0"),
        ("expon", {}, "not str"),
        (stats.norm(0, 1), {"of": "ln"}, "one of value, log, log10"),
    ],
)
def test_what_is_no_density_is_refused(source, more, text):
    with pytest.raises(ConfigError, match=text):
        target_density(source, **more)
