"""The outer loop of AHSAR: one gain for all units, updated once per epoch (paper 4.3; the formula
is docs/method.md, section 4).

π_e = log(L_{e−1} / L_e)            progress of the validation loss
p̄ ← (1 − .3)·p̄ + .3·π_e, from 0
log g ← clip(log g + clip(η_E·log(E_e / Ē) − η_p·p̄, −δ, +δ), log ½, log 2)
Ē ← (1 − .1)·Ē + .1·E_e, from E_1, updated after use
"""

import math
from dataclasses import dataclass

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.params import HomeostaticParams

LOG_GAIN_LIMIT = math.log(2)
_SMALLEST = 1e-12


@dataclass(frozen=True)
class GainState:
    """State of the outer loop. `previous_loss` and `energy_trend` are None before the first epoch
    has ended.
    """

    log_gain: float = 0.0
    progress: float = 0.0  # p̄
    previous_loss: float | None = None  # L_{e−1}
    energy_trend: float | None = None  # Ē

    @property
    def gain(self) -> float:
        """g, in [½, 2]."""
        return math.exp(self.log_gain)


def update_gain(
    state: GainState, loss: float, energy: float, params: HomeostaticParams
) -> GainState:
    """End one epoch: `loss` on the hold-out with replayed thresholds, `energy` E_e the mean
    smoothed rate of the epoch.

    The first epoch has no predecessor and leaves the gain as it is; so does `use_gain=False`, which
    still tracks the signals. Raises `HomeostasisError` for a loss or energy that is not finite or
    is negative.
    """
    if not (math.isfinite(loss) and loss >= 0):
        raise HomeostasisError(
            f"the validation loss is {loss}; the gain needs a finite loss of 0 or more"
        )
    if not (math.isfinite(energy) and energy >= 0):
        raise HomeostasisError(
            f"the activity energy is {energy}; the gain needs a finite mean rate of 0 or more"
        )
    energy = max(energy, params.rate_floor)
    if state.previous_loss is None or state.energy_trend is None:
        return GainState(state.log_gain, 0.0, loss, energy)
    gained = math.log(max(state.previous_loss, _SMALLEST) / max(loss, _SMALLEST))
    progress = (1 - params.progress_momentum) * state.progress + params.progress_momentum * gained
    grown = math.log(energy / state.energy_trend)
    push = params.eta_energy * grown - params.eta_progress * progress
    step = min(max(push, -params.gain_step), params.gain_step) if params.use_gain else 0.0
    log_gain = min(max(state.log_gain + step, -LOG_GAIN_LIMIT), LOG_GAIN_LIMIT)
    momentum = params.energy_momentum
    trend = (1 - momentum) * state.energy_trend + momentum * energy
    return GainState(log_gain, progress, loss, trend)
