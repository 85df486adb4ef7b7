"""A sum tree over priorities: draws leaves in proportion to them, and changes many at once (Schaul et al. 2016, B.2.1).

A binary heap in one float64 array. A node is always computed as left + right, so the tree depends on its leaves alone
and a checkpoint needs no more than these.
"""

from __future__ import annotations

import numba
import numpy as np


class SumTree:
    """`size` priorities of at least 0, all 0 at first."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._first = 1 << max(size - 1, 1).bit_length()  # where the leaves begin
        self._nodes = np.zeros(2 * self._first, np.float64)

    @property
    def total(self) -> float:
        return float(self._nodes[1])

    @property
    def priorities(self) -> np.ndarray:
        """The leaves (size,) as a view."""
        return self._nodes[self._first : self._first + self.size]

    def put(self, leaves: np.ndarray, priorities: np.ndarray) -> None:
        """Set the priorities of `leaves` (n,) int64; of a leaf named twice the last one stays."""
        _put(self._nodes, self._first, leaves, priorities)

    def find(self, masses: np.ndarray) -> np.ndarray:
        """The leaf in whose part of [0, total) each of `masses` (n,) lies, int64; never a leaf of priority 0."""
        return _find(self._nodes, self._first, masses)

    def load(self, priorities: np.ndarray) -> None:
        """Set all leaves at once."""
        self.priorities[:] = priorities
        for level in range(self._first.bit_length() - 2, -1, -1):
            begin, end = 1 << level, 2 << level
            below = self._nodes[2 * begin : 2 * end]
            self._nodes[begin:end] = below[0::2] + below[1::2]


@numba.njit(cache=True)
def _put(nodes: np.ndarray, first: int, leaves: np.ndarray, priorities: np.ndarray) -> None:
    for i in range(len(leaves)):
        node = first + leaves[i]
        nodes[node] = priorities[i]
        node >>= 1
        while node > 0:
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
            node >>= 1


@numba.njit(cache=True)
def _find(nodes: np.ndarray, first: int, masses: np.ndarray) -> np.ndarray:
    found = np.empty(len(masses), np.int64)
    for i in range(len(masses)):
        node, mass = 1, masses[i]
        while node < first:
            node *= 2
            # to the right only where something lies there: rounding may leave a mass at the very end
            if mass >= nodes[node] and nodes[node + 1] > 0.0:
                mass -= nodes[node]
                node += 1
        found[i] = node - first
    return found
