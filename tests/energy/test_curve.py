"""Accuracy against energy: the Pareto front by hand and by brute force, own settings, accuracy per
µJ.
"""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.energy.result import accuracy_per_uj, on_front, with_fronts


def point(checkpoint: str, scale: float | None, accuracy: float, energy: float) -> dict[str, Any]:
    place = {"accuracy": accuracy, "total_energy_pj": energy}
    return {"checkpoint": checkpoint, "scale": scale, **place}


def test_the_front_by_hand():
    points = [(0.9, 10.0), (0.8, 5.0), (0.85, 12.0), (0.7, 5.0), (0.9, 11.0)]
    assert on_front(points) == [True, True, False, False, False]


def test_equal_points_share_the_front_and_a_point_without_accuracy_is_on_none():
    assert on_front([(0.9, 10.0), (0.9, 10.0), (None, 1.0)]) == [True, True, False]
    assert on_front([(None, 1.0)]) == [False]
    assert on_front([]) == []


small = st.integers(0, 6)


@given(st.lists(st.tuples(small.map(float), small.map(float)), max_size=12))
def test_the_front_is_the_least_set_that_beats_everything_else(points):
    front = on_front(points)
    kept = [point for point, on in zip(points, front, strict=True) if on]
    ordered = sorted(kept, key=lambda point: point[1])
    # Along the front more energy buys more accuracy …
    assert all(a == b or (a[1] < b[1] and a[0] < b[0]) for a, b in itertools.pairwise(ordered))
    # … and whatever is off it is matched or beaten in both by something on it.
    for (accuracy, energy), on in zip(points, front, strict=True):
        better = [one for one in kept if one[0] >= accuracy and one[1] <= energy]
        assert better
        assert on == (better == [(accuracy, energy)] * len(better))


def test_fronts_of_each_network_and_of_all():
    one = [point("a", None, 0.9, 10), point("a", 2.0, 0.7, 5)]
    two = [point("b", 1.0, 0.6, 6), point("b", 0.5, 0.95, 20)]
    found = with_fronts([*one, *two])
    assert [(one["checkpoint"], one["scale"]) for one in found] == [
        ("a", 2.0),
        ("a", None),  # no single factor: behind the scales
        ("b", 0.5),
        ("b", 1.0),
    ]
    assert [one["front"] for one in found] == [True, True, True, True]
    assert [one["joint_front"] for one in found] == [True, True, True, False]
    assert with_fronts([]) == []


def test_accuracy_per_uj():
    assert accuracy_per_uj(0.5, 2e6) == pytest.approx(0.25)
    assert accuracy_per_uj(None, 2e6) is None
    assert accuracy_per_uj(0.5, 0.0) is None
