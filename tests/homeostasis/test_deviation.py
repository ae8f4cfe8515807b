"""How far rates are from their set points: by hand."""

import math

import numpy as np
import pytest

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.deviation import judged_deviations, rate_deviations
from ahsar_eval.homeostasis.regulation import Regulation, SetPoint, SetPoints, overall

FLOOR = 1e-4
POINTS = SetPoints(
    {
        "a": SetPoint(np.array([0.5, 0.25]), np.array([0.1, 0.0]), 0.375, 0.075, (2, 1, 1)),
        "b": SetPoint(np.array([0.0]), np.array([0.0]), 0.0, 0.0, (1,)),
    }
)
RATES = {"a": np.array([0.75, 0.5]), "b": np.array([FLOOR * math.e])}


def test_deviations_by_hand():
    apart = rate_deviations(RATES, POINTS, "channel", FLOOR)
    assert apart["a"] == pytest.approx([math.log(1.5), math.log(2)], rel=1e-12)
    assert apart["b"] == pytest.approx([1.0], rel=1e-12)  # of the floor, not of 0
    layer = rate_deviations(RATES, POINTS, "layer", FLOOR)
    assert layer["a"] == pytest.approx([math.log(0.625 / 0.375)], rel=1e-12)


def test_judged_by_what_chance_adds_for_so_many_samples():
    """A spread of .1 about .5 is a fifth, and a mean over 4 samples has half of it; channels that
    did not vary, and layers of such alone, are left out.
    """
    apart = rate_deviations(RATES, POINTS, "channel", FLOOR)
    judged = judged_deviations(apart, POINTS, "channel", 4, FLOOR)
    assert list(judged) == ["a"]
    assert judged["a"] == pytest.approx([math.log(1.5) / 0.1], rel=1e-12)
    apart = rate_deviations(RATES, POINTS, "layer", FLOOR)
    judged = judged_deviations(apart, POINTS, "layer", 4, FLOOR)
    assert judged["a"] == pytest.approx([math.log(0.625 / 0.375) / 0.1], rel=1e-12)


def test_nothing_that_varies_is_refused():
    points = SetPoints({"b": POINTS.layers["b"]})
    apart = rate_deviations({"b": RATES["b"]}, points, "channel", FLOOR)
    with pytest.raises(HomeostasisError, match="did not vary between the samples"):
        judged_deviations(apart, points, "channel", 4, FLOOR)


def test_overall_is_the_root_mean_square_over_layers_as_a_regulations_effort():
    layers = {"a": np.array([3.0, 4.0]), "b": np.array([1.0])}
    assert overall(layers.values()) == pytest.approx(math.sqrt((12.5 + 1) / 2), rel=1e-12)
    assert overall(layers.values()) == Regulation("channel", layers).effort
