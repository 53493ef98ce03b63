"""Another population from rows of a plan: known answers, what was not injected is found, grids keep to their values."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from lensflow.errors import CompletenessError, ConfigError, LensflowWarning
from lensflow.measure.completeness import bins
from lensflow.measure.completeness.bins import Ranges, Values
from lensflow.measure.completeness.cells import Cells
from lensflow.measure.completeness.population.injected_prior import InjectedPrior
from lensflow.measure.completeness.population.reweight import Rows, reweight_rows
from lensflow.measure.completeness.population.reweight_cells import reweight_cells, target_shares
from lensflow.measure.completeness.population.reweight_table import reweight_table
from lensflow.measure.completeness.population.target_density import target_density
from lensflow.measure.completeness.population.target_population import lens_catalogue, target_population
from lensflow.measure.completeness.table import table
from tests.factories import make_config

EACH = 10
N = 2000 * EACH
UNIFORM = {"theta_e_arcsec": {"min": 0.5, "max": 2.5}, "src_mag": "apparent", "src_mag_range": {"min": 22, "max": 26},
           "src_reff_arcsec": {"min": 0.1, "max": 0.5, "distribution": "log"}}  # fmt: skip
AXES = (Ranges("theta_e_arcsec", tuple(np.linspace(0.5, 2.5, 41))), Ranges("src_reff_arcsec", (0.1, 0.2, 0.3, 0.51)))


def logistic(theta):
    return 1 / (1 + np.exp(-(theta - 1.5) / 0.15))


def injected(columns, chance, plan=None, each=EACH, seed=None, per_host=20):
    """Rows that a plan could have drawn, each as often recovered as its chance says; at random with a seed."""
    n = len(next(iter(columns.values())))
    if seed is None:
        k = np.diff(np.floor(np.concatenate([[0.5], 0.5 + np.cumsum(chance * each)])))
        recovered = (np.arange(each)[None] < k[:, None]).ravel()
    else:
        recovered = np.random.default_rng(seed).random(n) < chance
    rows = {k: ("sample", np.repeat(v, each)) for k, v in columns.items()}
    size = n * each
    rows |= {"row_id": ("sample", np.arange(size)), "host_index": ("sample", np.arange(size) // per_host)}
    prior = InjectedPrior.of(make_config(plan=UNIFORM if plan is None else plan))
    return Rows(xr.Dataset(rows), prior, np.ones(size, bool), recovered, {})


def steps(low, high, count=2000):
    return low + (high - low) * (np.arange(count) + 0.5) / count


@pytest.fixture(scope="module")
def rows():
    """Radii in equal steps; sizes even in their logarithm, in another order."""
    theta = steps(0.5, 2.5)
    size = np.exp(steps(np.log(0.1), np.log(0.5)))[np.random.default_rng(0).permutation(2000)]
    return injected({"theta_e_arcsec": theta, "src_reff_arcsec": size}, logistic(theta))


def exponential(support=(0.5, 2.5), scale=0.5):
    return target_population({"theta_e_arcsec": target_density(stats.expon(scale=scale), support)}, "exponential")


def test_known_answers_by_row_and_by_cell(rows):
    same = reweight_rows(rows, target_population({"theta_e_arcsec": stats.uniform(0.5, 2)}))
    assert same.completeness.value == pytest.approx(0.5, abs=1e-3) and same.result.kish == pytest.approx(N)
    found = reweight_rows(rows, exponential())
    assert found.completeness.value == pytest.approx(0.141395, abs=1e-3)
    assert found.result.kish / N == pytest.approx(0.4820, abs=1e-3)
    assert found.result.n_det / N == pytest.approx(0.2829, abs=1e-3)
    assert found.verdict == "TESTED" and found.uncovered.value == 0 and "no part of it" in found.notes[0]
    by_cell = reweight_cells(rows, exponential(), AXES)
    assert by_cell.completeness.value == pytest.approx(0.141395, abs=3e-3) and by_cell.uncovered.value < 1e-9
    probit = injected({"theta_e_arcsec": steps(0, 10)[1:]}, stats.norm.cdf(steps(0, 10)[1:] - 5),
                      {"theta_e_arcsec": {"min": 0.002, "max": 10}})  # fmt: skip
    found = reweight_rows(probit, exponential((0.005, 10), 2.0))
    assert found.completeness.value == pytest.approx(0.086862, abs=1e-3)


def test_the_variable_of_a_density_matters(rows):
    """1 / theta per arcsec is flat per logarithm: the same population twice, and another one if they are mixed up."""
    flat = target_population({"theta_e_arcsec": target_density(([0.5, 2.5], [1 / np.log(5)] * 2), of="log")})
    x = np.geomspace(0.5, 2.5, 4000)
    linear = target_population({"theta_e_arcsec": target_density((x, 1 / x / np.log(5)))})
    truth = np.average(logistic(steps(0.5, 2.5)), weights=1 / steps(0.5, 2.5))
    for target in (flat, linear):
        assert reweight_rows(rows, target).completeness.value == pytest.approx(truth, abs=1e-3)
    # The injected sizes are even in the logarithm: their own prior is the target of weight 1, an even one is not.
    own = target_population({"src_reff_arcsec": target_density(([0.1, 0.5], [1 / np.log(5)] * 2), of="log")})
    assert reweight_rows(rows, own).result.kish == pytest.approx(N)
    even = target_population({"src_reff_arcsec": stats.uniform(0.1, 0.4)})
    assert reweight_rows(rows, even).result.kish < 0.95 * N


def test_what_was_not_injected_is_found_and_bounds_the_answer(rows):
    beyond = reweight_rows(rows, exponential((0.5, np.inf)))
    assert beyond.uncovered.low < np.exp(-4) < beyond.uncovered.high
    assert beyond.completeness.value == pytest.approx(0.141395, abs=1e-3)
    u, c = beyond.uncovered.value, beyond.completeness.value
    assert (beyond.result.low_bound, beyond.result.high_bound) == pytest.approx(((1 - u) * c, (1 - u) * c + u))
    exact = reweight_cells(rows, exponential((0.5, np.inf)), AXES)
    assert exact.uncovered.value == pytest.approx(np.exp(-4), abs=1e-9)
    below = reweight_rows(rows, exponential((0, np.inf)))
    assert below.verdict == "NOT_TESTABLE" and "64% of the population is outside" in below.result.reason
    assert reweight_cells(rows, exponential((0, np.inf)), AXES).verdict == "NOT_TESTABLE"
    with pytest.raises(CompletenessError, match="nothing where injections were put"):
        reweight_rows(rows, target_population({"theta_e_arcsec": stats.uniform(3, 1)}))
    few = rows.recovered & (np.arange(N) > N - 10)
    weak = reweight_rows(Rows(rows.rows, rows.prior, rows.valid, few, {}), exponential())
    assert weak.verdict == "NOT_TESTABLE" and "N_det" in weak.result.reason


def test_weights_that_cannot_have_their_mean_are_noticed(rows):
    """Valid rows that hang on the parameter are no sample of the plan: the answer is of what is left."""
    valid = rows.rows["theta_e_arcsec"].values > 0.8
    with pytest.warns(LensflowWarning, match="the mean of the weights is"):
        found = reweight_rows(Rows(rows.rows, rows.prior, valid, rows.recovered & valid, {}), exponential())
    assert any("not a fair sample" in n for n in found.notes)
    with pytest.raises(CompletenessError, match=r"log q of theta_e_arcsec is .* in the set"):
        reweight_rows(Rows(rows.rows, rows.prior, rows.valid, rows.recovered,
                           {"theta_e_arcsec": np.zeros(N)}), exponential())  # fmt: skip


def test_a_grid_is_weighed_onto_its_own_values_only():
    plan = {"preset": "historic_small", "design": "grid"}
    theta = np.tile([0.3, 0.6, 1.0], 200)
    chance = np.tile([0.1, 0.4, 0.9], 200)
    rows = injected({"theta_e_arcsec": theta}, chance, plan, each=10, per_host=30)
    masses = target_population({"theta_e_arcsec": {0.3: 0.5, 0.6: 0.25, 1.0: 0.15, 2.0: 0.1}})
    for found in (reweight_rows(rows, masses),
                  reweight_cells(rows, masses, [Values("theta_e_arcsec", (0.3, 0.6, 1.0))])):  # fmt: skip
        assert found.completeness.value == pytest.approx((0.05 + 0.1 + 0.135) / 0.9, abs=1e-9)
        assert found.uncovered.value == pytest.approx(0.1, abs=4e-3)
    axis = [Ranges("theta_e_arcsec", (0.2, 0.5, 0.8, 1.2))]
    lenses = lens_catalogue({"theta_e_arcsec": np.linspace(0.2, 1.2, 50)})
    for weigh in (lambda t: reweight_rows(rows, t), lambda t: reweight_cells(rows, t, axis)):
        with pytest.raises(ConfigError, match=r"the plan draws the values 0.3, 0.6, 1, and a list \(a grid\)"):
            weigh(target_population({"theta_e_arcsec": stats.uniform(0.3, 0.7)}))
    with pytest.raises(ConfigError, match="a list"):
        reweight_cells(rows, lenses, axis)
    uniform = injected({"theta_e_arcsec": steps(0.5, 2.5)}, logistic(steps(0.5, 2.5)), each=2)
    with pytest.raises(ConfigError, match="masses at single values are no density"):
        reweight_rows(uniform, target_population({"theta_e_arcsec": {1.0: 1.0}}))


def test_a_catalogue_keeps_how_its_parameters_go_together(rows):
    """Large lenses with large sources only: shares of cells of both, not the product of two histograms."""
    rng = np.random.default_rng(4)
    small, large = rng.uniform(0.5, 1.5, 3000), rng.uniform(1.5, 2.5, 1000)
    sizes = np.concatenate([rng.uniform(0.1, 0.2, 3000), rng.uniform(0.3, 0.5, 1000)])
    lenses = {"theta_e_arcsec": np.concatenate([small, large]), "src_reff_arcsec": sizes}
    found = reweight_cells(rows, lens_catalogue(lenses), AXES, min_rows=1, min_hosts=1)
    truth = np.average(logistic(lenses["theta_e_arcsec"]))
    assert found.completeness.value == pytest.approx(truth, abs=0.01)
    assert any("4,000 lenses" in n for n in found.notes)
    weighted = lens_catalogue(lenses, weight=np.repeat([1.0, 3.0], [3000, 1000]))
    more = reweight_cells(rows, weighted, AXES, min_rows=1, min_hosts=1)
    assert more.completeness.value == pytest.approx((logistic(small).mean() + logistic(large).mean()) / 2, abs=0.01)
    # Shares of bad pixels have their upper edges included, and a bin at the lowest edge.
    bad = Ranges.of("bad_pixel_frac", (0.0, 0.05, 0.2, 1.0))
    shares, _ = target_shares(target_population({"bad_pixel_frac": stats.uniform(0, 0.4)}), [bad], [6])
    assert shares == pytest.approx([0, 0, 0.125, 0.375, 0.5, 0, 0][: len(bad.labels)])
    outside = lens_catalogue({"theta_e_arcsec": np.concatenate([small, [4.0] * 500])})
    assert reweight_cells(rows, outside, AXES).uncovered.value == pytest.approx(500 / 3500)
    with pytest.raises(ConfigError, match="a catalogue has no density at a row"):
        reweight_rows(rows, lens_catalogue(lenses))
    with pytest.raises(ConfigError, match="src_mag_r: no axis of the selection"):
        reweight_cells(rows, lens_catalogue({"src_mag_r": [23.0]}), AXES)
    with pytest.raises(CompletenessError, match="row 1: theta_e_arcsec is nan"):
        lens_catalogue({"theta_e_arcsec": [1.0, np.nan]})


def test_conditional_support_counts_the_hosts_that_do_not_reach_the_target():
    """A magnitude that is the host's plus 1 to 4: the share outside is that of hosts and magnitudes together."""
    n = 20_000
    host_mag = np.repeat([18.0, 22.0], n // 2)
    mag = host_mag + np.tile(steps(1, 4, 100), n // 100)
    plan = {"dmag": {"min": 1, "max": 4}}
    rows = injected({"theta_e_arcsec": np.ones(n), "host_reference_mag": host_mag}, mag / 100, plan, each=1, seed=1)
    flux = np.full((n, 3), np.nan)
    flux[:, 1] = 10 ** (-0.4 * (mag - 22.5))
    of_band = {"src_flux_nmgy": (("sample", "band"), flux), "mw_transmission": (("sample", "band"), np.ones((n, 3)))}
    rows = Rows(
        rows.rows.assign(of_band).assign_coords(band=["g", "r", "z"]), rows.prior, rows.valid, rows.recovered, {}
    )
    found = reweight_rows(rows, target_population({"src_mag_r": stats.uniform(21, 4)}))
    # Bright hosts reach 21 to 22 of 21 to 25, faint ones 23 to 25.
    assert found.uncovered.low < 1 - (0.25 + 0.5) / 2 < found.uncovered.high
    assert found.verdict == "NOT_TESTABLE"
    near = reweight_rows(rows, target_population({"dmag": stats.uniform(1, 3)}))
    assert near.uncovered.value == 0 and near.result.kish == pytest.approx(n)


def test_a_condition_that_the_target_names_too_is_that_of_its_draw():
    """Offsets up to 1" are within 0.8 theta_E where the radii of the target are above 1.25", whatever was injected."""
    theta, r = np.meshgrid(steps(0.5, 2.5, 50), np.sqrt(steps(0, 0.64, 40)))
    zero = np.zeros(theta.size)
    columns = {"theta_e_arcsec": theta.ravel(), "src_x_arcsec": (r * theta).ravel(), "src_y_arcsec": zero}
    rows = injected(columns, logistic(theta.ravel()), each=5)
    offsets = target_density(([0, 1.0], [0, 2.0]))
    wide = target_population({"theta_e_arcsec": stats.uniform(1.5, 1), "src_offset_arcsec": offsets})
    assert reweight_rows(rows, wide).uncovered.value == 0
    some = reweight_rows(rows, target_population({"src_offset_arcsec": offsets}))
    # Uniform in area within 1", of which a lens of theta_E reaches (0.8 theta_E)^2.
    reached = np.minimum((0.8 * steps(0.5, 2.5)) ** 2, 1).mean()
    assert some.uncovered.low < 1 - reached < some.uncovered.high


def test_weighing_makes_nothing_of_a_scorer_that_cannot_be_measured(rows):
    found = reweight_rows(rows, exponential())
    fine = found.of_scorer("a:b at tau 1", "images", "", "")
    assert fine.verdict == "TESTED" and "of a:b at tau 1 for exponential" in str(fine)
    cut = found.of_scorer("", "images", "NOT_TESTABLE", "the scorer restates a cut")
    assert cut.verdict == "NOT_TESTABLE" and "restates a cut" in str(cut)
    truth = found.of_scorer("", "truth", "", "by definition")
    assert "detectability by definition" in truth.notes[-1] and truth.to_dataset().attrs["notes"] == [*truth.notes]


def table_of(rows, axes):
    """Selection function of rows, as its file holds it."""
    place, shape = bins.places(axes, {b.variable: rows.rows[b.variable].values for b in axes})
    whole = np.ones(len(place), bool)
    cells = Cells.from_rows(rows.rows["host_index"].values, place, shape, rendered=whole, valid=whole,
                            recovered=rows.recovered)  # fmt: skip
    made = table(cells, [b.variable for b in axes], coords=bins.coords(axes)).expand_dims(curve=["all"])
    return made.assign({f"{b.variable}_edges": (f"{b.variable}_edge", list(b.edges), {"upper_included": 0})
                        for b in axes})  # fmt: skip


def test_a_table_without_its_rows_gives_the_same_value_and_a_wider_interval(rows):
    """Axes that the target does not name are summed, with rows beyond their edges: hosts and sizes as injected."""
    axes = (
        Ranges("theta_e_arcsec", tuple(np.linspace(0.5, 2.5, 11))),
        Ranges("src_reff_arcsec", (0.15, 0.2, 0.3, 0.45)),
    )
    made = table_of(rows, axes)
    for target in (exponential(), exponential((0.5, np.inf))):
        of_rows, of_table = reweight_cells(rows, target, axes), reweight_table(made, target, rows.prior)
        assert of_table.completeness.value == pytest.approx(of_rows.completeness.value, abs=1e-12)
        assert of_table.uncovered.value == pytest.approx(of_rows.uncovered.value, abs=1e-12)
        assert of_table.result.n_det == pytest.approx(of_rows.result.n_det)
        assert of_table.completeness.sd >= of_rows.completeness.sd
        assert of_table.completeness.low <= of_rows.completeness.low
        assert of_table.completeness.high >= of_rows.completeness.high
        assert "go up and down together" in of_table.notes[-1]
    with pytest.raises(CompletenessError, match="no share of it is in a tested cell"):
        reweight_table(made, target_population({"theta_e_arcsec": stats.uniform(3, 1)}), rows.prior)
    with pytest.raises(ConfigError, match="no axis of the selection"):
        reweight_table(made, target_population({"src_mag_r": stats.uniform(20, 1)}), rows.prior)
    grid = InjectedPrior.of(make_config(plan={"preset": "historic_small"}))
    with pytest.raises(ConfigError, match="a list"):
        reweight_table(made, exponential(), grid)
