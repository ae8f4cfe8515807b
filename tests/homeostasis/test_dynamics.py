"""The inner loop: ticks by hand, against a dense matrix, at its fixed point, and the limits of its
stability.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis import Ahsar, HomeostasisWarning, HomeostaticParams
from ahsar_eval.homeostasis.dynamics import (
    Homeostasis,
    check_stable,
    closed_loop_limit,
    deviation,
    largest_laplacian_eigenvalue,
    saturated_fraction,
    scale_of,
    tick,
    trajectory,
)

DEFAULTS = HomeostaticParams()
RATES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12).map(np.array)
STABLE = st.builds(
    HomeostaticParams,
    beta=st.floats(0.0, 0.5),
    gamma=st.floats(0.05, 0.9),
    diffusion=st.floats(0.0, 0.25),  # 0.9 + 0.25·4 < 2: stable at every depth
    baseline_state=st.floats(-1.0, 1.0),
)


def states(units: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=units)


def laplacian(units: int) -> np.ndarray:
    """Chain Laplacian Λ, [L, L]: 1 at both ends, 2 inside, −1 beside; zero for a single unit (paper
    4.2).
    """
    beside = np.eye(units, k=1) + np.eye(units, k=-1)
    return np.diag(beside.sum(0)) - beside


def fixed_point(rates: np.ndarray, p: HomeostaticParams) -> np.ndarray:
    """The state at which a tick with these rates changes nothing: (γI + DΛ)·c* = β·deviation +
    γ·c₀; needs γ > 0.
    """
    system = p.gamma * np.eye(len(rates)) + p.diffusion * laplacian(len(rates))
    logs = np.log(np.maximum(rates, p.rate_floor))
    return np.linalg.solve(system, p.beta * (logs - logs.mean()) + p.gamma * p.baseline_state)


def dense_tick(c: np.ndarray, rates: np.ndarray, p: HomeostaticParams) -> np.ndarray:
    """A tick in the form of the paper: matrices, floor and centring written out."""
    units = len(c)
    logs = np.log(np.clip(rates, p.rate_floor, None))
    centring = np.eye(units) - np.ones((units, units)) / units
    rest = np.full(units, p.baseline_state)
    return c + p.beta * centring @ logs - p.gamma * (c - rest) - p.diffusion * laplacian(units) @ c


# By hand


def test_tick_of_three_units_by_hand():
    params = HomeostaticParams(beta=0.5, gamma=0.1, diffusion=0.2, baseline_state=1.0)
    deviations = deviation(np.array([0.1, 0.1 * math.e, 0.1 * math.e**2]), params)
    assert deviations == pytest.approx([-1.0, 0.0, 1.0], abs=1e-12)
    # Λ·c of c = (0, 1, 3): (0 − 1, 2·1 − 0 − 3, 3 − 1) = (−1, −1, 2)
    expected = [
        0.0 + 0.5 * -1.0 - 0.1 * (0.0 - 1.0) - 0.2 * -1.0,
        1.0 + 0.5 * 0.0 - 0.1 * (1.0 - 1.0) - 0.2 * -1.0,
        3.0 + 0.5 * 1.0 - 0.1 * (3.0 - 1.0) - 0.2 * 2.0,
    ]
    assert expected == pytest.approx([-0.2, 1.2, 2.9]), "the hand count itself"
    assert tick(np.array([0.0, 1.0, 3.0]), deviations, params) == pytest.approx(expected, abs=1e-12)


def test_laplacian_by_hand():
    assert laplacian(1).tolist() == [[0.0]]
    assert laplacian(2).tolist() == [[1, -1], [-1, 1]]
    assert laplacian(4).tolist() == [[1, -1, 0, 0], [-1, 2, -1, 0], [0, -1, 2, -1], [0, 0, -1, 1]]


def test_smoothing_by_hand():
    params = HomeostaticParams(rate_momentum=0.25, ema_momentum=0.5)
    still, factor = np.zeros(2), np.array([1.5, 0.5])
    units = {"a": ("a",), "b": ("b",)}
    start = Homeostasis(units, {}, params, still, "m", 2, "spikes", None, np.ones(2))
    first = start.after_step(np.array([0.4, 0.8]), still, factor)
    assert first.smoothed_rate is not None
    assert first.smoothed_rate.tolist() == [0.4, 0.8], "the first batch starts the average"
    assert first.ema_scale == pytest.approx([1.25, 0.75])
    second = first.after_step(np.array([0.0, 0.4]), still, factor)
    assert second.smoothed_rate == pytest.approx([0.3, 0.7])


def test_scale_by_hand():
    params = HomeostaticParams(alpha=0.5, kappa=2.0, scale_base=3.0)
    assert scale_of(
        np.array([0.0, math.atanh(0.5) / 2, -math.atanh(0.5) / 2]), params
    ) == pytest.approx([3.0, 3.75, 2.25])


def test_saturated_fraction_by_hand():
    edge = math.atanh(0.95) / 2
    params = HomeostaticParams(kappa=2.0)
    assert (
        saturated_fraction(np.array([edge + 1e-6, edge - 1e-6, -edge - 1e-6, 0.0]), params) == 0.5
    )


# Against independent forms


@given(RATES, STABLE, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_tick_equals_the_dense_form(rates, params, seed):
    c = states(len(rates), seed)
    np.testing.assert_allclose(
        tick(c, deviation(rates, params), params), dense_tick(c, rates, params), atol=1e-12
    )


def test_trajectory_holds_every_state_of_the_ticks():
    rates, c = np.array([0.1, 0.4, 0.2, 0.05]), states(4)
    found = trajectory(c, rates, DEFAULTS, 5)
    assert found.shape == (6, 4)
    for index in range(6):
        np.testing.assert_allclose(
            found[index], c, atol=1e-12, err_msg=f"state after {index} ticks"
        )
        c = dense_tick(c, rates, DEFAULTS)


def test_state_rests_before_the_first_rate():
    c = states(3)
    assert (trajectory(c, None, DEFAULTS, 4) == c).all()


@given(RATES, STABLE)
@settings(max_examples=40, deadline=None)
def test_ticks_come_to_rest_where_the_linear_system_says(rates, params):
    # The slowest mode shrinks by 0.95 at each tick.
    iterated = trajectory(states(len(rates)), rates, params, 700)[-1]
    np.testing.assert_allclose(fixed_point(rates, params), iterated, atol=1e-10)


@given(RATES, STABLE.filter(lambda p: p.beta > 1e-3))
@settings(max_examples=40, deadline=None)
def test_residual_deviation_at_the_fixed_point(rates, params):
    c = fixed_point(rates, params)
    residual = (
        params.gamma * (c - params.baseline_state) + params.diffusion * laplacian(len(c)) @ c
    ) / params.beta
    np.testing.assert_allclose(deviation(rates, params), residual, atol=1e-8)


def test_residual_deviation_is_not_zero():
    assert np.abs(deviation(np.array([0.1, 0.2]), DEFAULTS)).min() > 0.3, (
        "the fixed point balances the deviation and does not remove it"
    )


def test_single_unit_has_no_laplacian_and_no_deviation():
    params = replace(DEFAULTS, baseline_state=0.3, diffusion=5.0)
    check_stable(params, 1)
    assert tick(np.array([1.0]), deviation(np.array([0.7]), params), params) == pytest.approx(
        [1.0 - 0.1 * 0.7]
    )
    assert fixed_point(np.array([0.7]), params) == pytest.approx([0.3])


# What regulation means


@given(
    st.lists(st.floats(-50, 50), min_size=2, max_size=20).map(np.array),
    st.floats(0.01, 0.99),
    st.floats(0.1, 3),
    st.floats(0.1, 4),
)
@settings(max_examples=60, deadline=None)
def test_scale_is_bounded_monotone_and_positive(c, alpha, kappa, base):
    params = HomeostaticParams(alpha=alpha, kappa=kappa, scale_base=base)
    scale = scale_of(np.sort(c), params)
    assert (scale > 0).all()
    assert (scale >= base * (1 - alpha) * (1 - 1e-12)).all()
    assert (scale <= base * (1 + alpha) * (1 + 1e-12)).all()
    assert (np.diff(scale) >= 0).all()


def test_over_active_layer_is_raised_and_silent_layer_lowered():
    scales = scale_of(trajectory(np.zeros(3), np.array([0.8, 0.2, 0.0]), DEFAULTS, 6)[-1], DEFAULTS)
    assert scales[0] > 1 > scales[2]


def test_silent_unit_deviates_by_a_large_finite_amount():
    found = deviation(np.array([0.0, 0.1]), DEFAULTS)
    assert found == pytest.approx([-math.log(1000) / 2, math.log(1000) / 2]), (
        "a rate of 0 counts as the floor of 1e-4"
    )
    assert deviation(np.array([1e-6, 0.1]), DEFAULTS).tolist() == found.tolist(), (
        "rates below the floor are one"
    )


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.05, 1.276), (0.1, 1.299), (0.2, 1.321), (0.3, 1.333)]
)
def test_one_silent_unit_of_ten_raises_every_other_scale(rate, expected):
    params = replace(DEFAULTS, diffusion=0.0)
    rates = np.full(10, rate)
    rates[4] = 0.0
    # c* = (β/γ)·(log r − mean) = log(r / 1e-4) / 10 in the nine, −9 times that in the silent one
    assert expected == pytest.approx(1 + 0.5 * math.tanh(math.log(rate / 1e-4) / 10), abs=1e-3), (
        "the hand count itself"
    )
    scales = scale_of(fixed_point(rates, params), params)
    assert np.delete(scales, 4) == pytest.approx(np.full(9, expected), abs=1e-3)
    assert scales[4] == pytest.approx(0.5, abs=1e-3)


@given(st.lists(st.floats(0.01, 0.2), min_size=1, max_size=10).map(np.array), st.floats(0.1, 5.0))
@settings(max_examples=40, deadline=None)
def test_common_mode_activity_is_invisible(rates, factor):
    c = states(len(rates))
    one, other = (trajectory(c, r, DEFAULTS, 6) for r in (rates, factor * rates))
    np.testing.assert_allclose(one, other, atol=1e-12)


@given(RATES, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_without_relaxation_the_mean_state_is_conserved(rates, seed):
    c = states(len(rates), seed)
    moved = trajectory(c, rates, replace(DEFAULTS, gamma=0.0), 20)
    np.testing.assert_allclose(moved.mean(axis=1), c.mean(), atol=1e-12)


def test_with_relaxation_the_mean_state_returns_to_rest():
    moved = trajectory(np.ones(3), np.array([0.1, 0.2, 0.3]), DEFAULTS, 10)
    np.testing.assert_allclose(moved.mean(axis=1), 0.9 ** np.arange(11), atol=1e-12)


def test_without_diffusion_units_are_decoupled():
    rates, c = np.array([0.1, 0.4, 0.2, 0.05]), states(4)
    moved = c.copy()
    moved[1] += 1.0
    for diffusion, spread in ((0.0, 0.0), (0.05, 0.05)):
        params = replace(DEFAULTS, diffusion=diffusion)
        change = tick(moved, deviation(rates, params), params) - tick(
            c, deviation(rates, params), params
        )
        assert change == pytest.approx([spread, 0.9 - 2 * diffusion, spread, 0.0]), (
            f"D = {diffusion}"
        )


# Stability


@pytest.mark.parametrize("units", [1, 2, 3, 10, 17])
def test_largest_eigenvalue_of_the_laplacian(units):
    assert largest_laplacian_eigenvalue(units) == pytest.approx(
        np.linalg.eigvalsh(laplacian(units)).max(), abs=1e-12
    )


def test_unstable_parameters_are_refused_by_name():
    with pytest.raises(
        HomeostasisError,
        match=(
            r"gamma = 0\.5, D = 0\.8 on L = 2 units give gamma \+ D\*lambda_max = 2\.1, .*less "
            r"than 2"
        ),
    ):
        check_stable(HomeostaticParams(gamma=0.5, diffusion=0.8), 2)
    check_stable(HomeostaticParams(gamma=0.5, diffusion=0.74), 2)
    with pytest.raises(HomeostasisError, match="less than 2"):
        check_stable(HomeostaticParams(gamma=2.0), 1)


def largest_after(params: HomeostaticParams, units: int, ticks: int) -> float:
    c = states(units)
    for _ in range(ticks):
        c = tick(c, np.zeros(units), params)
    return float(np.abs(c).max())


@pytest.mark.parametrize("units", [1, 2, 5, 17])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_explicit_step_is_stable_just_below_the_limit_only(units, gamma):
    if units == 1:
        below, above = HomeostaticParams(gamma=1.98), HomeostaticParams(gamma=2.02)
    else:
        limit = (2 - gamma) / np.linalg.eigvalsh(laplacian(units)).max()
        below, above = (
            HomeostaticParams(gamma=gamma, diffusion=factor * limit) for factor in (0.99, 1.01)
        )
    check_stable(below, units)
    assert largest_after(below, units, 3000) < 1e-6
    with pytest.raises(HomeostasisError):
        check_stable(above, units)
    assert largest_after(above, units, 3000) > 1e3


def spectral_radius(loop_gain: float, gamma: float, ticks: int, momentum: float) -> float:
    """Of one optimisation step of a unit (c, log r̃) near its fixed point, by running the step on
    the two unit vectors.

    The T ticks see the log r̃ they began with; the rate answers the mean of the thresholds written
    before each tick. The factor β is put into the state's units, so that only β·G = `loop_gain`
    remains.
    """
    columns = []
    for c, log_rate in ((1.0, 0.0), (0.0, 1.0)):
        written = []
        for _ in range(ticks):
            written.append(c)
            c = c + log_rate - gamma * c
        sensed = -loop_gain * sum(written) / ticks
        columns.append([c, (1 - momentum) * log_rate + momentum * sensed])
    return float(np.abs(np.linalg.eigvals(np.array(columns).T)).max())


@given(
    gamma=st.one_of(st.just(0.0), st.floats(1e-9, 1e-3), st.floats(1e-3, 1.9)),
    ticks=st.integers(1, 20),
    momentum=st.floats(0.02, 1.0),
)
@settings(max_examples=150, deadline=None)
def test_closed_loop_is_stable_up_to_the_limit_and_no_further(gamma, ticks, momentum):
    limit = closed_loop_limit(HomeostaticParams(gamma=gamma, rate_momentum=momentum), ticks)
    assert limit > 0
    if math.isfinite(limit):
        below, above = (
            spectral_radius(factor * limit, gamma, ticks, momentum) for factor in (0.98, 1.02)
        )
        assert below < 1 < above, f"limit {limit}"
    else:
        assert spectral_radius(1e3, gamma, ticks, momentum) < 1, (
            "no limit was named, and there is one"
        )


@pytest.mark.parametrize("ticks", [1, 5, 6, 10, 17])
def test_closed_loop_limit_without_relaxation(ticks):
    assert closed_loop_limit(HomeostaticParams(gamma=0.0), ticks) == pytest.approx(2 / (ticks + 1))
    for gamma in (1e-5, 1e-7, 1e-12, 1e-17):
        assert closed_loop_limit(HomeostaticParams(gamma=gamma), ticks) == pytest.approx(
            2 / (ticks + 1), rel=1e-2
        ), f"gamma = {gamma}"


def test_defaults_stand_far_inside_the_limit():
    for ticks in (5, 6, 8, 10):
        assert closed_loop_limit(DEFAULTS, ticks) > 2
        assert (
            DEFAULTS.beta * 6 * DEFAULTS.alpha * DEFAULTS.kappa
            < closed_loop_limit(DEFAULTS, ticks) / 6
        )


def test_warning_above_half_of_the_limit(recwarn):
    from spikingjelly.activation_based import neuron

    limit = closed_loop_limit(DEFAULTS, 6)
    half = (
        limit / 2 / (6 * DEFAULTS.alpha * DEFAULTS.kappa)
    )  # β at which β·G is half of the limit for χ = 6
    for beta in (DEFAULTS.beta, 0.99 * half):
        Ahsar(neuron.LIFNode(), timesteps=6, params=replace(DEFAULTS, beta=beta)).detach()
    assert not [w for w in recwarn if issubclass(w.category, HomeostasisWarning)], (
        "the defaults and all below half must not warn"
    )
    with pytest.warns(
        HomeostasisWarning,
        match=r"above half of the stability limit .* for gamma = 0\.1 and 6 ticks; lower beta",
    ) as caught:
        Ahsar(neuron.LIFNode(), timesteps=6, params=replace(DEFAULTS, beta=1.01 * half)).detach()
    assert caught[0].filename == __file__, "the warning points at the caller"


# Parameters


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("beta", -0.1, "0 or more"),
        ("gamma", math.nan, "finite"),
        ("diffusion", math.inf, "finite"),
        ("alpha", 1.0, "0 < alpha < 1"),
        ("alpha", 0.0, "0 < alpha < 1"),
        ("kappa", 0.0, "positive"),
        ("rate_floor", 0.0, "positive"),
        ("rate_momentum", 0.0, r"\(0, 1\]"),
        ("ema_momentum", 1.1, r"\(0, 1\]"),
    ],
)
def test_parameter_out_of_range_is_refused_by_name(name, value, text):
    with pytest.raises(HomeostasisError, match=f"{name} is .*{text}|{text}.*{name}"):
        HomeostaticParams(**{name: value})
