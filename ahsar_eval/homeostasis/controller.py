"""AHSAR on a running network: hooks that write thresholds before a forward and sense rates during
it.

The equations are in `dynamics`; this class only holds their state and knows when a tick, a step and
an epoch end; what makes a step is found in the first call (`steps`).

    ahsar = Ahsar(net)                    # T calls a step: Ahsar(net, timesteps=T)
    for epoch in range(epochs):
        net.train()
        ...                               # the training loop as it was
        net.eval()                        # evaluation forwards run with base × EMA scale
        ahsar.epoch_end(validation_loss)  # the slow global gain
    points = ahsar.measure(hold_out)      # rates on data that the network knows
    ahsar.adapt(shifted, points)          # thresholds by which rates return, without labels
    ahsar.detach()
"""

import functools
import warnings
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.errors import AhsarWarning, HomeostasisError
from ahsar_eval.homeostasis import dynamics
from ahsar_eval.homeostasis.adapting import (
    Adapted,
    Adapting,
    Batches,
    Forward,
    Passes,
    fitting,
    kept,
    measured,
    read_state,
)
from ahsar_eval.homeostasis.dynamics import (
    SENSING,
    Homeostasis,
    HomeostaticParams,
    Vector,
    check_stable,
    closed_loop_limit,
)
from ahsar_eval.homeostasis.regulation import CHANNEL, LAYER, RegulationParams, SetPoints
from ahsar_eval.homeostasis.steps import Form, Run, form_of
from ahsar_eval.homeostasis.thresholds import (
    check_fits,
    check_scalable,
    counted_spikes,
    group_units,
    named_neurons,
    plain,
    restore_threshold,
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

    module: the network, or the part of it that is called in every step; a call is a call of it.
    timesteps: T; required where the time steps are separate calls, T of which are one optimisation
        step. A call that holds all of them (multi-step mode, a loop over time in `forward`,
        containers) is one optimisation step; then a T that is given must be what runs.
    params: `HomeostaticParams`; parameters that make the explicit step diverge are refused.
    units: unit name → spiking layer names, ordered by depth; default: every spiking layer is a
        unit.
    select: regulate these layers only.
    sensing: 'spikes' (exact counts) or 'surrogate' (sigmoid at the mean input current).

    In training mode each forward writes base × gain × scale and senses; in evaluation mode each
    forward runs with base × EMA scale and nothing of the controller moves. It holds no parameters,
    adds nothing to `parameters()` or `state_dict()`, and works outside autograd. Under
    torch.distributed the counts are summed over ranks before a rate is formed. Forwards that
    autograd repeats (activation checkpointing) are not counted; where thresholds change from time
    step to time step they are refused.

    `adapt` brings the rates of a trained network back on data that have moved them (docs/method.md,
    "Set points at test time"): in evaluation mode, on top of base × EMA scale. A forward in
    training mode is refused until `end_adaptation`.

    Raises `HomeostasisError` for unstable parameters, unknown layers, thresholds that are learned
    or not positive, or a network already regulated; and in a forward that ran otherwise than
    `timesteps` or the forwards before say.
    """

    state: Homeostasis
    _adapting: Adapting | None

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
        self._module, self._adapting = module, None
        grouped = group_units(module, units, select)
        neurons = named_neurons(module)
        self._neurons = {layer: neurons[layer] for layers in grouped.values() for layer in layers}
        self.layers = tuple(self._neurons)
        modes = {str(getattr(neuron, "step_mode", None)) for neuron in self._neurons.values()}
        if not modes <= {"s", "m"}:
            raise HomeostasisError(
                f"the regulated layers have step modes {', '.join(sorted(modes))}; expected s or m "
                "(spikingjelly.activation_based.functional.set_step_mode sets it)"
            )
        if timesteps is not None and timesteps < 1:
            raise HomeostasisError(
                f"timesteps is {timesteps}; expected T, the number of time steps that make one "
                "optimisation step"
            )
        self._timesteps, self._warned = timesteps, False
        # Until the first call has shown it; before the second step nothing depends on it.
        step_mode, ticks = "m", len(grouped)
        if timesteps is not None and "s" in modes:
            step_mode, ticks = "s", timesteps
        self._form: Form | None = None
        check_stable(params, len(grouped))
        _warn_near_limit(params, ticks)
        for layer, neuron in self._neurons.items():
            if neuron in _regulated:
                raise HomeostasisError(
                    f"layer {layer!r} is regulated by another controller already; detach that one "
                    "first"
                )
        check_scalable(module, self.layers)
        thresholds = {name: plain(one.v_threshold) for name, one in self._neurons.items()}
        for layer, threshold in thresholds.items():
            lowest, highest = np.min(threshold), np.max(threshold)
            if not 0 < lowest <= highest < np.inf:
                raise HomeostasisError(
                    f"layer {layer!r} has a threshold of {lowest if lowest <= 0 else highest}; "
                    "expected finite positive ones; select other layers (select=…)"
                )
        self._own = {name: one.v_threshold for name, one in self._neurons.items()}
        state = Homeostasis(
            units=grouped,
            base_thresholds=thresholds,
            params=params,
            state=np.full(len(grouped), params.baseline_state),
            step_mode=step_mode,
            ticks=ticks,
            sensing=sensing,
            smoothed_rate=None,
            ema_scale=np.ones(len(grouped)),
        )
        self._driving_rate: Vector | None  # r̃ that the ticks of this optimisation step use
        # Layer → its runs in the last step, and in the backward pass since.
        self._ran: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()
        self._moved: dict[str, float] = {}  # layer → factor on its threshold at test time
        self._take(state)

        _regulated.update(self._neurons.values())
        self._handles: list[RemovableHandle] = [
            module.register_forward_pre_hook(self._before_forward),
            # A partial of a bound method, not a closure: a deep copy of the network then takes its
            # own controller along.
            *(
                register(functools.partial(hook, layer))
                for layer, neuron in self._neurons.items()
                for register, hook in (
                    (neuron.register_forward_pre_hook, self._before_layer),
                    (neuron.register_forward_hook, self._sense),
                )
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
        single = any(neuron.step_mode == "s" for neuron in self._neurons.values())
        unseen = self._form is None and single
        ticks = len(own.units) if given.step_mode == "m" else self._timesteps or given.ticks
        same = given.ticks == ticks if unseen else _structure(given) == _structure(own)
        if given.units != own.units or not same:
            raise HomeostasisError(
                f"the snapshot regulates {len(given.units)} units in step mode {given.step_mode} "
                f"with {given.ticks} ticks; this network has {len(own.units)} in step mode "
                f"{own.step_mode} with {own.ticks}, or other layers; resume the same network"
            )
        for layer, base in given.base_thresholds.items():
            check_fits(layer, self._neurons[layer], base)
        check_stable(given.params, len(given.units))
        self._take(given)

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`. Raises `HomeostasisError`."""
        self.resume(Homeostasis.from_dict(values))

    # Homeostasis at test time

    def measure(self, loader: Batches, *, forward: Forward | None = None) -> SetPoints:
        """Set points: the rates of every regulated layer and channel on a hold-out of the training
        set, at base × EMA scale.

        loader: batches, each an input or a tuple or list whose first part is one.
        forward: runs a batch, where calling the network with it does not: in time steps, say.

        State is reset before and after every batch, gradients are off, each part's mode is put
        back. Raises `HomeostasisError` within an optimisation step, and while adapted.
        """
        if self._adapting is not None:
            raise HomeostasisError(
                "the network is adapted, and set points are the rates that it has otherwise; call "
                "end_adaptation first"
            )
        return measured(self._passes(forward, "measure"), kept(loader))

    def adapt(
        self,
        loader: Batches,
        set_points: SetPoints | str | Path | None = None,
        mode: str = CHANNEL,
        *,
        params: RegulationParams | None = None,
        forward: Forward | None = None,
    ) -> Adapted:
        """Move thresholds towards those at which the unlabelled samples of `loader` give the rates
        `set_points`.

        set_points: what `measure` or `ahsar_eval.calibrate` gave, or their file; None for those
            that it is adapted with.
        mode: 'channel' (the current of each channel is divided) or 'layer' (one threshold each).
        params: steps and their bounds; `loader` and `forward` are as for `measure`.

        Called again, it goes on from where it stands. The network stays so, in evaluation mode,
        until `end_adaptation` or `detach`. Raises `HomeostasisError` for set points of another
        network, a layer that the mode does not cover, and another mode than it is adapted by.
        """
        passes, now = self._passes(forward, "adapt"), self._adapting
        if mode not in (LAYER, CHANNEL):
            raise HomeostasisError(f"mode is {mode!r}; expected {CHANNEL} or {LAYER}")
        if now is not None and now.mode != mode:
            raise HomeostasisError(
                f"the network is adapted by {now.mode}, and {mode} was asked for; call "
                "end_adaptation first"
            )
        if isinstance(set_points, (str, Path)):
            set_points = SetPoints.load(set_points)
        points = now.points if now is not None and set_points is None else set_points
        if points is None:
            raise HomeostasisError("no set points were given; Ahsar.measure makes them")
        points = fitting(points, self._neurons)
        begun = self._begun(mode, points)
        try:
            return begun.adapt(passes, kept(loader), points, params or RegulationParams())
        except BaseException:
            if now is None:
                self.end_adaptation()
            raise

    def adaptation_state(self) -> dict[str, Any] | None:
        """What `adapt` has found, with its set points, as plain lists and numbers; None where the
        network is not adapted. `state_dict` is the training's and does not hold it.
        """
        return None if self._adapting is None else self._adapting.state()

    def load_adaptation_state(self, values: Mapping[str, Any]) -> None:
        """Adapt the network as an `adaptation_state` says. Raises `HomeostasisError`."""
        self._check_between_steps("load_adaptation_state was called")
        regulation, points = read_state(values)
        self.end_adaptation()
        try:
            self._begun(regulation.mode, fitting(points, self._neurons)).put(regulation)
        except BaseException:
            self.end_adaptation()
            raise
        self._write(self.state.ema_scale)

    def end_adaptation(self) -> None:
        """Take the adaptation off: evaluation runs with base × EMA scale, training can go on."""
        if self._adapting is not None:
            self._adapting.detach()
            self._adapting, self._moved = None, {}
            self._write(self.state.ema_scale)

    def _passes(self, forward: Forward | None, called: str) -> Passes:
        self._check_between_steps(f"{called} was called")
        return Passes(self._module, self._neurons, forward, self._timesteps)

    def _begun(self, mode: str, points: SetPoints) -> Adapting:
        """The adaptation that goes on, or a new one with these set points."""
        if self._adapting is None:
            self._adapting = Adapting(self._module, mode, points, self._move)
        return self._adapting

    def _move(self, layer: str, factor: float) -> None:
        self._moved[layer] = factor

    def abandon_step(self) -> None:
        """Forget an optimisation step that was broken off part-way (an exception between time
        steps).
        """
        self._calls = 0  # forwards so far in this optimisation step
        self._sensing_now = False
        # Layer → sums over its runs: of its spikes and of the numbers of its outputs, or of its
        # currents and its thresholds.
        self._sensed: dict[str, tuple[Tensor, Any]] = {}
        self._runs: list[Run] = []  # of the present call, and of the optimisation step
        self._counts: Counter[str] = Counter()
        self._holding: nn.Module | None = None  # the last layer that ran, where it has a potential

    def detach(self) -> None:
        """Remove every hook and restore the base thresholds: the module is as it was before.

        What runs after that runs without the replay; `write_thresholds` with
        `snapshot().replayed_scales()` writes it for good.
        """
        self.end_adaptation()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for layer, neuron in self._neurons.items():
            restore_threshold(neuron, self.state.base_thresholds[layer], self._own[layer])
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
        if _in_backward():
            return
        if self._adapting is not None:
            raise HomeostasisError(
                "the network is adapted and was called in training mode; call its eval() to run "
                "it, or end_adaptation of the controller to train on"
            )
        if self._calls == 0:
            self._begin_step()
        elif self._holding is not None and not isinstance(self._holding.v, Tensor):
            self._check_between_steps("the network was reset")
        self._write(self._factors[self._calls])
        self._sensing_now, self._runs = True, []

    def _before_layer(self, layer: str, neuron: nn.Module, inputs: Any) -> None:
        if not self._sensing_now:
            if neuron.training and _in_backward():
                self._check_repeated(layer)
            return
        if not self._counts and self.state.steps and not self._warned:
            self._warn_of_state(neuron)
        # In a loop over time inside the call, where the first time step is written with the call.
        before = self._counts[layer]
        inside = self._form is None or self._form.inside
        if before and inside and self.state.step_mode == "s":
            factors = self._factors[min(before, self.state.ticks - 1)]
            set_threshold(neuron, self._bases[layer], float(factors[self._unit_of[layer]]))

    def _after_forward(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._sensing_now:
            return
        self._sensing_now = False
        self._calls += 1
        try:
            self._check_form()
            inside = self._form is not None and self._form.inside
            if self._calls == len(self._factors) or inside:
                self._end_step()
        except BaseException:  # a step that cannot be sensed must not leave the next one half-way
            self.abandon_step()
            raise

    def _sense(
        self, layer: str, neuron: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if not self._sensing_now:
            return
        weight: Any
        multi_step = neuron.step_mode == "m"
        run = Run(layer, len(output) if multi_step else 1, multi_step)
        self._runs.append(run)
        self._counts[layer] += 1
        self._holding = neuron if isinstance(getattr(neuron, "v", None), Tensor) else None
        if self.state.sensing == "spikes":
            sensed, weight = spike_count(counted_spikes(neuron, output)), float(output.numel())
        else:
            current: Tensor = inputs[0].detach()
            sensed = current.mean(0) if multi_step else current / self._share(layer)
            weight = neuron.v_threshold
        before = self._sensed.get(layer, (0.0, 0.0))
        self._sensed[layer] = before[0] + sensed, before[1] + weight

    # What the hooks do

    def _take(self, state: Homeostasis) -> None:
        """Go on from a state."""
        self.state = state
        self._unit_of = {layer: i for i, one in enumerate(state.units.values()) for layer in one}
        self._bases = {
            layer: torch.tensor(base, dtype=torch.float64) if isinstance(base, list) else base
            for layer, base in state.base_thresholds.items()
        }
        self._begin_step()
        self._driving_rate = None

    def _begin_step(self) -> None:
        """Lay out the states and factors of the coming optimisation step; nothing sensed during it
        changes them.

        In single-step mode row τ of `_factors` is written before time step τ. In multi-step mode
        unit κ is written once, from the state after κ − 1 ticks; since nothing else reads a unit's
        threshold before it runs, writing all units first is the same.
        """
        self.abandon_step()
        self._repeated.clear()
        self._driving_rate = self.state.smoothed_rate
        self._lay_out()

    def _lay_out(self) -> None:
        held = self.state
        self._states = dynamics.trajectory(held.state, held.smoothed_rate, held.params, held.ticks)
        scales = self.gain * dynamics.scale_of(self._states[:-1], held.params)
        self._factors = np.diagonal(scales)[None] if held.step_mode == "m" else scales

    def _end_step(self) -> None:
        rates, written = self._sensed_rates(), self._factors.mean(axis=0)
        self._ran = self._counts
        self.abandon_step()
        self.state = self.state.after_step(rates, self._states[-1], written)

    def _write(self, factors: Vector) -> None:
        for layers, factor in zip(self.state.units.values(), factors.tolist(), strict=True):
            for layer in layers:
                moved = factor * self._moved.get(layer, 1.0)
                set_threshold(self._neurons[layer], self._bases[layer], moved)

    def _check_form(self) -> None:
        """Hold the call that has just ended against `timesteps` and the calls before it; the first
        one shows what makes a step and a tick.
        """
        if not self._runs:
            return
        form, held = form_of(self._runs, self._timesteps), self.state
        ticks = len(held.units) if form.step_mode == "m" else int(form.timesteps or 0)
        same = (form.step_mode, ticks) == _structure(held)
        if self._form is None and held.smoothed_rate is None:
            if not same:
                _warn_near_limit(held.params, ticks)
                self.state = replace(held, step_mode=form.step_mode, ticks=ticks)
                self._lay_out()  # the same factors: the state has not moved yet
        elif not same or form != (self._form or form):
            before = self._form.told() if self._form is not None else "otherwise"
            raise HomeostasisError(
                f"this call of the network ran {form.told()}, and calls before it ran {before} "
                f"(step mode {held.step_mode}, {held.ticks} ticks); expected the same in every "
                "call, or the network of the snapshot"
            )
        self._form = form

    def _check_repeated(self, layer: str) -> None:
        """A run of a layer that the backward pass repeats must find the thresholds of the first."""
        self._repeated[layer] += 1
        if self._ran and self.state.step_mode == "s" and self.state.ticks > 1:
            raise HomeostasisError(
                f"layer {layer!r} runs again in the backward pass (activation checkpointing), "
                "where its threshold is no longer that of its time step; do without, or run all "
                "time steps at once (multi-step mode)"
            )
        if self._repeated[layer] > self._ran[layer] > 0:
            raise HomeostasisError(
                f"layer {layer!r} runs again in the backward pass (activation checkpointing) more "
                "often than in the last optimisation step; call backward after every forward, "
                "since the next one changes the thresholds"
            )

    def _warn_of_state(self, neuron: nn.Module) -> None:
        """Say once that a network goes on from the step before: too small a T would show so."""
        if isinstance(getattr(neuron, "v", None), Tensor):
            self._warned = True
            warnings.warn(
                "the network was not reset since the last optimisation step; where the time steps "
                "of a batch are separate calls, timesteps must be their number (it is "
                f"{self._timesteps})",
                AhsarWarning,
                stacklevel=2,
            )

    def _share(self, layer: str) -> int:
        """What the currents of a layer's runs are divided by as they come."""
        single = self._neurons[layer].step_mode == "s"
        return self._timesteps if single and self._timesteps is not None else 1

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
                runs = self._counts[layer]
                mean = total / (runs / self._share(layer))
                rate = surrogate_rate(mean, weight / runs, neuron)
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


def controllers_of(module: nn.Module) -> list[Ahsar]:
    """The controllers that regulate a module or parts of it."""
    found: dict[int, Ahsar] = {}
    for part in module.modules():
        for hook in part._forward_pre_hooks.values():
            method = getattr(hook, "func", hook)
            owner = getattr(method, "__self__", None)
            if isinstance(owner, Ahsar):
                found[id(owner)] = owner
    return list(found.values())


def replayed_by_controllers(module: nn.Module) -> dict[str, float]:
    """Layer, by its name in `module`, → the EMA scale that its controller replays. Raises
    `HomeostasisError` while that is adapted: a copy would run without.
    """
    for ahsar in controllers_of(module):
        if ahsar.adaptation_state() is not None:
            raise HomeostasisError(
                "the network is adapted (Ahsar.adapt), which an evaluation of it does not take "
                "along; call end_adaptation, and evaluate with adapt=… and set_points=…"
            )
    names = {neuron: name for name, neuron in named_neurons(module).items()}
    return {
        names[ahsar._neurons[layer]]: scale
        for ahsar in controllers_of(module)
        for layer, scale in ahsar.snapshot().replayed_scales().items()
        if ahsar._neurons[layer] in names
    }


def _structure(state: Homeostasis) -> tuple[str, int]:
    return state.step_mode, state.ticks


def _in_backward() -> bool:
    """Whether autograd is at work: a forward is then one that activation checkpointing repeats."""
    return bool(torch._C._current_graph_task_id() != -1)


def _warn_near_limit(params: HomeostaticParams, ticks: int) -> None:
    loop_gain = params.beta * _STRONG_RESPONSE * params.alpha * params.kappa
    limit = closed_loop_limit(params, ticks)
    if loop_gain > limit / 2:
        warnings.warn(
            f"beta = {params.beta} gives the closed loop a gain of {loop_gain:.3g} where "
            f"rates respond strongly (chi = {_STRONG_RESPONSE:g}), above half of the stability "
            f"limit {limit:.3g} for gamma = {params.gamma} and {ticks} ticks; lower "
            "beta",
            HomeostasisWarning,
            stacklevel=3,
        )
