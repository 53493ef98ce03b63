"""Folds and selections by host."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from lensflow import rng
from lensflow.measure.gate.machine import host_folds


@pytest.mark.parametrize(("hosts", "folds"), [(5, 5), (23, 5), (40, 3)])
def test_folds_are_those_of_scikit_learn(hosts, folds):
    groups = np.random.default_rng(hosts).integers(0, hosts, 300) * 7
    groups[:hosts] = np.arange(hosts) * 7
    state = int(rng.generator(4, "gates.core.folds").integers(2**31))
    theirs = GroupKFold(folds, shuffle=True, random_state=state).split(groups, groups=groups)
    for one, other in zip(host_folds(groups, folds, 4), theirs, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_fewer_hosts_than_folds_are_refused():
    with pytest.raises(ValueError, match="5 folds of 4 hosts"):
        host_folds(np.repeat(np.arange(4), 9), 5, 0)
