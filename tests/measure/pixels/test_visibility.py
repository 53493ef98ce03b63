"""Whether arcs can be seen: medians and shares against numpy, merging, and the verdict at both ends."""

import numpy as np
import pytest

from lensflow.measure.pixels import Block, Settings, Status, Visibility, findings
from tests.measure.conftest import CONFIG


def scaled(pairs, factor):
    names = ("snr_matched", "snr_peak", "arc_over_host")
    return pairs.assign({k: factor * pairs[k] for k in names})


def test_medians_and_shares_are_those_of_the_rows(pairs):
    result = Visibility.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))
    lit = ~pairs["is_control"].values
    best = np.nanmax(pairs["snr_matched"].values[lit], axis=1)
    peak = np.nanmax(pairs["snr_peak"].values[lit], axis=1)
    assert float(result["peak_median"]) == pytest.approx(np.median(peak), rel=0.12)
    ratio = pairs["arc_over_host"].values[lit][:, 1]
    assert float(result["snr_median"]) == pytest.approx(np.median(best), rel=0.12)  # the bins are 12 % wide
    assert float(result["arc_over_host_median"]) == pytest.approx(np.median(ratio), rel=0.12)
    assert float(result["seen_share"]) == pytest.approx((best > 5).mean())
    assert float(result["outshining_share"]) == pytest.approx((ratio > 1).mean())
    assert int(result["n_rows"]) == lit.sum()


def test_parts_add_up_to_the_whole(pairs):
    whole = Visibility.from_block(Block(pairs, CONFIG)).result(Settings(CONFIG, 1))
    parts = [pairs.isel(sample=np.arange(pairs.sizes["sample"]) % 3 == k) for k in range(3)]
    total = Visibility.from_block(Block(parts[0], CONFIG))
    for part in parts[1:]:
        total = total + Visibility.from_block(Block(part, CONFIG))
    assert total.result(Settings(CONFIG, 1)).identical(whole)


@pytest.mark.parametrize(
    ("factor", "statuses"),
    [(1.0, {Status.OK}), (1e-4, {Status.ALARM})],
)
def test_arcs_that_nobody_could_see_are_an_alarm(pairs, factor, statuses):
    found = findings(
        {"visibility": Visibility.from_block(Block(scaled(pairs, factor), CONFIG)).result(Settings(CONFIG, 1))}
    )
    assert len(found) == 3 and {f.status for f in found} == statuses


def test_pairs_without_an_injection_are_not_tested(pairs):
    controls = pairs.isel(sample=pairs["is_control"].values)
    found = findings({"visibility": Visibility.from_block(Block(controls, CONFIG)).result(Settings(CONFIG, 1))})
    assert {f.status for f in found} == {Status.NOT_TESTED}
