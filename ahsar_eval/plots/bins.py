"""Edges of histograms that show the scores and not the bins."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEW_VALUES = 60
FEWEST_BINS, MOST_BINS = 24, 40
_TAIL = 0.005  # each end of a set that may lie far out


def score_edges(sets: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Common edges [B + 1], ascending, for the histograms of several sets of scores; every score
    lies within.

    Fewer than 60 distinct values have a bin each, so that no bin stays empty between two values for
    want of a value to hold. Values on a lattice (spike counts) have bins of whole numbers of steps.
    Others have 24 to 40 bins of one width, by the size of the smallest set. Where the outermost 0.5
    % of a set lie far out, the first and last bin reach to the outermost score and the rest is
    divided.
    """
    values = _distinct(np.concatenate(sets, dtype=np.float64))
    if len(values) == 1:
        half = abs(values[0]) * 0.05 or 0.5
        return np.array([values[0] - half, values[0] + half])
    if len(values) < FEW_VALUES:
        return _edge_for_each(values)
    low, high = _body(sets)
    # Rice's rule
    bins = np.clip(2 * np.cbrt(min(len(one) for one in sets)), FEWEST_BINS, MOST_BINS)
    step = _lattice_step(values)
    if step is not None:
        width = step * max(1, int(np.ceil((high - low) / step / bins)))
        start = values[0] + step * np.floor((low - values[0]) / step) - step / 2
    else:
        width = (high - low) / round(bins)
        start = low
    count = int(np.ceil((high - start) / width - 1e-9))
    edges = start + width * np.arange(count + 1)
    edges[-1] = max(edges[-1], high)  # rounding must not leave the largest score outside
    first = [values[0]] if values[0] < edges[0] else []
    last = [values[-1]] if values[-1] > edges[-1] else []
    return np.concatenate([first, edges, last])


def shown_range(edges: NDArray[np.float64]) -> tuple[float, float]:
    """The part of the axis that is drawn: all bins, of a wide outermost one only as much as two of
    the others.
    """
    usual = 2 * float(np.median(np.diff(edges)))
    return max(float(edges[0]), edges[1] - usual), min(float(edges[-1]), edges[-2] + usual)


def _distinct(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sorted values; those that differ by rounding alone are one."""
    values = np.unique(values)
    apart = np.diff(values) > 1e-9 * max(float(values[-1] - values[0]), 1e-300)
    return values[np.concatenate([[True], apart])]


def _edge_for_each(values: NDArray[np.float64]) -> NDArray[np.float64]:
    gaps = np.diff(values)
    # A lone value far from the others must not become a wide plateau; evenly spaced ones must
    # touch.
    most = max(float(values[-1] - values[0]) / MOST_BINS, float(np.median(gaps))) / 2
    half = np.pad(np.minimum(gaps / 2, most), 1, mode="edge")
    return np.unique(np.concatenate([values - half[:-1], values + half[1:]]))


def _body(sets: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    ends = np.array([np.quantile(one, [0, _TAIL, 1 - _TAIL, 1]) for one in sets])
    (least, low), (high, most) = ends[:, :2].min(axis=0), ends[:, 2:].max(axis=0)
    reach = high - low
    if reach <= 0:
        return least, most
    return (low if low - least > reach else least), (high if most - high > reach else most)


def _lattice_step(values: NDArray[np.float64]) -> float | None:
    gaps = np.diff(values)
    step = float(gaps.min())
    multiples = gaps / step
    even = np.abs(multiples - np.round(multiples)).max() < 1e-4 and multiples.max() < 1e6
    return step if even else None
