"""AHSAR on a running network: hooks that write thresholds before a forward and sense rates during
it.

The equations are in `dynamics`; this class only holds their state and knows when a tick, a step and
an epoch end.

    ahsar = Ahsar(net)                    # multi-step; single-step mode: Ahsar(net, timesteps=T)
    for epoch in range(epochs):
        net.train()
        ...                               # the training loop as it was
        net.eval()                        # evaluation forwards run with base × EMA scale
        ahsar.epoch_end(validation_loss)  # the slow global gain
    ahsar.detach()
"""

import functools
import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.errors import AhsarWarning, HomeostasisError
from ahsar_eval.homeostasis import dynamics
from ahsar_eval.homeostasis.dynamics import (
    SENSING,
    Homeostasis,
    HomeostaticParams,
    Vector,
    check_stable,
    closed_loop_limit,
)
from ahsar_eval.homeostasis.thresholds import (
    check_scalable,
    counted_spikes,
    group_units,
    named_neurons,
    read_thresholds,
    set_threshold,
    spike_count,
    surrogate_rate,
)

# χ = −∂log r/∂log θ of a strongly responding network: the warning's yardstick.
_STRONG_RESPONSE = 6.0
_regulated: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


class HomeostasisWarning(AhsarWarning):
    """Parameters that work but come close to the limit of the closed loop."""


class Ahsar:
    """Adaptive Homeostatic Spiking Activity Regulation, attached to a SpikingJelly module (paper
    section 4).

    module: the network, or in single-step mode the part of it that is called once per time step.
    timesteps: T; required in single-step mode, where T training-mode calls are one optimisation
        step; unused in multi-step mode, where one call is one step.
    params: `HomeostaticParams`; parameters that make the explicit step diverge are refused.
    units: unit name → spiking layer names, ordered by depth; default: every spiking layer is a
        unit.
    select: regulate these layers only.
    sensing: 'spikes' (exact counts) or 'surrogate' (sigmoid at the mean input current).

    In training mode each forward writes base × gain × scale and senses; in evaluation mode each
    forward runs with base × EMA scale and nothing of the controller moves. It holds no parameters,
    adds nothing to `parameters()` or `state_dict()`, and works outside autograd. Under
    torch.distributed the counts are summed over ranks before a rate is formed.

    Raises `HomeostasisError` for unstable parameters, unknown layers, thresholds that are not
    floats, or a network already regulated.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        timesteps: int | None = None,
        params: HomeostaticParams | None = None,
        units: Mapping[str, Sequence[str]] | None = None,
        select: Sequence[str] | None = None,
        sensing: str = "spikes",
    ) -> None:
        if sensing not in SENSING:
            raise HomeostasisError(f"sensing is {sensing!r}; expected one of {', '.join(SENSING)}")
        params = params or HomeostaticParams()
        grouped = group_units(module, units, select)
        neurons = named_neurons(module)
        self._neurons = {layer: neurons[layer] for layers in grouped.values() for layer in layers}
        self.layers = tuple(self._neurons)
        modes = {str(getattr(neuron, "step_mode", None)) for neuron in self._neurons.values()}
        if modes not in ({"s"}, {"m"}):
            raise HomeostasisError(
                f"the regulated layers have step modes {', '.join(sorted(modes))}; expected one of "
                "s or m for all (spikingjelly.activation_based.functional.set_step_mode sets it)"
            )
        (step_mode,) = modes
        if step_mode == "s" and (timesteps is None or timesteps < 1):
            raise HomeostasisError(
                f"timesteps is {timesteps}; in single-step mode the controller needs T, the number "
                "of calls that make one optimisation step"
            )
        ticks = len(grouped) if step_mode == "m" else int(timesteps or 0)
        check_stable(params, len(grouped))
        loop_gain = params.beta * _STRONG_RESPONSE * params.alpha * params.kappa
        limit = closed_loop_limit(params, ticks)
        if loop_gain > limit / 2:
            warnings.warn(
                f"beta = {params.beta} gives the closed loop a gain of {loop_gain:.3g} where "
                f"rates respond strongly (chi = {_STRONG_RESPONSE:g}), above half of the stability "
                f"limit {limit:.3g} for gamma = {params.gamma} and {ticks} ticks; lower "
                "beta",
                HomeostasisWarning,
                stacklevel=2,
            )
        for layer, neuron in self._neurons.items():
            if neuron in _regulated:
                raise HomeostasisError(
                    f"layer {layer!r} is regulated by another controller already; detach that one "
                    "first"
                )
        check_scalable(module, self.layers)
        thresholds = read_thresholds(module)
        self.state = Homeostasis(
            units=grouped,
            base_thresholds={layer: thresholds[layer] for layer in self.layers},
            params=params,
            state=np.full(len(grouped), params.baseline_state),
            step_mode=step_mode,
            ticks=ticks,
            sensing=sensing,
            smoothed_rate=None,
            ema_scale=np.ones(len(grouped)),
        )
        self._driving_rate: Vector | None = None  # r̃ that the ticks of this optimisation step use
        self._plan_step()

        _regulated.update(self._neurons.values())
        self._handles: list[RemovableHandle] = [
            module.register_forward_pre_hook(self._before_forward),
            # A partial of a bound method, not a closure: a deep copy of the network then takes its
            # own controller along.
            *(
                neuron.register_forward_hook(functools.partial(self._sense, layer))
                for layer, neuron in self._neurons.items()
            ),
            module.register_forward_hook(self._after_forward),
        ]

    # What is read from outside

    @property
    def scales(self) -> dict[str, float]:
        """Unit → scale s of the present state (gain not included)."""
        return self._by_unit(dynamics.scale_of(self.state.state, self.state.params))

    @property
    def gain(self) -> float:
        """The global gain g."""
        return self.state.gain.gain

    @property
    def rates(self) -> dict[str, float] | None:
        """Unit → smoothed rate r̃; None before the first optimisation step."""
        smoothed = self.state.smoothed_rate
        return None if smoothed is None else self._by_unit(smoothed)

    def _by_unit(self, values: Vector) -> dict[str, float]:
        return dict(zip(self.state.units, values.tolist(), strict=True))

    @property
    def saturated_fraction(self) -> float:
        """Fraction of units whose scale has used at least 95 % of its range."""
        return dynamics.saturated_fraction(self.state.state, self.state.params)

    @property
    def last_tick(self) -> dict[str, float]:
        """Root mean squares over units of the last tick's reaction, relaxation and diffusion; 0
        before the first one.
        """
        moved = [0.0, 0.0, 0.0]
        if self._driving_rate is not None:
            deviations = dynamics.deviation(self._driving_rate, self.state.params)
            terms = dynamics.tick_terms(self._states[-2], deviations, self.state.params)
            moved = [float(np.sqrt(np.mean(term**2))) for term in terms]
        return dict(zip(("reaction", "relaxation", "diffusion"), moved, strict=True))

    def snapshot(self) -> Homeostasis:
        """The controller's whole content as a frozen value: what a checkpoint carries."""
        return self.state

    def state_dict(self) -> dict[str, Any]:
        """`snapshot` as plain lists and numbers, to be saved beside the weights."""
        return self.snapshot().to_dict()

    # What moves it

    def epoch_end(self, validation_loss: float) -> None:
        """Update the global gain (paper 4.3) with the loss on the hold-out. Raises
        `HomeostasisError` for a loss that is not finite.
        """
        self._check_between_steps("epoch_end was called")
        self.state = self.state.after_epoch(float(validation_loss))

    def resume(self, homeostasis: Homeostasis) -> None:
        """Take over state, parameters and base thresholds of a snapshot. Raises `HomeostasisError`
        when it is of another network.
        """
        given, own = homeostasis, self.state
        if (given.units, given.step_mode, given.ticks) != (own.units, own.step_mode, own.ticks):
            raise HomeostasisError(
                f"the snapshot regulates {len(given.units)} units in step mode {given.step_mode} "
                f"with {given.ticks} ticks; this network has {len(own.units)} in step mode "
                f"{own.step_mode} with {own.ticks}, or other layers; resume the same network"
            )
        check_stable(given.params, len(given.units))
        self.abandon_step()
        self.state, self._driving_rate = given, None

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`. Raises `HomeostasisError`."""
        self.resume(Homeostasis.from_dict(values))

    def abandon_step(self) -> None:
        """Forget an optimisation step that was broken off part-way (an exception between time
        steps).
        """
        self._calls = 0  # forwards so far in this optimisation step
        self._sensing_now = False
        # Layer → sums over its calls: of its spikes and of the numbers of its outputs, or x̄ so far
        # and the sum of its thresholds.
        self._sensed: dict[str, tuple[Tensor, float]] = {}

    def detach(self) -> None:
        """Remove every hook and restore the base thresholds: the module is as it was before.

        What runs after that runs without the replay; `write_thresholds` with
        `snapshot().replayed_scales()` writes it for good.
        """
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._neurons:
            self._write(np.ones(len(self.state.units)))
        _regulated.difference_update(self._neurons.values())
        self._neurons = {}

    def __enter__(self) -> "Ahsar":
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    # The hooks

    def _before_forward(self, module: nn.Module, inputs: Any) -> None:
        if not module.training:
            self._check_between_steps("the network was switched to evaluation")
            self._write(self.state.ema_scale)
            return
        if self._calls == 0:
            self._plan_step()
        self._write(self._factors[self._calls])
        self._sensing_now = True

    def _after_forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._sensing_now:
            return
        self._sensing_now = False
        self._calls += 1
        if self._calls == len(self._factors):
            try:
                rates = self._sensed_rates()
            finally:  # a step that cannot be sensed must not leave the next one half-way
                self.abandon_step()
            written = self._factors.mean(axis=0)
            self.state = self.state.after_step(rates, self._states[-1], written)

    def _sense(
        self, layer: str, neuron: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if not self._sensing_now:
            return
        if self.state.sensing == "spikes":
            sensed, weight = spike_count(counted_spikes(neuron, output)), float(output.numel())
        else:
            current, multi_step = inputs[0].detach(), self.state.step_mode == "m"
            sensed = current.mean(0) if multi_step else current / self.state.ticks
            weight = float(neuron.v_threshold)  # type: ignore[arg-type]
        before = self._sensed.get(layer, (0.0, 0.0))
        self._sensed[layer] = before[0] + sensed, before[1] + weight

    # What the hooks do

    def _plan_step(self) -> None:
        """Lay out the states and factors of the coming optimisation step; nothing sensed during it
        changes them.

        In single-step mode row τ of `_factors` is written before time step τ. In multi-step mode
        unit κ is written once, from the state after κ − 1 ticks; since nothing else reads a unit's
        threshold before it runs, writing all units first is the same.
        """
        self.abandon_step()
        held = self.state
        self._driving_rate = held.smoothed_rate
        self._states = dynamics.trajectory(held.state, held.smoothed_rate, held.params, held.ticks)
        scales = self.gain * dynamics.scale_of(self._states[:-1], held.params)
        self._factors = np.diagonal(scales)[None] if held.step_mode == "m" else scales

    def _write(self, factors: Vector) -> None:
        for layers, factor in zip(self.state.units.values(), factors.tolist(), strict=True):
            for layer in layers:
                set_threshold(self._neurons[layer], self.state.base_thresholds[layer] * factor)

    def _sensed_rates(self) -> Vector:
        sums, sizes = [], []
        for layer, neuron in self._neurons.items():
            if layer not in self._sensed:
                raise HomeostasisError(
                    f"layer {layer!r} did not run in this forward; select only layers that run "
                    "(select=…)"
                )
            total, weight = self._sensed[layer]
            if self.state.sensing == "surrogate":
                rate = surrogate_rate(total, weight / len(self._factors), neuron)
                # A mean over this rank's samples weighs by their number.
                total, weight = rate * total.numel(), total.numel()
            sums.append(total)
            sizes.append(weight)
        totals = [*torch.stack(sums).tolist(), *sizes]  # the one transfer to the host
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            shared = torch.tensor(totals, dtype=torch.float64, device=sums[0].device)
            torch.distributed.all_reduce(shared)
            totals = shared.tolist()
        count, size = np.split(np.asarray(totals), 2)
        rates = dict(zip(self.layers, count / size, strict=True))
        units = self.state.units.values()
        return np.array([np.mean([rates[layer] for layer in layers]) for layers in units])

    def _check_between_steps(self, what: str) -> None:
        if self._calls:
            raise HomeostasisError(
                f"{what} after {self._calls} of {self.state.ticks} time steps of an optimisation "
                "step; give the controller the timesteps your loop runs"
            )
