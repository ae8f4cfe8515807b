"""The outer loop: the gain's epochs by hand, its signs, its bounds, and that noise alone does not
move it.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis import HomeostaticParams
from ahsar_eval.homeostasis.dynamics import GainState, Homeostasis, update_gain

DEFAULTS = HomeostaticParams()


def gains(losses, energies, params: HomeostaticParams = DEFAULTS) -> list[GainState]:
    """The state after every epoch."""
    state, found = GainState(), []
    for loss, energy in zip(losses, energies, strict=True):
        state = update_gain(state, float(loss), float(energy), params)
        found.append(state)
    return found


def test_three_epochs_by_hand():
    first, second, third = gains([1.0, 0.8, 0.9], [0.2, 0.25, 0.1])
    assert (first.gain, first.progress, first.previous_loss, first.energy_trend) == (
        1.0,
        0.0,
        1.0,
        0.2,
    )

    # π = log(1 / 0.8) = 0.223144, p̄ = 0.3·π = 0.066943; log(0.25 / 0.2) = 0.223144
    assert second.progress == pytest.approx(0.066943, abs=1e-6)
    assert second.log_gain == pytest.approx(0.1 * 0.223144 - 0.1 * 0.066943, abs=1e-6)
    assert second.energy_trend == pytest.approx(0.9 * 0.2 + 0.1 * 0.25)

    # π = log(0.8 / 0.9) = −0.117783, p̄ = 0.7·0.066943 − 0.3·0.117783 = 0.011525; log(0.1 / 0.205)
    # = −0.717840:
    # the push of −0.0729 is cut to −0.05
    assert third.progress == pytest.approx(0.011525, abs=1e-6)
    assert third.log_gain == pytest.approx(second.log_gain - 0.05, abs=1e-12)
    assert third.energy_trend == pytest.approx(0.9 * 0.205 + 0.1 * 0.1)
    assert third.gain == pytest.approx(math.exp(0.015620 - 0.05), abs=1e-6)


def test_first_epoch_leaves_the_gain_at_one():
    assert update_gain(GainState(), 123.0, 0.9, DEFAULTS).gain == 1.0


def test_stalled_progress_with_energy_above_trend_raises_the_gain():
    assert gains([1.0, 1.0], [0.2, 0.3])[-1].gain > 1


def test_progress_with_energy_below_trend_lowers_the_gain():
    assert gains([1.0, 0.5], [0.3, 0.2])[-1].gain < 1


def test_each_signal_alone_has_its_sign():
    assert gains([1.0, 0.5], [0.2, 0.2])[-1].gain < 1, "falling loss at trend"
    assert gains([1.0, 2.0], [0.2, 0.2])[-1].gain > 1, "rising loss at trend"
    assert gains([1.0, 1.0], [0.2, 0.1])[-1].gain < 1, "energy below trend"
    assert gains([1.0, 1.0], [0.2, 0.2])[-1].gain == 1, "nothing moved"


def test_energy_counts_against_its_trend_before_the_epoch():
    assert gains([1.0, 1.0], [0.2, 0.21])[-1].log_gain == pytest.approx(
        0.1 * math.log(0.21 / 0.2)
    ), "Ē is updated after use"


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1)), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_gain_stays_in_its_trust_region_and_limits(epochs):
    params = HomeostaticParams(eta_energy=1.0, eta_progress=1.0)
    losses, energies = zip(*epochs, strict=True)
    found = [GainState(), *gains(losses, energies, params)]
    for before, after in itertools.pairwise(found):
        assert abs(after.log_gain - before.log_gain) <= 0.05 + 1e-12
        assert 0.5 - 1e-12 <= after.gain <= 2 + 1e-12


@pytest.mark.parametrize(("direction", "limit"), [(1.0, 2.0), (-1.0, 0.5)])
def test_gain_reaches_its_limits_and_no_further(direction, limit):
    losses = np.exp(direction * np.arange(40))
    found = [state.gain for state in gains(losses, np.full(40, 0.2))]
    assert found[-1] == pytest.approx(limit)
    step = math.exp(0.05)
    assert max(found[5] / found[4], found[4] / found[5]) == pytest.approx(step), (
        "one epoch moves the gain by the trust region at most"
    )


def test_without_gain_the_signals_are_still_tracked():
    params = HomeostaticParams(use_gain=False)
    last = gains([1.0, 2.0, 3.0], [0.2, 0.3, 0.4], params)[-1]
    assert last.gain == 1.0
    assert last.previous_loss == 3.0
    assert last.progress < 0


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, -1.0])
def test_unusable_loss_is_refused(loss):
    with pytest.raises(
        HomeostasisError, match=r"the validation loss is .*needs a finite number of 0 or more"
    ):
        update_gain(GainState(), loss, 0.2, DEFAULTS)


@pytest.mark.parametrize("energy", [math.nan, math.inf, -0.1])
def test_unusable_energy_is_refused(energy):
    with pytest.raises(
        HomeostasisError, match=r"the activity energy is .*needs a finite number of 0 or more"
    ):
        update_gain(GainState(), 1.0, energy, DEFAULTS)


def test_loss_and_energy_of_zero_stay_finite():
    assert all(
        0.5 <= state.gain <= 2 for state in gains([0.0, 1.0, 0.0, 0.0], [0.0, 0.1, 0.0, 0.0])
    )


def test_stationary_noise_does_not_make_the_gain_drift():
    ends = []
    for seed in range(30):
        losses = np.exp(np.random.default_rng(seed).normal(0, 0.3, 200))
        state = gains(losses, np.full(200, 0.2))[-1]
        # Σp̄ = Σπ − (0.7 / 0.3)·p̄, and Σπ telescopes to the logarithm of first over last loss
        exact = -0.1 * (math.log(losses[0] / losses[-1]) - 0.7 / 0.3 * state.progress)
        assert state.log_gain == pytest.approx(exact, abs=1e-10)
        ends.append(state.log_gain)
    assert np.abs(ends).max() < 0.15
    assert abs(np.mean(ends)) < 0.02, (
        "with the paper's p_e in place of its logarithm this would be +1.86"
    )


def at_rest(params: HomeostaticParams) -> Homeostasis:
    units = {"a": ("a",), "b": ("b",)}
    return Homeostasis(units, {}, params, np.zeros(2), "m", 2, "spikes", None, np.ones(2))


def test_energy_is_the_epochs_mean_smoothed_rate():
    params = HomeostaticParams(rate_momentum=0.5)
    held = at_rest(params)
    for rate in ([0.1, 0.3], [0.5, 0.5]):  # r̃ = (0.1, 0.3), then (0.3, 0.4)
        held = held.after_step(np.array(rate), held.state, np.ones(2))
    ended = held.after_epoch(1.0)
    assert ended.gain.energy_trend == pytest.approx((0.2 + 0.35) / 2)
    assert (ended.energy_sum, ended.energy_steps) == (0.0, 0), "the next epoch starts anew"


def test_epoch_without_a_step_is_refused():
    with pytest.raises(HomeostasisError, match="had no optimisation step"):
        at_rest(DEFAULTS).after_epoch(1.0)
