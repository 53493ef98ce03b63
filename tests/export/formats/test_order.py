"""Files of an export: every sample once, every file of both classes, nothing in the order says the class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from lensflow.errors import ExportError
from lensflow.export.formats.order import groups_of, keyed, keys_of, samples_of
from tests.export.formats.fake_view import fake_view


def in_order(view, seed=1, **options):
    groups = groups_of(view.samples, "train", seed, **options)
    parts = {s.number: (s, rows) for g in groups for s, rows in samples_of(g, view.samples, seed)}
    return [parts[k] for k in sorted(parts)]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 30), st.integers(1, 60), st.integers(1, 5), st.integers(0, 99))
def test_every_sample_is_in_one_file_once_with_a_key_of_its_own(pairs, unit, rows, mixed, seed):
    view = fake_view(pairs, unit_pairs=unit)
    parts = in_order(view, seed, rows_per_shard=rows + 1, units_per_group=mixed)
    every = np.concatenate([r for _, r in parts])
    assert sorted(every) == list(range(2 * pairs))
    keys = [k for s, _ in parts for k in keys_of(s, 2 * pairs)]
    assert keys == [f"{i:06d}" for i in range(2 * pairs)]
    assert all(s.of == len(parts) for s, _ in parts)


@pytest.mark.parametrize("mixed", [1, 3])
def test_a_pair_is_in_one_file_so_every_file_has_both_classes(mixed):
    view = fake_view(400, unit_pairs=50)
    for _, rows in in_order(view, rows_per_shard=64, units_per_group=mixed):
        y = view.samples["y"].values[rows]
        assert y.sum() * 2 == len(y) > 0
        assert len(np.unique(view.samples["host_index"].values[rows])) > 10
        assert len(np.unique(view.samples["stratum"].values[rows])) > 2


def test_position_and_number_of_the_file_say_nothing_of_the_class_where_pairs_are_not_whole():
    """Negatives of other hosts stand at the ends of the units: the plan must not hand their order on."""
    view = fake_view(3000, unit_pairs=300)
    y = view.samples["y"].values
    keep = (y > 0) | (np.arange(len(y)) % 600 > 300)
    samples = view.samples.isel(sample=np.flatnonzero(keep))
    groups = groups_of(samples, "train", 1, rows_per_shard=200, units_per_group=2)
    parts = sorted((s.number, rows) for g in groups for s, rows in samples_of(g, samples, 1))
    label = np.concatenate([samples["y"].values[rows] for _, rows in parts]) > 0
    position = np.arange(len(label))
    within = np.concatenate([np.arange(len(rows)) for _, rows in parts])
    for where in (position, within):
        assert mannwhitneyu(where[label], where[~label]).pvalue > 1e-4


def test_units_that_differ_in_their_share_of_positives_are_mixed_evenly():
    """All positives first, all negatives after: neighbouring units would make files of one class."""
    view = fake_view(600, unit_pairs=50)
    y = view.samples["y"].values
    order = np.argsort(-y, kind="stable")
    samples = view.samples.isel(sample=order).assign(
        unit=("sample", (np.arange(len(y)) // 100).astype(np.int32)), pair_id=("sample", np.full(len(y), -1))
    )
    groups = groups_of(samples, "train", 1, rows_per_shard=200, units_per_group=4)
    for g in groups:
        for _, rows in samples_of(g, samples, 1):
            assert 0.35 < samples["y"].values[rows].mean() < 0.65


def test_another_seed_is_another_order_and_the_same_seed_the_same():
    view = fake_view(50)
    first, again, other = (np.concatenate([r for _, r in in_order(view, s, rows_per_shard=20)]) for s in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_keys_do_not_depend_on_how_ids_are_stored():
    assert (keyed(3, "a", [1, 2]) == keyed(3, "a", np.array([1, 2], np.uint64))).all()
    assert (keyed(3, "a", [1, 2]) != keyed(3, "b", [1, 2])).all()


def test_ids_that_are_given_twice_and_files_that_cannot_be_filled_are_refused():
    view = fake_view(10)
    twice = view.samples.copy(deep=True)
    twice["sample_id"].values[3] = twice["sample_id"].values[8]
    with pytest.raises(ExportError, match=r"sample_id \d+ is given twice"):
        groups_of(twice, "val", 1, rows_per_shard=5)
    with pytest.raises(ExportError, match=r"10 pairs cannot fill"):
        groups_of(view.samples, "val", 1, rows_per_shard=1000, min_shards=30)
    with pytest.raises(ExportError, match="no samples"):
        groups_of(view.samples.isel(sample=slice(0)), "val", 1, rows_per_shard=5)
