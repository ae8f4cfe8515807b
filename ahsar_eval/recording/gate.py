"""Section 3 of the paper measured: firing rate, mean surrogate gate and −∂r/∂θ of every spiking
layer, its input held (docs/method.md, 10).

    r = E[u ≥ θ]
    G = E[ψ′(u − θ)]
    −∂r/∂θ ≈ (r(θ(1 − h)) − r(θ(1 + h))) / (2hθ)
    p_u(θ) ≈ P(|u − θ| ≤ hθ) / (2hθ)

u is the membrane before reset, ψ′ the derivative of the layer's own surrogate. The finite
difference runs copies of the layer on the same input at two other thresholds: what they fire
changes what they keep, so it holds the reset's answer to θ, which p_u(θ) leaves out. Where each
channel has a θ of its own, the means are over neurons, each divided by its own 2hθ.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ahsar_eval.data import Split
from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import is_readout, threshold_of
from ahsar_eval.homeostasis.thresholds import copied_at
from ahsar_eval.networks import (
    SpikingNet,
    after,
    emits_whole_spikes,
    hooked,
    is_neuron,
    surrogate_derivative,
)
from ahsar_eval.process import freed_memory_kept, progress
from ahsar_eval.recording.execution import padded

STEP = 0.05
QUANTITIES = ("rate", "gate", "slope", "density")
# No membrane gets there, and 0 · 1e30 is 0: after a step the copy keeps u itself.
_UNREACHABLE = 1e30
# Share of spikes: kernels for one step and for several may round differently.
_MOST_OTHERWISE = 1e-3


@dataclass(frozen=True)
class LayerGate:
    """One spiking layer at its `threshold` θ, means over samples, steps and neurons.

    `rate` is r in spikes per neuron and step; `gate` G, `slope` −∂r/∂θ and `density` p_u(θ) are per
    unit of θ. Of thresholds by channel `threshold` is the mean.
    """

    name: str
    threshold: float
    rate: float
    gate: float
    slope: float
    density: float


@dataclass(frozen=True)
class NetworkGate:
    """Every spiking layer of one pass over `samples` samples; the network's numbers are unweighted
    means over its layers.

    `step` is h, the relative change of θ of the finite difference.
    """

    layers: tuple[LayerGate, ...]
    samples: int
    step: float

    def mean(self, quantity: str) -> float:
        """Mean over layers of one of `QUANTITIES`."""
        return sum(float(getattr(layer, quantity)) for layer in self.layers) / len(self.layers)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of every field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NetworkGate":
        """Inverse of `to_dict`. Raises `KeyError` or `TypeError` for anything else."""
        layers = tuple(LayerGate(**layer) for layer in values["layers"])
        numbers = [getattr(layer, name) for layer in layers for name in QUANTITIES]
        if not numbers or not all(isinstance(number, float) for number in numbers):
            raise TypeError("a gate has layers, and numbers of each")
        return cls(layers, values["samples"], values["step"])


@freed_memory_kept()
def measure_gate(
    net: SpikingNet, split: Split, *, batch_size: int = 64, device: str = "cpu", step: float = STEP
) -> NetworkGate:
    """Run `net` (thresholds as they are written) in evaluation mode over `split` and measure rate,
    gate and −∂r/∂θ of every layer.

    Sums alone are kept, whatever the number of samples. `step` is h. Raises `RecordingError` for a
    network without spiking layers, for neurons that fire several times in a step, have thresholds
    of their own each, or do not answer their input alone, and for a `step` outside (0, 1).
    """
    if not 0 < step < 1:
        raise RecordingError(
            f"the step of the finite difference is {step:g}; expected a number between 0 and 1, "
            f"such as {STEP}"
        )
    if len(split) == 0:
        raise RecordingError(f"{split.name} has no sample; nothing can be measured")
    with net.evaluating(device):
        probes = [_Probe(name, module, step) for name, module in check_gated(net).items()]
        hooks = (after(probe.neuron, probe.see) for probe in probes)
        batches, total = split.batches(batch_size), -(-len(split) // batch_size)
        with torch.no_grad(), hooked(hooks):
            for batch in progress(batches, f"gate on {split.name}", total=total):
                net.reset()
                x = batch.x.to(device, net.dtype)
                for probe in probes:
                    probe.begin(x.shape[1])
                net(padded(x))
    results = tuple(probe.result() for probe in probes if probe.sums["elements"])
    return NetworkGate(results, len(split), step)


class _Probe:
    """Copies of one layer: itself, at θ(1 − h) and θ(1 + h), and one that never fires and so keeps
    the membrane before reset.
    """

    def __init__(self, name: str, neuron: nn.Module, step: float) -> None:
        self.name, self.neuron, self.step = name, neuron, step
        own: Any = neuron.v_threshold
        self.threshold = own.detach() if isinstance(own, Tensor) else float(own)
        thresholds = (own, _UNREACHABLE, self.threshold * (1 - step), self.threshold * (1 + step))
        self.copies = [copied_at(neuron, threshold) for threshold in thresholds]
        self.itself, self.charge, self.lower, self.higher = self.copies
        self.single_step = getattr(neuron, "step_mode", "s") == "s"
        for part in (self.itself, self.charge):
            part.step_mode = "s"  # type: ignore[assignment]
        self.sums: Any = Counter()  # whole numbers, but for the gate

    def begin(self, real: int) -> None:
        """Forget the membranes: `real` samples come, before any that fill a batch up."""
        self.real = real
        for part in self.copies:
            part.reset()  # type: ignore[operator]

    def see(self, x: Tensor, out: Tensor) -> None:
        """Show the copies what the layer was shown."""
        spikes, lower, higher = (
            given[None, : self.real] if self.single_step else given[:, : self.real]
            for given in (out, self.lower(x), self.higher(x))
        )
        self.sums["spikes"] += int(spikes.sum(dtype=torch.float64))
        self.sums["lower"] += self._counted(lower)
        self.sums["higher"] += self._counted(higher)
        surrogate: Any = self.itself.surrogate_function
        for step, received in enumerate(x[None] if self.single_step else x):
            self.charge.v = self.itself.v
            self.charge(received)
            distance = self.charge.v[: self.real] - self.threshold  # type: ignore[index]
            again = self.itself(received)[: self.real]
            derivative = surrogate_derivative(surrogate, distance)
            self.sums["otherwise"] += int((again != spikes[step]).sum())
            self.sums["gate"] += float(derivative.sum(dtype=torch.float64))
            self.sums["near"] += self._counted(distance.abs() <= self.step * self.threshold)
            self.sums["elements"] += distance.numel()

    def _counted(self, events: Tensor) -> float:
        """How many there are; where neurons have thresholds of their own, each divided by its."""
        if isinstance(self.threshold, Tensor):
            return float((events / self.threshold).sum(dtype=torch.float64))
        return int(events.sum(dtype=torch.float64))

    def result(self) -> LayerGate:
        """The means. Raises `RecordingError` where a copy on the same input fired otherwise than
        the layer.
        """
        sums, elements = self.sums, self.sums["elements"]
        if sums["otherwise"] > _MOST_OTHERWISE * elements:
            raise RecordingError(
                f"a copy of layer {self.name!r} on the same input fired otherwise "
                f"{sums['otherwise']} times of {elements}; the layer answers more than its input "
                "and its threshold, so its rate cannot be measured at another one"
            )
        width = 2 * self.step * (1 if isinstance(self.threshold, Tensor) else self.threshold)
        return LayerGate(
            name=self.name,
            threshold=threshold_of(self.neuron),
            rate=sums["spikes"] / elements,
            gate=sums["gate"] / elements,
            slope=(sums["lower"] - sums["higher"]) / elements / width,
            density=sums["near"] / elements / width,
        )


def check_gated(net: SpikingNet) -> dict[str, nn.Module]:
    """The spiking layers by name. Raises `RecordingError` where there is none, or one whose gate
    cannot be measured.
    """
    found = {
        name: module
        for name, module in net.backbone.named_modules()
        if is_neuron(module) and not is_readout(module)
    }
    for name, module in found.items():
        reason = ""
        if emits_whole_spikes(module) or not callable(getattr(module, "surrogate_function", None)):
            reason = (
                "fires without a surrogate function (or several times in a step); it has no gate"
            )
        elif isinstance(getattr(module, "threshold_ratio", None), Tensor):
            reason = "has neurons with thresholds of their own each; −∂r/∂θ is for one of a layer"
        elif isinstance(getattr(type(module), "v_threshold", None), property):
            reason = "computes its threshold (a property), which cannot be set on a copy"
        elif [memory for memory, _ in module.named_memories()] != ["v"]:  # type: ignore[operator]
            reason = "remembers more than its membrane v, which cannot be read off a copy"
        if reason:
            raise RecordingError(f"layer {name!r} {reason}")
    if not found:
        raise RecordingError(
            "the network has no spiking layer of SpikingJelly; there is no gate to measure"
        )
    return found
