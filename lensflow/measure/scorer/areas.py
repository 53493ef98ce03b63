"""AUROC of a scorer on images with and without their core, and the difference, with intervals.

Nothing is fitted here, so an interval has only the choice of hosts to answer for: it comes from a bootstrap over
hosts, with the same draws for the scores with and without the core. Stamps are compared with controls of other hosts
only, and a host's control counts as often as the host has stamps: both classes then lie on the same hosts, also in a
range of theta_E or SNR that some hosts fill more than others. In simulations (10 to 60 hosts, true areas of 0.81 to
0.995) the intervals hold the truth in 92 to 99 % of cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from lensflow.measure.scorer.scorer import own_control
from lensflow.stats.auc import host_bootstrap
from lensflow.stats.estimate import Estimate
from lensflow.stats.hostsums import Z_95, correlation_of_draws, spread

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Areas:
    """AUROC with and without the core, and the loss between them in % of the first."""

    bare: Estimate
    filled: Estimate
    drop_pct: Estimate

    @classmethod
    def of(cls, scores: xr.Dataset, draws: int, seed: int, purpose: str) -> Areas:
        """Areas of stamps against the controls of their hosts: rows of ``score_block``."""
        names = ("stamp", "ctrl", "stamp_filled", "ctrl_filled", "host_index")
        stamp, ctrl, stamp_filled, ctrl_filled, host = (scores[n].values for n in names)
        own = own_control(scores)
        before, after = np.concatenate([stamp, ctrl[own]]), np.concatenate([stamp_filled, ctrl_filled[own]])
        return cls.between(before, after, host, draws, seed, purpose)

    @classmethod
    def between(
        cls, before: Floats, after: Floats, host: NDArray[np.integer], draws: int, seed: int, purpose: str
    ) -> Areas:
        """Areas of two sets of scores of the same images.

        Parameters
        ----------
        before, after : ndarray, shape (2 n,)
            Scores of n stamps, then of their own controls.
        host : ndarray, shape (n,)
        draws, seed, purpose
            Of the bootstrap of hosts.
        """
        n_hosts = int(np.unique(host).size)
        labels, hosts = np.repeat([True, False], len(host)), np.tile(host, 2)
        found, drawn = [], []
        for scores in (before, after):
            # One purpose, hence the same draws of hosts for both.
            area, some = host_bootstrap(labels, scores, hosts, draws, seed, purpose)
            found.append(area_interval(area, some, n_hosts))
            drawn.append(some)
        bare, filled = found
        if np.array_equal(before, after):
            return cls(bare, filled, Estimate(0.0, 0.0, 0.0, n_hosts))  # nothing is used: nothing to estimate
        # An area of 0 has nothing to lose.
        scale = 100 / bare.value if bare.value > 0 else math.nan
        return cls(bare, filled, scale * bare.less(filled, correlation_of_draws(*drawn)))


def area_interval(value: float, draws: Floats, n_hosts: int) -> Estimate:
    """Interval of an area from its bootstrap draws: Student's t with n_hosts - 1 degrees of freedom on the logit.

    On the logit because areas near 1 scatter downwards, and percentiles then err on the side that passes: with 60
    hosts and a true area of 0.96 they lay above it in 8 % of simulated cases, not 2.5 %; these in 2 to 5 %.

    An area of exactly 0 or 1 has draws without scatter. Its interval is that of a share of as many independent trials
    as there are hosts (Wilson 1927, JASA 22, 209): no area has a larger variance than value * (1 - value) / n
    (Birnbaum & Klose 1957, Ann. Math. Stat. 28, 933).
    """
    sd = float(spread(draws, n_hosts))
    if not math.isfinite(value + sd):
        return Estimate(value, n_hosts=n_hosts, sd=sd)
    if value in (0.0, 1.0):
        end = n_hosts / (n_hosts + Z_95**2)
        return Estimate(value, end if value else 0.0, 1.0 if value else 1 - end, n_hosts, sd)
    reach = float(stdtrit(n_hosts - 1, 0.975)) * sd / (value * (1 - value))
    low, high = expit(logit(value) + np.array([-reach, reach]))
    return Estimate(value, float(low), float(high), n_hosts, sd)
