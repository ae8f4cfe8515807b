"""Homeostasis at test time in a script of the user's own: the passes that measure set points, and
the regulator that an `Ahsar` has while its network is adapted.

Passes run in evaluation mode and without gradients. State is reset before and after every batch, by
the `reset` of every module that has one, as SpikingJelly's `reset_net` does.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError, misread
from ahsar_eval.homeostasis.regulation import Regulation, RegulationParams, SetPoint, SetPoints
from ahsar_eval.homeostasis.regulator import (
    Channels,
    Regulator,
    channel_axis,
    emitted,
    features_of,
    rates_of,
    samples_in,
    set_points_from,
)

Forward = Callable[[Any], Any]
Batches = Iterable[Any]
Rates = Mapping[str, Any]


@dataclass(frozen=True)
class Adapted:
    """What `Ahsar.adapt` did: `steps` of the regulator in all, on `samples` in each of them.

    effort: root mean square of the thresholds' logarithmic factors. at_bound: fraction of them that
    have reached the bound. rates_before, rates_after: layer → spikes per neuron and step on these
    samples, before and after the call.
    """

    mode: str
    samples: int
    steps: int
    effort: float
    at_bound: float
    rates_before: dict[str, float]
    rates_after: dict[str, float]


@dataclass(frozen=True)
class Passes:
    """Passes of a user's `module` over their batches. `forward` runs one; without it the module is
    called with it. Of a batch that is a tuple or list the first part is the input. `timesteps` is
    what a pass has to hold of every layer of `neurons`, where the user said so.
    """

    module: nn.Module
    neurons: Mapping[str, nn.Module]
    forward: Forward | None = None
    timesteps: int | None = None

    def over(self, batches: Batches) -> Generator[None]:
        """Run batch after batch. Raises `HomeostasisError` where there is none."""
        seen = False
        with _evaluating(self.module):
            for batch in batches:
                self._run(batch)
                seen = True
                yield
        if not seen:
            raise HomeostasisError(
                "there was no batch to run; expected an iterable of batches (a list or a "
                "DataLoader, no generator that has ended)"
            )

    def _run(self, batch: Any) -> None:
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        weight = next(self.module.parameters(), None)
        if isinstance(x, Tensor) and self.forward is None and weight is not None:
            x = x.to(weight.device)
        _reset(self.module)
        (self.forward or self.module)(x)
        _reset(self.module)

    def channels(self, batches: Batches) -> dict[str, Channels]:
        """Layer → where its channels lie, seen in a pass over the first of `batches`. Raises
        `HomeostasisError` for a layer that does not run, or not `timesteps` long.
        """
        found: dict[str, Channels] = {}
        steps: Counter[str] = Counter()
        behind: list[nn.Module] = []  # the layer with features that ran last

        def featured(module: nn.Module, inputs: Any, out: Any) -> None:
            behind[:] = [module]

        def look(name: str, neuron: nn.Module, inputs: Any, out: Any) -> None:
            spikes = emitted(out)
            multi = neuron.step_mode == "m"
            steps[name] += len(spikes) if multi else 1
            shape = tuple(spikes.shape[2 if multi else 1 :])
            if not shape:
                raise HomeostasisError(
                    f"layer {name!r} gives tensors of shape {tuple(spikes.shape)}, without an axis "
                    "of neurons; expected [T, N, C, …] or, step by step, [N, C, …]"
                )
            found.setdefault(name, Channels(shape, channel_axis(shape, next(iter(behind), None))))

        handles = [
            *(
                one.register_forward_hook(featured)
                for one in self.module.modules()
                if features_of(one) is not None
            ),
            *(one.register_forward_hook(partial(look, n)) for n, one in self.neurons.items()),
        ]
        try:
            with closing(self.over(batches)) as passed:
                next(passed)
        finally:
            for handle in handles:
                handle.remove()
        for name in self.neurons:
            if name not in found:
                raise HomeostasisError(
                    f"layer {name!r} did not run in this pass; select only layers that run "
                    "(select=…)"
                )
            if self.timesteps is not None and steps[name] != self.timesteps:
                raise HomeostasisError(
                    f"a pass ran {steps[name]} time steps of layer {name!r}, and the controller "
                    f"was told timesteps={self.timesteps}; give forward=…, a function of a batch "
                    "that calls the network in every time step"
                )
        return found

    def counts(self, regulator: Regulator, batches: Batches) -> list[dict[str, Any]]:
        """Spikes of every channel and sample of each batch, while `regulator` counts."""
        regulator.senses = True
        try:
            return [regulator.taken() for _ in self.over(batches)]
        finally:
            regulator.senses = False
            regulator.taken()


def kept(loader: Batches) -> Batches:
    """Batches that can be run over several times: a `loader`, or the content of a generator."""
    return list(loader) if iter(loader) is loader else loader


def measured(passes: Passes, batches: Batches) -> SetPoints:
    """Set points of the layers on these batches, at the thresholds that evaluation runs with."""
    layers = passes.channels(batches)
    with Regulator(passes.module, layers, "none") as regulator:
        counts = passes.counts(regulator, batches)
    data = {"name": "a loader", "role": "", "n": samples_in(counts), "identity": "", "origin": ""}
    return SetPoints(set_points_from(counts, layers), data)


def fitting(points: SetPoints, neurons: Mapping[str, nn.Module]) -> SetPoints:
    """Those of `points` that are of the regulated layers. Raises `HomeostasisError` where one is
    missing.
    """
    for name in neurons:
        if name not in points.layers:
            raise HomeostasisError(
                f"there is no set point of layer {name!r}, which is regulated; measure them on "
                "this network (Ahsar.measure), or select the layers that have one (select=…)"
            )
    return replace(points, layers={name: points.layers[name] for name in neurons})


class Adapting:
    """A regulator on a network that its user calls, with its state and set points."""

    def __init__(
        self,
        module: nn.Module,
        mode: str,
        points: SetPoints,
        write: Callable[[str, float], None],
    ) -> None:
        self.mode, self.points = mode, points
        self.regulation = Regulation.at_rest(mode, points)
        layers = {name: _channels(one) for name, one in points.layers.items()}
        self._regulator = Regulator(module, layers, mode, write=write)

    def adapt(
        self, passes: Passes, batches: Batches, points: SetPoints, params: RegulationParams
    ) -> Adapted:
        """Go on from where it stands towards `points`, `params.repeats` steps on the samples of
        `batches`. Raises `HomeostasisError` where a layer has other neurons than its set point.
        """
        for name, one in passes.channels(batches).items():
            known = points.layers[name]
            if one != _channels(known):
                raise HomeostasisError(
                    f"layer {name!r} has neurons of shape {one.shape} (channels along axis "
                    f"{one.axis}), and its set point is of shape {known.shape} (axis "
                    f"{known.axis}); measure it on this network (Ahsar.measure)"
                )
        self.points = points
        counts = first = passes.counts(self._regulator, batches)
        samples = samples_in(counts)
        for _ in range(params.repeats):
            self.put(self.regulation.after(rates_of(counts), self.points, params, samples))
            counts = passes.counts(self._regulator, batches)
        return Adapted(
            self.mode,
            samples,
            self.regulation.steps,
            self.regulation.effort,
            self.regulation.at_bound(params),
            _of_layers(rates_of(first)),
            _of_layers(rates_of(counts)),
        )

    def put(self, regulation: Regulation) -> None:
        """Take a state over, and put its factors on the network."""
        self._regulator.write(regulation)
        self.regulation = regulation

    def state(self) -> dict[str, Any]:
        """State and set points, JSON-ready."""
        return {**self.regulation.to_dict(), "set_points": self.points.to_dict()}

    def detach(self) -> None:
        """Take the regulator off the network."""
        self._regulator.detach()


def read_state(values: Mapping[str, Any]) -> tuple[Regulation, SetPoints]:
    """Inverse of `Adapting.state`. Raises `HomeostasisError`."""
    regulation = Regulation.from_dict(values)
    with misread(HomeostasisError, "this is no state of an adaptation", "adapt again"):
        points = SetPoints.from_dict(values["set_points"])
    return regulation, points


def _channels(point: SetPoint) -> Channels:
    return Channels(point.shape, point.axis)


def _of_layers(rates: Rates) -> dict[str, float]:
    return {name: float(np.mean(one)) for name, one in rates.items()}


def _reset(module: nn.Module) -> None:
    for part in module.modules():
        if callable(reset := getattr(part, "reset", None)):
            reset()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation mode and without gradients; each part's mode is put back."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
