"""AHSAR apart from any network: its parameters, equations and state, and the form in which a
checkpoint carries them (docs/method.md).

Vectors are float64 of length L, units ordered by depth; state in, new state out.

r̃ ← (1 − m_r)·r̃ + m_r·r                                                   paper 4.1
c ← c + β·(log r̃ − mean(log r̃)) − γ·(c − c₀) − D·Λ·c                       paper 4.2
s = s_base·(1 + α·tanh(κ·c))                                               paper 4.2
s̄ ← (1 − m_e)·s̄ + m_e·mean(factors written)                                paper 5.1

Once per epoch one gain for all units (paper 4.3; the formula is docs/method.md, section 4):

π_e = log(L_{e−1} / L_e)            progress of the validation loss
p̄ ← (1 − .3)·p̄ + .3·π_e, from 0
log g ← clip(log g + clip(η_E·log(E_e / Ē) − η_p·p̄, −δ, +δ), log ½, log 2)
Ē ← (1 − .1)·Ē + .1·E_e, from E_1, updated after use
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import HomeostasisError, misread

Vector = NDArray[np.float64]
SENSING = ("spikes", "surrogate")
Average = TypeVar("Average", float, Vector)
LOG_GAIN_LIMIT = math.log(2)
_SMALLEST = 1e-12
_RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("a finite number", math.isfinite, "baseline_state"),
    (
        "a finite number of 0 or more",
        lambda value: 0 <= value < math.inf,
        "beta gamma diffusion eta_energy eta_progress gain_step",
    ),
    (
        "a finite positive number",
        lambda value: 0 < value < math.inf,
        "kappa scale_base rate_floor",
    ),
    (
        "a number in (0, 1]",
        lambda value: 0 < value <= 1,
        "rate_momentum ema_momentum progress_momentum energy_momentum",
    ),
    (
        "0 < alpha < 1, so that every threshold stays positive",
        lambda value: 0 < value < 1,
        "alpha",
    ),
)


@dataclass(frozen=True)
class HomeostaticParams:
    """Parameters of AHSAR; the defaults and their reasons stand in docs/method.md.

    Symbols of the paper (sections 4.1 to 4.3) in brackets. Raises `HomeostasisError` for a value
    outside its range.
    """

    beta: float = 0.1  # [β] reaction gain
    gamma: float = 0.1  # [γ] relaxation gain; 0 is the ablation "no RT"
    diffusion: float = 0.05  # [D] diffusion strength; 0 is the ablation "no DH"
    alpha: float = 0.5  # [α] largest relative deviation of a scale from its base
    kappa: float = 1.0  # [κ] slope of the saturating map
    scale_base: float = 1.0  # [s_base]
    baseline_state: float = 0.0  # [c₀] fixed, never learned
    rate_momentum: float = 0.1  # [m_r]
    ema_momentum: float = 0.1  # [m_e] paper 5.1
    rate_floor: float = 1e-4  # log r̃ uses max(r̃, rate_floor)
    use_gain: bool = True  # False is the ablation "no gain"
    eta_energy: float = 0.1  # [η_E]
    eta_progress: float = 0.1  # [η_p]
    gain_step: float = 0.05  # [δ] trust region of log g in one epoch
    progress_momentum: float = 0.3
    energy_momentum: float = 0.1

    def __post_init__(self) -> None:
        for expected, holds, names in _RANGES:
            for name in names.split():
                if not holds(getattr(self, name)):
                    raise HomeostasisError(f"{name} is {getattr(self, name)}; expected {expected}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of every field."""
        return asdict(self)


def smooth(average: Average, value: Average, momentum: float) -> Average:
    """One step of an exponential moving average."""
    return (1 - momentum) * average + momentum * value


def deviation(smoothed_rate: Vector, params: HomeostaticParams) -> Vector:
    """Centred log rates log r̃ − mean(log r̃), [L], with r̃ floored at `rate_floor`: a silent unit
    deviates by a finite amount.
    """
    logs = np.log(np.maximum(smoothed_rate, params.rate_floor))
    return logs - logs.mean()


def tick_terms(
    state: Vector, deviations: Vector, params: HomeostaticParams
) -> tuple[Vector, Vector, Vector]:
    """Reaction β·deviation, relaxation γ(c − c₀) and diffusion D·Λ·c of one tick, each [L] like
    `state` c and `deviations`.
    """
    # Λ·c at linear cost: the differences across each bond, added at one end and taken at the other.
    flow = np.diff(state)
    diffused = np.concatenate([[0.0], flow]) - np.concatenate([flow, [0.0]])
    relaxation = params.gamma * (state - params.baseline_state)
    return params.beta * deviations, relaxation, params.diffusion * diffused


def tick(state: Vector, deviations: Vector, params: HomeostaticParams) -> Vector:
    """One control tick of reaction, relaxation and diffusion; `state` c and
    `deviations` are [L]."""
    reaction, relaxation, diffusion = tick_terms(state, deviations, params)
    return state + reaction - relaxation - diffusion


def trajectory(
    state: Vector, smoothed_rate: Vector | None, params: HomeostaticParams, ticks: int
) -> NDArray[np.float64]:
    """States before each tick and after the last, [ticks + 1, L].

    Before the first optimisation step has been sensed (`smoothed_rate` None) the state does not
    move (docs/method.md, section 3).
    """
    if smoothed_rate is None:
        return np.tile(state, (ticks + 1, 1))
    states, deviations = [state], deviation(smoothed_rate, params)
    for _ in range(ticks):
        states.append(tick(states[-1], deviations, params))
    return np.array(states)


def scale_of(state: Vector, params: HomeostaticParams) -> Vector:
    """Threshold scale of a state, elementwise: bounded in s_base·(1 ± α), monotone, positive."""
    return params.scale_base * (1 + params.alpha * np.tanh(params.kappa * state))


def saturated_fraction(state: Vector, params: HomeostaticParams) -> float:
    """Fraction of units whose scale has used at least 95 % of its range, |tanh(κ·c)| ≥ 0.95."""
    return float(np.mean(np.abs(np.tanh(params.kappa * state)) >= 0.95))


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
    for name, value in (("validation loss", loss), ("activity energy", energy)):
        if not 0 <= value < math.inf:
            raise HomeostasisError(
                f"the {name} is {value}; the gain needs a finite number of 0 or more"
            )
    energy = max(energy, params.rate_floor)
    if state.previous_loss is None or state.energy_trend is None:
        return GainState(state.log_gain, 0.0, loss, energy)
    gained = math.log(max(state.previous_loss, _SMALLEST) / max(loss, _SMALLEST))
    progress = smooth(state.progress, gained, params.progress_momentum)
    grown = math.log(energy / state.energy_trend)
    push = params.eta_energy * grown - params.eta_progress * progress
    step = min(max(push, -params.gain_step), params.gain_step) if params.use_gain else 0.0
    log_gain = min(max(state.log_gain + step, -LOG_GAIN_LIMIT), LOG_GAIN_LIMIT)
    trend = smooth(state.energy_trend, energy, params.energy_momentum)
    return GainState(log_gain, progress, loss, trend)


def largest_laplacian_eigenvalue(units: int) -> float:
    """λ_max of the chain Laplacian of `units` nodes: 2 − 2·cos(π(L−1)/L); 0 for a single unit."""
    return 2 - 2 * math.cos(math.pi * (units - 1) / units)


def check_stable(params: HomeostaticParams, units: int) -> None:
    """Refuse parameters whose explicit step diverges: stable iff γ + D·λ_max < 2 (docs/method.md,
    section 2).

    Raises `HomeostasisError` naming γ, D, L and the limit.
    """
    reach = params.gamma + params.diffusion * largest_laplacian_eigenvalue(units)
    if reach >= 2:
        raise HomeostasisError(
            f"unstable controller: gamma = {params.gamma}, D = {params.diffusion} on L = {units} "
            f"units give gamma + D*lambda_max = {reach:.4g}, and the explicit step needs less than "
            "2; lower gamma or D"
        )


def closed_loop_limit(params: HomeostaticParams, ticks: int) -> float:
    """Upper bound on β·G, G = χ·α·κ, below which the loop closed through the rates is stable
    (docs/method.md, section 2).

    `ticks` is T̂. χ = −∂log r/∂log θ; cross-layer effects are left out. For γ → 0 the bound is
    2/(T̂+1).
    """
    if params.gamma >= 2:
        return 0.0
    # a − A and 1 − 2a + A of docs/method.md, divided by γ/T̂ and written as sums: their difference
    # would cancel for small γ.
    powers = (1 - params.gamma) ** np.arange(ticks)
    lag = float(powers @ np.arange(1, ticks + 1))
    lead = float(powers @ np.arange(ticks - 2, -ticks - 1, -2))
    keep = (1 - params.gamma) ** ticks
    momentum = params.rate_momentum
    slow = ticks * (1 - keep * (1 - momentum)) / (momentum * lag) if lag > 0 else math.inf
    swinging = ticks * (1 + keep) * (2 - momentum) / (momentum * lead) if lead > 0 else math.inf
    return min(slow, swinging)


@dataclass(frozen=True)
class Homeostasis:
    """The controller's whole content, which a checkpoint carries; vectors are [L] float64."""

    units: Mapping[str, tuple[str, ...]]  # unit → layer names
    # Layer → v_threshold before any scaling: a number, or lists of them in the shape of a tensor.
    base_thresholds: Mapping[str, float | list[Any]]
    params: HomeostaticParams
    state: Vector  # c
    step_mode: str
    ticks: int
    sensing: str
    smoothed_rate: Vector | None  # r̃, None before the first optimisation step
    ema_scale: Vector  # s̄, gain included
    gain: GainState = field(default_factory=GainState)
    steps: int = 0  # optimisation steps so far
    energy_sum: float = 0.0  # sum over the epoch's steps of mean(r̃)
    energy_steps: int = 0

    def after_step(self, rate: Vector, state: Vector, factor: Vector) -> "Homeostasis":
        """End an optimisation step: sensed `rate`, `state` after its last tick, mean `factor`
        written during it; all [L].
        """
        before = self.smoothed_rate
        smoothed = rate if before is None else smooth(before, rate, self.params.rate_momentum)
        return replace(
            self,
            state=state,
            smoothed_rate=smoothed,
            ema_scale=smooth(self.ema_scale, factor, self.params.ema_momentum),
            steps=self.steps + 1,
            energy_sum=self.energy_sum + float(smoothed.mean()),
            energy_steps=self.energy_steps + 1,
        )

    def after_epoch(self, validation_loss: float) -> "Homeostasis":
        """End an epoch: update the gain and start a new energy sum. Raises `HomeostasisError` after
        an epoch without a step.
        """
        if self.energy_steps == 0:
            raise HomeostasisError(
                "the epoch had no optimisation step, which is a call in training mode of the very "
                "module that the controller was given; train at least one batch before epoch_end"
            )
        energy = self.energy_sum / self.energy_steps
        gain = update_gain(self.gain, validation_loss, energy, self.params)
        return replace(self, gain=gain, energy_sum=0.0, energy_steps=0)

    def replayed_scales(self) -> dict[str, float]:
        """Layer → EMA scale s̄ of its unit: what evaluation multiplies the base threshold by."""
        return {
            layer: float(scale)
            for layers, scale in zip(self.units.values(), self.ema_scale, strict=True)
            for layer in layers
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings; float64 values survive exactly."""
        held = asdict(self) | {"scale": scale_of(self.state, self.params)}
        held["units"] = {unit: list(layers) for unit, layers in self.units.items()}
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in held.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Homeostasis":
        """Inverse of `to_dict`. Raises `HomeostasisError` when a part is missing, misshapen or not
        finite.
        """
        with misread(HomeostasisError, "the stored controller is malformed", "save it again"):
            units = {str(unit): tuple(map(str, layers)) for unit, layers in values["units"].items()}
            stored, rate = values["base_thresholds"], values["smoothed_rate"]
            params = values["params"]
            gain: dict[str, Any] = {
                name: None if value is None else float(value)
                for name, value in values["gain"].items()
            }
            known = {entry.name: params[entry.name] for entry in fields(HomeostaticParams)}
            made = cls(
                units,
                {
                    layer: np.asarray(stored[layer], np.float64).tolist()
                    for layers in units.values()
                    for layer in layers
                },
                HomeostaticParams(**known | params),
                np.asarray(values["state"], np.float64),
                str(values["step_mode"]),
                int(values["ticks"]),
                str(values["sensing"]),
                None if rate is None else np.asarray(rate, np.float64),
                np.asarray(values["ema_scale"], np.float64),
                GainState(**gain),
                int(values["steps"]),
                float(values["energy_sum"]),
                int(values["energy_steps"]),
            )
        vectors: list[Any] = [made.state, made.ema_scale, made.smoothed_rate]
        positive: list[Any] = [made.ema_scale, *made.base_thresholds.values()]
        numbers = [*vectors, *positive, made.energy_sum, *gain.values()]
        if (
            any(np.shape(vector) != (len(units),) for vector in vectors if vector is not None)
            or not all(np.isfinite(x).all() for x in numbers if x is not None)
            or any(np.any(np.asarray(x) <= 0) for x in positive)
            or made.sensing not in SENSING
        ):
            raise HomeostasisError(
                "the stored controller is damaged; expected one finite number per unit, thresholds "
                f"and EMA scales above 0, and sensing by {' or '.join(SENSING)}; save it again"
            )
        return made
