"""Tests of order and shares where there is nothing to order."""

import numpy as np
import pytest

from lensflow.export.check.statistics import rank_test, rank_test_by_host


@pytest.mark.parametrize("n", [3, 109, 1000])
def test_equal_ranks_tell_nothing_whatever_their_number(n):
    """All samples in one file: the number of the file is one number, and rounding must not make it a finding."""
    y, host, one = np.arange(n) < n // 2 + 1, np.arange(n) // 4, np.zeros(n, np.int64)
    assert rank_test(y, one, one) == rank_test_by_host(y, one, one, host) == 1.0
