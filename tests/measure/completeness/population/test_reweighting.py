"""Another population: known answers, what is outside is told, and too few recovered rows are refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from lensflow.errors import CompletenessError
from lensflow.measure.completeness.population.reweighting import by_cell, by_row, heaviest, outside_share


def fine_grid(low, high, chance, points=2000, each=100):
    """Rows at the middles of equal steps, recovered by their chance: a sample without its scatter."""
    x = low + (high - low) * (np.arange(points) + 0.5) / points
    k = np.diff(np.floor(np.concatenate([[0.5], 0.5 + np.cumsum(chance(x) * each)])))
    rows = np.repeat(x, each)
    return rows, (np.arange(each)[None] < k[:, None]).ravel()


LOGISTIC = fine_grid(0.5, 2.5, lambda t: 1 / (1 + np.exp(-(t - 1.5) / 0.15)))
PROBIT = fine_grid(0, 10, lambda s: norm.cdf(s - 5))


@pytest.mark.parametrize(
    ("sample", "weight", "expected"),
    [(LOGISTIC, lambda t: np.ones(t.size), 0.5), (LOGISTIC, lambda t: np.exp(-t / 0.5), 0.141395),
     (PROBIT, lambda s: np.ones(s.size), 0.5), (PROBIT, lambda s: np.exp(-s / 2), 0.086862)],
)  # fmt: skip
def test_other_populations_have_the_known_completeness(sample, weight, expected):
    x, d = sample
    found = by_row(weight(x), d, np.arange(x.size) // 50)
    assert found.completeness.value == pytest.approx(expected, abs=1e-3)
    assert found.verdict == "TESTED" and not found.rough
    assert by_row(7 * weight(x), d, np.arange(x.size) // 50).completeness.low == pytest.approx(found.completeness.low)


def test_effective_sizes_are_the_known_shares_of_the_rows():
    x, d = LOGISTIC
    found = by_row(np.exp(-x / 0.5), d, np.arange(x.size))
    assert found.kish / x.size == pytest.approx(0.4820, abs=1e-3)
    assert found.n_det / x.size == pytest.approx(0.2829, abs=1e-3)
    assert found.most_lenses == found.n_eff / 4 and found.most_lenses_strict == math.sqrt(found.n_eff)
    assert found.n_eff == pytest.approx((found.completeness.value / found.completeness.sd) ** 2)
    assert found.top_share == pytest.approx((1 - math.exp(-0.02 / 0.5)) / (1 - math.exp(-2 / 0.5)), abs=1e-3)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 12))
def test_the_variance_is_the_definition_host_by_host(seed, hosts):
    rng = np.random.default_rng(seed)
    n = 60
    host, d, w = rng.integers(0, hosts, n), rng.random(n) < 0.4, rng.exponential(size=n)
    if len(set(host)) < 2 or not 0 < d.sum() < n:
        return
    found = by_row(w, d, host)
    c = (w * d).sum() / w.sum()
    count = len(set(host))
    v = count / (count - 1) * sum((w * (d - c))[host == h].sum() ** 2 for h in set(host)) / w.sum() ** 2
    assert found.completeness.value == pytest.approx(c) and found.completeness.sd == pytest.approx(math.sqrt(v))
    assert found.completeness.low <= c <= found.completeness.high
    # With equal weights, by cell and by row agree where there is one cell.
    one = by_cell([1.0], np.zeros(n, int), d, host)
    plain = by_row(np.ones(n), d, host)
    assert one.completeness.value == pytest.approx(plain.completeness.value)
    assert (one.completeness.low, one.completeness.high) == pytest.approx(
        (plain.completeness.low, plain.completeness.high)
    )


def test_by_cell_is_the_sum_of_share_and_completeness_and_counts_what_is_outside():
    rng = np.random.default_rng(1)
    cell = rng.integers(0, 3, 900)
    d = rng.random(900) < np.array([0.2, 0.5, 0.9])[cell]
    share = np.array([0.5, 0.3, 0.1, 0.05])
    found = by_cell(share, cell, d, np.arange(900) // 9)
    c = np.array([d[cell == k].mean() for k in range(3)])
    assert found.completeness.value == pytest.approx(share[:3] @ c / 0.9)
    assert found.uncovered == pytest.approx(0.1)
    assert (found.low_bound, found.high_bound) == pytest.approx((share[:3] @ c, share[:3] @ c + 0.1))
    # Scatter about each cell's own completeness, hosts held together over cells.
    residual = (share[:3] / np.bincount(cell))[cell] * (d - c[cell])
    of_host = np.bincount(np.arange(900) // 9, weights=residual)
    assert found.completeness.sd == pytest.approx(math.sqrt(100 / 99 * (of_host**2).sum()) / 0.9)
    less = by_cell(share, cell, d, np.arange(900) // 9, covered=[True, False, True, True])
    assert less.uncovered == pytest.approx(0.4) and less.verdict == "NOT_TESTABLE"
    assert "40% of the population is outside of what was injected" in less.reason
    assert less.completeness.value == pytest.approx((0.5 * c[0] + 0.1 * c[2]) / 0.6)
    for wrong in ([0.6, 0.6], [-0.1, 1.0], [np.nan, 0.5]):
        with pytest.raises(CompletenessError, match="from 0 on, with a sum of 1 at most"):
            by_cell(wrong, [0, 1], [True, False], [0, 1])
    with pytest.raises(CompletenessError, match="no share in a cell with rows"):
        by_cell([0, 0, 1.0], [0, 1], [True, False], [0, 1])


def test_the_share_outside_of_the_injections_is_found_by_draws():
    draws = np.random.default_rng(2).exponential(0.5, 100_000) + 0.5
    found = outside_share((draws >= 0.5) & (draws < 2.5))
    assert found.low < math.exp(-4) < found.high and found.high - found.low < 0.003


@pytest.mark.parametrize(("recovered", "verdict", "rough"), [(5, "NOT_TESTABLE", True), (20, "TESTED", True),
                                                             (80, "TESTED", False)])  # fmt: skip
def test_few_recovered_rows_carry_no_population_however_many_were_missed(recovered, verdict, rough):
    d = np.arange(3000) < recovered
    found = by_row(np.ones(3000), d, np.arange(3000))
    assert (found.verdict, found.rough) == (verdict, rough) and found.n_det == pytest.approx(recovered)
    assert found.kish == pytest.approx(3000)  # looks comfortable
    assert ("N_det" in found.reason) == (verdict == "NOT_TESTABLE")


def test_nothing_recovered_has_an_upper_end_by_hosts_and_weights():
    w = np.where(np.arange(100) < 4, 50.0, 1.0)
    found = by_row(w, np.zeros(100, bool), np.arange(100) // 2)
    size = min(50, w.sum() ** 2 / (w**2).sum())
    assert found.completeness.low == 0 and found.completeness.high == pytest.approx(1 - 0.025 ** (1 / size))
    assert found.n_det == 0 and found.n_eff == 0 and found.verdict == "NOT_TESTABLE"
    one = by_row(np.ones(100), np.arange(100) < 50, np.zeros(100))
    assert math.isnan(one.completeness.low) and "all rows share one host" in one.reason


def test_weights_that_are_none_are_refused_with_the_row_and_its_parameters():
    d, host = np.ones(4, bool), np.arange(4)
    text = r"2 are negative or not finite, the first is .* of row 1 \(theta_e_arcsec 0\.7\)"
    for wrong in (-1.0, np.inf, np.nan):
        with pytest.raises(CompletenessError, match=text):
            by_row([1, wrong, 1, wrong], d, host, parameters={"theta_e_arcsec": [0.5, 0.7, 0.9, 1.1]})
    with pytest.raises(CompletenessError, match="all are 0"):
        by_row(np.zeros(4), d, host)
    with pytest.raises(CompletenessError, match="at least one row"):
        by_row([], [], [])
    with pytest.raises(CompletenessError, match="a share lies in 0 to 1"):
        by_row(np.ones(4), d, host, uncovered=1.5)


def test_the_heaviest_rows_are_named_by_their_parameters():
    x = np.linspace(0.5, 2.5, 1000)
    found = heaviest(np.exp(-8 * x), {"theta_e_arcsec": x, "src_mag_r": 25 - x})
    theta = found.sel(parameter="theta_e_arcsec")
    assert theta["low"] == 0.5 and theta["high"] == pytest.approx(x[9])
    assert found["weight_share"] == pytest.approx(np.exp(-8 * x)[:10].sum() / np.exp(-8 * x).sum())
    shown = by_row(np.exp(-x), x > 1, np.arange(1000)).to_dataset()
    assert {"completeness", "completeness_low", "completeness_high", "n_det", "n_eff", "n_hosts", "uncovered"} <= set(
        shown
    )
    assert shown.attrs["verdict"] == "TESTED"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "half", "width", "least", "most", "verdict"),
    [(0.15, 1.1, 0.10, 0.92, 0.97, "TESTED"), (0.10, 1.5, 0.15, 0.0, 0.90, "NOT_TESTABLE")],
)
def test_intervals_cover_where_enough_recovered_rows_carry_the_weight(scale, half, width, least, most, verdict):
    """Exponential target over uniform injections, hosts that differ: N_det tells what Kish's size does not."""
    rng, hits, found = np.random.default_rng(3), 0, []
    grid = np.linspace(0.5, 2.5, 4001)[:, None]
    levels = norm.ppf((np.arange(41) + 0.5) / 41) * 0.1
    target = np.exp(-grid[:, 0] / scale)
    truth = target @ (1 / (1 + np.exp(-(grid - half - levels) / width))).mean(axis=1) / target.sum()
    host = np.arange(3000) // 6
    for _ in range(400):
        theta, level = rng.uniform(0.5, 2.5, 3000), rng.normal(0, 0.1, 500)[host]
        d = rng.random(3000) < 1 / (1 + np.exp(-(theta - half - level) / width))
        found.append(by_row(np.exp(-theta / scale), d, host))
        hits += found[-1].completeness.low <= truth <= found[-1].completeness.high
    n_det, kish = (np.median([getattr(f, name) for f in found]) for name in ("n_det", "kish"))
    print(f"coverage {hits / 400:.3f}, N_det {n_det:.1f}, Kish {kish:.0f} of 3,000")
    assert least <= hits / 400 <= most and kish > 250
    assert np.mean([f.verdict == verdict for f in found]) > 0.7
