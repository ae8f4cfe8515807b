"""The law of thresholds at test time: one step by hand, several beside a loop over plain numbers,
and what holds for any rates.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.regulation import (
    CHANNEL,
    LAYER,
    Regulation,
    RegulationParams,
    SetPoint,
    SetPoints,
    log_deviation,
    regulated,
    set_point_of,
)

PARAMS = RegulationParams(beta=0.4, gamma=0.1, bound=0.5, floor=1e-3, stream_beta=0.1, tau=0.2)
LONG = {"conv": 4, "fc": 3}


def point(rates: Any, spread: Any, layer_spread: float = 0.05) -> SetPoint:
    rates = np.array(rates, float)
    mean, shape = float(rates.mean()), (len(rates), 2, 2)
    return SetPoint(rates, np.array(spread, float), mean, layer_spread, shape)


def points(seed: int = 0) -> SetPoints:
    draw = np.random.default_rng(seed)
    layers = {
        name: point(draw.uniform(0, 0.5, c), draw.uniform(0, 0.2, c)) for name, c in LONG.items()
    }
    return SetPoints(layers, {"name": "digits", "n": 7}, "abc")


# by hand


def test_a_step_without_noise_by_hand() -> None:
    """c + β log(r/r*) − γ c: 0 + .4·log 2, .2 + .4·log ½ − .02, and a silent channel at the floor
    against a set point of .01, clipped at −.5.
    """
    state, rates = np.array([0.0, 0.2, 0.0]), np.array([0.2, 0.05, 0.0])
    c = regulated(state, rates, np.array([0.1, 0.1, 0.01]), PARAMS)
    assert c == pytest.approx([0.4 * math.log(2), 0.18 - 0.4 * math.log(2), -0.5], abs=1e-15)


def test_a_step_with_noise_by_hand() -> None:
    """β = .4, τ = .2: a pull of 10. Two channels at 0 whose rates doubled and stayed: .277 and 0,
    mean .139. A layer's variance of .1 halves the mean, a channel's of .2 thirds its distance.
    """
    c = regulated(
        np.zeros(2),
        np.array([0.2, 0.1]),
        np.array([0.1, 0.1]),
        replace(PARAMS, gamma=0.0),
        (np.array([0.2, 0.2]), 0.1),
    )
    mean = 0.2 * math.log(2)
    assert c == pytest.approx([mean / 2 + mean / 3, mean / 2 - mean / 3], abs=1e-15)


def test_a_layer_has_one_number_by_hand() -> None:
    """Rates .1 and .3 have the mean .2, the set point .1: c = .4·log 2; a layer's noise is its
    spread .05 over its rate, squared, over 4 samples, and pulls by 10·.0625.
    """
    known = SetPoints({"fc": point([0.1, 0.1], [0.9, 0.9])})
    start = Regulation.at_rest(LAYER, known)
    moved = start.after({"fc": np.array([0.1, 0.3])}, known, replace(PARAMS, gamma=0.0), 4)
    assert moved.state["fc"] == pytest.approx([0.4 * math.log(2) / 1.625], abs=1e-15)
    assert (moved.steps, start.steps) == (1, 0)


def test_a_set_point_by_hand() -> None:
    """Two samples, two channels of 10 places: rates .2 and .4; of the samples .3 and .5, .1 and
    .3 in the channels.
    """
    found = set_point_of(np.array([[1.0, 5.0], [3.0, 3.0]]), 10, (2, 5), 0)
    assert found.rates == pytest.approx([0.2, 0.4])
    assert found.spread == pytest.approx([0.1, 0.1])
    assert found.layer_rate == pytest.approx(0.3)
    assert found.layer_spread == pytest.approx(0.0)


def test_effort_and_bound_by_hand() -> None:
    """A layer of c = .3 and −.5 and one of 0: √((.17 + 0)/2); one of three numbers is at .5."""
    state = {"a": np.array([0.3, -0.5]), "b": np.zeros(1)}
    one = Regulation(CHANNEL, state, 2)
    assert one.effort == pytest.approx(math.sqrt(0.085))
    assert one.at_bound(PARAMS) == pytest.approx(1 / 3)
    assert one.factors["a"] == pytest.approx([math.exp(0.3), math.exp(-0.5)])


# beside a loop


def looped(
    mode: str,
    streams: bool,
    known: SetPoints,
    rates: list[dict[str, Any]],
    p: RegulationParams,
    samples: int,
) -> dict[str, list[float]]:
    """The law in plain numbers: sums and comparisons, one threshold after the other."""
    beta = p.stream_beta if streams else p.beta
    n = samples * max(1.0, 2 / beta - 1) if streams else samples
    state = {name: [0.0] * (1 if mode == LAYER else c) for name, c in LONG.items()}
    for seen in rates:
        for name, point in known.layers.items():
            r, target = list(seen[name]), list(point.rates)
            wide = list(point.spread)
            if mode == LAYER:
                r = [sum(r) / len(r)]
                target, wide = [point.layer_rate], [point.layer_spread]
            c = []
            for i, before in enumerate(state[name]):
                high, low = max(r[i], p.floor), max(target[i], p.floor)
                c.append(before + beta * (math.log(high) - math.log(low)) - p.gamma * before)
            if p.tau != math.inf:
                mean = sum(c) / len(c)
                of_layer = (point.layer_spread / max(point.layer_rate, p.floor)) ** 2 / n
                for i, moved in enumerate(c):
                    of_one = (wide[i] / max(target[i], p.floor)) ** 2 / n
                    c[i] = mean / (1 + beta / p.tau**2 * of_layer)
                    c[i] += (moved - mean) / (1 + beta / p.tau**2 * of_one)
            state[name] = [min(max(one, -p.bound), p.bound) for one in c]
    return state


@pytest.mark.parametrize("tau", [0.2, math.inf])
@pytest.mark.parametrize("gamma", [0.0, 0.1])
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("mode", [LAYER, CHANNEL])
def test_several_steps_are_those_of_a_loop(
    mode: str, streams: bool, gamma: float, tau: float
) -> None:
    """Rates of 0, below the floor and at a bound are among them."""
    draw, known = np.random.default_rng(3), points()
    p = replace(PARAMS, gamma=gamma, tau=tau)
    rates = [
        {name: draw.uniform(0, 1, c) * draw.integers(0, 2, c) for name, c in LONG.items()}
        for _ in range(6)
    ]
    rates[0]["fc"][:] = 0.0005
    found = Regulation.at_rest(mode, known)
    for seen in rates:
        step = found.after_batch if streams else found.after
        found = step(seen, known, p, 5)
    expected = looped(mode, streams, known, rates, p, 5)
    assert found.steps == 6
    for name, c in expected.items():
        np.testing.assert_allclose(found.state[name], c, rtol=0, atol=1e-13)
    if mode == CHANNEL and not streams:
        assert found.at_bound(p) > 0


# what holds for any rates

some = arrays(np.float64, 5, elements=st.floats(0, 1))
states = arrays(np.float64, 5, elements=st.floats(-0.5, 0.5))
noises = st.none() | st.tuples(arrays(np.float64, 5, elements=st.floats(0, 1e6)), st.floats(0, 1e6))
params = st.builds(
    RegulationParams,
    beta=st.floats(0.01, 2),
    gamma=st.floats(0, 0.99),
    bound=st.floats(0.5, 3),
    floor=st.floats(1e-6, 0.5),
    tau=st.floats(0.01, 10) | st.just(math.inf),
)


@given(states, some, some, params, noises)
def test_no_threshold_leaves_the_bound(c: Any, r: Any, at: Any, p: Any, noise: Any) -> None:
    moved = regulated(c, r, at, p, noise)
    assert np.isfinite(moved).all()
    assert (np.abs(moved) <= p.bound).all()


@given(some, params, noises)
def test_at_its_set_point_nothing_moves(r: Any, p: Any, noise: Any) -> None:
    assert not regulated(np.zeros(5), r, r, p, noise).any()


@given(states, some, some, params)
def test_a_rate_above_its_set_point_raises_its_threshold(c: Any, r: Any, at: Any, p: Any) -> None:
    p = replace(p, gamma=0.0, bound=3.0)
    moved = regulated(c, r, at, p)
    assert (moved[r > at] >= c[r > at]).all()
    assert (moved[r < at] <= c[r < at]).all()


@given(states, some, some, params, noises, st.permutations(range(5)))
def test_channels_in_another_order_have_the_same_thresholds(
    c: Any, r: Any, at: Any, p: Any, noise: Any, order: Any
) -> None:
    moved = regulated(c, r, at, p, noise)
    other = noise and (noise[0][order], noise[1])
    again = regulated(c[order], r[order], at[order], p, other)
    np.testing.assert_allclose(again, moved[order], rtol=0, atol=1e-12)


@given(some, some, st.floats(1e-6, 0.5))
def test_rates_below_the_floor_are_alike(r: Any, at: Any, floor: float) -> None:
    lifted = np.maximum(r, floor), np.maximum(at, floor)
    assert np.array_equal(log_deviation(r, at, floor), np.log(lifted[0]) - np.log(lifted[1]))


@given(arrays(np.float64, 3, elements=st.floats(-1, 1)), st.integers(0, 9))
def test_a_state_is_read_as_it_was_written(c: Any, steps: int) -> None:
    one = Regulation(CHANNEL, {"a": c, "b.c": c[:1]}, steps)
    again = Regulation.from_dict(json.loads(json.dumps(one.to_dict())))
    assert (again.mode, again.steps, list(again.state)) == (CHANNEL, steps, ["a", "b.c"])
    assert all(np.array_equal(again.state[name], c) for name, c in one.state.items())


# refused


@pytest.mark.parametrize(
    "damage",
    [
        {"mode": "batchnorm"},
        {"mode": None},
        {"state": {"a": [0.1, math.nan]}},
        {"state": {"a": [math.inf]}},
        {"state": {"a": ["x"]}},
        {"state": {"a": 0.1}},
        {"state": {"a": [[0.1]]}},
        {"state": [1]},
        {"steps": "many"},
    ],
)
def test_what_is_no_state_is_refused(damage: dict[str, Any]) -> None:
    sound = Regulation(CHANNEL, {"a": np.zeros(2)}, 1).to_dict()
    with pytest.raises(HomeostasisError, match=r"no state of a regulator.*adapt again"):
        Regulation.from_dict(sound | damage)
    for missing in damage:
        with pytest.raises(HomeostasisError, match="no state of a regulator"):
            Regulation.from_dict({name: v for name, v in sound.items() if name != missing})


def test_set_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    known = points()
    known.save(tmp_path / "a.json")
    again = SetPoints.load(tmp_path / "a.json")
    assert again.to_dict() == known.to_dict()
    assert (again.network, dict(again.data)) == ("abc", {"name": "digits", "n": 7})
    for name, one in known.layers.items():
        other = again.layers[name]
        assert np.array_equal(other.rates, one.rates)
        assert np.array_equal(other.spread, one.spread)
        assert (other.layer_rate, other.shape, other.axis) == (one.layer_rate, one.shape, one.axis)


@pytest.mark.parametrize(
    "damage",
    [
        {"rates": [0.1, 0.2]},
        {"rates": [0.1, 0.2, math.nan]},
        {"rates": [0.1, 0.2, math.inf]},
        {"rates": [0.1, 0.2, -0.1]},
        {"rates": 0.1},
        {"spread": [0.1]},
        {"spread": [0.1, 0.2, math.nan]},
        {"spread": [0.1, 0.2, -0.1]},
        {"layer_rate": math.nan},
        {"layer_rate": -1.0},
        {"layer_spread": math.inf},
        {"layer_spread": None},
        {"shape": []},
        {"shape": [4, 2, 2]},
        {"axis": 3},
        {"axis": "x"},
    ],
)
def test_damaged_set_points_are_refused(damage: dict[str, Any], tmp_path: Path) -> None:
    values = points().to_dict()
    values["layers"]["fc"] |= damage
    file = tmp_path / "a.json"
    file.write_text(json.dumps(values))
    with pytest.raises(HomeostasisError, match=r"a\.json: .*ahsar-eval calibrate"):
        SetPoints.load(file)
    for missing in damage:
        del values["layers"]["fc"][missing]
        with pytest.raises(HomeostasisError, match="ahsar-eval calibrate"):
            SetPoints.from_dict(values)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"layers": []}', '{"layers": {"a": 1}}']
)
def test_what_holds_no_set_points_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(HomeostasisError, match=r"a\.json.*ahsar-eval calibrate"):
        SetPoints.load(file)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HomeostasisError, match=r"cannot read .*none\.json: No such file"):
        SetPoints.load(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(HomeostasisError, match=r"b\.json is no JSON"):
        SetPoints.load(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("beta", v) for v in (0, -1, 2.1, math.nan)],
        *[("gamma", v) for v in (-0.1, 1, math.nan)],
        *[("bound", v) for v in (0, math.inf, math.nan)],
        *[("floor", v) for v in (0, 1, math.nan)],
        *[("repeats", v) for v in (0, 1001)],
        *[("stream_beta", v) for v in (0, 2.1, math.nan)],
        *[("tau", v) for v in (0, -1, math.nan)],
    ],
)
def test_settings_outside_their_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(HomeostasisError, match=f"^{name} is {value}; expected"):
        replace(PARAMS, **{name: value})
