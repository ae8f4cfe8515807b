"""The inner loop of AHSAR as functions: state in, new state out, float64 vectors of length L (units
ordered by depth).

r̃ ← (1 − m_r)·r̃ + m_r·r                                                   paper 4.1
c ← c + β·(log r̃ − mean(log r̃)) − γ·(c − c₀) − D·Λ·c                       paper 4.2
s = s_base·(1 + α·tanh(κ·c))                                               paper 4.2
s̄ ← (1 − m_e)·s̄ + m_e·mean(factors written)                                paper 5.1
"""

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.homeostasis.params import HomeostaticParams

Vector = NDArray[np.float64]


def smooth_rate(smoothed_rate: Vector | None, rate: Vector, params: HomeostaticParams) -> Vector:
    """One step of r̃, [L]; the first batch's rate starts it (`smoothed_rate` None)."""
    if smoothed_rate is None:
        return rate.astype(np.float64)
    return (1 - params.rate_momentum) * smoothed_rate + params.rate_momentum * rate


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
    relaxed = state - params.baseline_state
    return params.beta * deviations, params.gamma * relaxed, params.diffusion * diffused


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
    states = np.repeat(state[None], ticks + 1, axis=0).astype(np.float64)
    if smoothed_rate is not None:
        deviations = deviation(smoothed_rate, params)
        for index in range(ticks):
            states[index + 1] = tick(states[index], deviations, params)
    return states


def scale_of(state: Vector, params: HomeostaticParams) -> Vector:
    """Threshold scale of a state, elementwise: bounded in s_base·(1 ± α), monotone, positive."""
    return params.scale_base * (1 + params.alpha * np.tanh(params.kappa * state))


def smooth_scale(ema_scale: Vector, factor: Vector, params: HomeostaticParams) -> Vector:
    """One step of s̄, [L], with the mean of the factors g·s written in an optimisation step."""
    return (1 - params.ema_momentum) * ema_scale + params.ema_momentum * factor


def saturated_fraction(state: Vector, params: HomeostaticParams) -> float:
    """Fraction of units whose scale has used at least 95 % of its range, |tanh(κ·c)| ≥ 0.95."""
    return float(np.mean(np.abs(np.tanh(params.kappa * state)) >= 0.95))
