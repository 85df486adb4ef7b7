"""The sum tree against cumulative sums."""

from __future__ import annotations

import numpy as np
import pytest

from clipdrive.experience.sum_tree import SumTree


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_a_mass_falls_into_the_leaf_where_the_cumulative_sum_says(size):
    rng = np.random.default_rng(size)
    tree, priorities = SumTree(size), np.zeros(size)
    for _ in range(5):
        leaves = rng.integers(0, size, 2 * size)
        values = rng.integers(0, 4, len(leaves)).astype(float)  # whole numbers: sums are exact
        tree.put(leaves, values)
        priorities[leaves] = values  # numpy, too, keeps the last of a leaf named twice
        priorities[0] = 1.0
        tree.put(np.array([0]), np.array([1.0]))
        assert np.array_equal(tree.priorities, priorities)
        assert tree.total == priorities.sum()
        masses = rng.uniform(0.0, tree.total, 500)
        expected = np.searchsorted(np.cumsum(priorities), masses, side="right")
        assert np.array_equal(tree.find(masses), expected)


def test_a_leaf_of_priority_0_is_never_found_not_even_at_the_very_end():
    tree = SumTree(6)
    tree.put(np.array([1, 3]), np.array([0.1, 0.3]))
    masses = np.array([0.0, np.nextafter(tree.total, 0.0), tree.total, tree.total * (1.0 + 1e-12)])
    assert tree.find(masses).tolist() == [1, 3, 3, 3]


def test_loaded_leaves_give_the_same_tree_to_the_bit():
    rng = np.random.default_rng(0)
    first, second = SumTree(37), SumTree(37)
    for _ in range(20):
        first.put(rng.integers(0, 37, 16), rng.random(16))
    second.load(first.priorities.copy())
    assert np.array_equal(first._nodes, second._nodes)
