"""What the controller remembers, and the form in which a checkpoint carries it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis import dynamics
from ahsar_eval.homeostasis.dynamics import Vector
from ahsar_eval.homeostasis.gain import GainState, update_gain
from ahsar_eval.homeostasis.params import HomeostaticParams
from ahsar_eval.homeostasis.sensing import SENSING


@dataclass(frozen=True)
class HomeostaticState:
    """Everything that moves: c, r̃, s̄ [L] float64, the gain, and the sums from which the epoch's
    energy is formed.
    """

    state: Vector  # c
    smoothed_rate: Vector | None  # r̃, None before the first optimisation step
    ema_scale: Vector  # s̄, gain included
    gain: GainState = field(default_factory=GainState)
    steps: int = 0  # optimisation steps so far
    energy_sum: float = 0.0  # sum over the epoch's steps of mean(r̃)
    energy_steps: int = 0

    @classmethod
    def initial(cls, units: int, params: HomeostaticParams) -> "HomeostaticState":
        """c = c₀, s̄ = 1, g = 1."""
        return cls(
            state=np.full(units, params.baseline_state),
            smoothed_rate=None,
            ema_scale=np.ones(units),
        )

    def after_step(
        self, rate: Vector, state: Vector, factor: Vector, params: HomeostaticParams
    ) -> "HomeostaticState":
        """End an optimisation step: sensed `rate`, `state` after its last tick, mean `factor`
        written during it; all [L].
        """
        smoothed = dynamics.smooth_rate(self.smoothed_rate, rate, params)
        return replace(
            self,
            state=state,
            smoothed_rate=smoothed,
            ema_scale=dynamics.smooth_scale(self.ema_scale, factor, params),
            steps=self.steps + 1,
            energy_sum=self.energy_sum + float(smoothed.mean()),
            energy_steps=self.energy_steps + 1,
        )

    def after_epoch(self, validation_loss: float, params: HomeostaticParams) -> "HomeostaticState":
        """End an epoch: update the gain and start a new energy sum. Raises `HomeostasisError` after
        an epoch without a step.
        """
        if self.energy_steps == 0:
            raise HomeostasisError(
                "the epoch had no optimisation step; train at least one batch before epoch_end"
            )
        gain = update_gain(self.gain, validation_loss, self.energy_sum / self.energy_steps, params)
        return replace(self, gain=gain, energy_sum=0.0, energy_steps=0)


@dataclass(frozen=True)
class Homeostasis:
    """The controller's whole content: unit → layer names, base thresholds, parameters, state. Plain
    data.
    """

    units: Mapping[str, tuple[str, ...]]
    base_thresholds: Mapping[str, float]  # layer → v_threshold before any scaling
    params: HomeostaticParams
    state: HomeostaticState
    step_mode: str
    ticks: int
    sensing: str = "spikes"

    def replayed_scales(self) -> dict[str, float]:
        """Layer → EMA scale s̄ of its unit: what evaluation multiplies the base threshold by."""
        return {
            layer: float(scale)
            for layers, scale in zip(self.units.values(), self.state.ema_scale, strict=True)
            for layer in layers
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings; float64 values survive exactly."""
        moving = vars(self.state).items()
        return {
            **vars(self),
            "units": {unit: list(layers) for unit, layers in self.units.items()},
            "base_thresholds": dict(self.base_thresholds),
            "params": self.params.to_dict(),
            **{name: x.tolist() if isinstance(x, np.ndarray) else x for name, x in moving},
            "scale": dynamics.scale_of(self.state.state, self.params).tolist(),
            "gain": asdict(self.state.gain),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Homeostasis":
        """Inverse of `to_dict`. Raises `HomeostasisError` when a part is missing, misshapen or not
        finite.
        """
        try:
            units = {str(unit): tuple(map(str, layers)) for unit, layers in values["units"].items()}
            stored, base = values["base_thresholds"], {}
            for layer in (layer for layers in units.values() for layer in layers):
                base[layer] = float(stored[layer])
            vectors = {
                name: np.asarray(values[name], dtype=np.float64)
                for name in ("state", "smoothed_rate", "ema_scale")
                if name != "smoothed_rate" or values[name] is not None
            }
            gain: dict[str, Any] = {
                name: None if value is None else float(value)
                for name, value in values["gain"].items()
            }
            state = HomeostaticState(
                vectors["state"],
                vectors.get("smoothed_rate"),
                vectors["ema_scale"],
                GainState(**gain),
                int(values["steps"]),
                float(values["energy_sum"]),
                int(values["energy_steps"]),
            )
            params = HomeostaticParams.from_dict(values["params"])
            step_mode, ticks = str(values["step_mode"]), int(values["ticks"])
            sensing = str(values["sensing"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise HomeostasisError(
                f"the stored controller is malformed ({type(error).__name__}: {error}); save it "
                "again"
            ) from error
        for name, vector in vectors.items():
            if vector.shape != (len(units),) or not np.isfinite(vector).all():
                raise HomeostasisError(
                    f"the stored controller's {name} has shape {vector.shape} or a value that is "
                    f"not finite; expected {len(units)} finite numbers, one per unit"
                )
        numbers = {f"base threshold of layer {layer!r}": value for layer, value in base.items()}
        for name, value in {**numbers, **gain, "energy_sum": state.energy_sum}.items():
            if value is not None and not math.isfinite(value):
                raise HomeostasisError(
                    f"the stored controller's {name} is {value}; expected a finite number"
                )
        if min([*base.values(), *state.ema_scale.tolist()], default=1.0) <= 0:
            raise HomeostasisError(
                "the stored controller has a base threshold or an EMA scale of 0 or less; expected "
                "positive numbers"
            )
        if sensing not in SENSING:
            raise HomeostasisError(
                f"the stored controller senses by {sensing!r}; expected one of {', '.join(SENSING)}"
            )
        return cls(units, base, params, state, step_mode, ticks, sensing)
