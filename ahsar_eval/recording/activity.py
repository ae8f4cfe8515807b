"""The values a recording is made of (axes: T time, N samples, K classes, C H W)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import RecordingError
from ahsar_eval.recording.work import Counts, Geometry, NeuronModel, OperatorActivity, Seen

FEATURES, SPIKE_COUNTS = (
    "features",
    "spike counts",
)  # what a recording holds only where it was asked for


def predicted_classes(logits: NDArray[np.floating[Any]]) -> Counts:
    """Class of the largest time-mean logit, [N], from logits [N, T, K]; the mean is taken in
    float64.
    """
    return logits.mean(axis=1, dtype=np.float64).argmax(axis=1)


@dataclass(frozen=True)
class LayerActivity:
    """What one spiking layer did: `spikes` [N] per sample over all T steps, `rate_map` [*shape] the
    mean spikes per neuron and step.

    `silent_steps` [N] is the number of steps, from the first, in which nothing but zeros came in.
    """

    name: str
    shape: tuple[int, ...]
    spikes: Counts
    rate_map: NDArray[np.float64]
    model: NeuronModel | None = None
    silent_steps: Counts | None = None

    @property
    def neurons(self) -> int:
        """Number of neurons of the layer."""
        return int(np.prod(self.shape))


@dataclass(frozen=True)
class SynapseActivity:
    """What one layer with weights was asked to do.

    `operations` [N] per sample, exact integers. For spike inputs they are synaptic operations over
    all T steps: every spike counted with the number of outputs it reaches (docs/energy.md). For
    analog inputs they are the multiply-accumulates of non-zero inputs (effective MACs) over the
    steps that are charged. `dense_operations` is the number of input–output connections, padding
    excluded: the MACs of one time step. `charged_steps` is 1 where a static image meets the layer
    (its product is the same at every step), T elsewhere.
    """

    name: str
    kind: str  # spikes, pooled spikes, integer spikes, analog
    source: str  # the spiking layer that feeds it, 'input', or 'measured' at the layer itself
    operations: Counts
    dense_operations: int
    charged_steps: int
    geometry: Geometry | None = None
    seen: Seen | None = None  # what the layer itself receives, behind any pooling
    replayed: Counts | None = (
        # [N] Σ value · fan-out of an analog input whose values are whole numbers in every sample
        None
    )

    @property
    def is_spiking(self) -> bool:
        """Whether `operations` are accumulations driven by spikes (ACs) rather than MACs."""
        return self.kind != "analog"


@dataclass(frozen=True)
class SpikeTrace:
    """Everything one sample did: its image [T or 1, C, H, W], label, logits [T, K], and each
    layer's spikes.

    `spikes` are bool [T, *shape], int64 where a layer's neurons may fire several times in one step.
    """

    index: int
    image: NDArray[np.float32]
    label: int
    logits: NDArray[np.float32]
    spikes: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Uncounted:
    """A layer whose work no rule counts, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Readout:
    """A linear read-out: the time-mean logits are features · `weight`ᵀ + `bias`; `weight` [K, D],
    `bias` [K] (zeros without one).
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One pass of a network over a split: everything that OOD metrics, energy and figures need.
    Memory per sample: logits and counters.

    Kept only where asked for (`extras`): `features` [N, D], the time mean of the input of the last
    layer with weights, and `readout`, that layer where it is linear and its output are the logits;
    `spike_counts` [N, L], the spikes over all T of every neuron of the last spiking layer before
    it.
    """

    split: Mapping[
        str, Any
        # name, set, role, shift, family, severity, seed, identity, n, adaptation, labels_preserved,
        # label_space, …
    ]
    spec: Mapping[str, Any]
    thresholds: Mapping[str, float]  # layer → v_threshold during the pass
    logits: NDArray[np.float32]  # [N, T, K]
    labels: Counts  # [N], −1 where unknown
    layers: tuple[LayerActivity, ...]
    synapses: tuple[SynapseActivity, ...]
    traces: tuple[SpikeTrace, ...] = ()
    uncounted: tuple[Uncounted, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    features: NDArray[np.float32] | None = None
    readout: Readout | None = None
    spike_counts: NDArray[Any] | None = None
    operators: tuple[OperatorActivity, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def timesteps(self) -> int:
        """T of the network (the logits may hold one step only where a network averages over time
        itself).
        """
        return int(self.spec["timesteps"])

    @property
    def calls(self) -> int:
        """How often a forward pass calls each layer: once in multi-step mode, T times in
        single-step mode.
        """
        return 1 if self.spec.get("step_mode", "m") == "m" else self.timesteps

    @property
    def extras(self) -> frozenset[str]:
        """Names of what was kept beyond logits and counters."""
        kept = {FEATURES: self.features, SPIKE_COUNTS: self.spike_counts}
        return frozenset(name for name, value in kept.items() if value is not None)

    @property
    def predictions(self) -> Counts:
        """Class of the largest time-mean logit, [N]; the mean is taken in float64."""
        return predicted_classes(self.logits)

    def rate(self, layer: LayerActivity) -> float:
        """Mean spikes per neuron and time step of a layer over all samples."""
        return float(layer.spikes.sum()) / (len(self) * self.timesteps * layer.neurons)

    @property
    def mean_rate(self) -> float | None:
        """Unweighted mean of the layers' `rate`; None without a spiking layer."""
        rates = [self.rate(layer) for layer in self.layers]
        return sum(rates) / len(rates) if rates else None

    @property
    def sample_rates(self) -> NDArray[np.float64] | None:
        """The same for each sample, [N]; None without a spiking layer."""
        rates = [layer.spikes / (layer.neurons * self.timesteps) for layer in self.layers]
        return np.mean(rates, axis=0) if rates else None

    @property
    def rate_per_neuron(self) -> float | None:
        """Mean spikes per neuron and time step over all neurons, whatever layer they are of; None
        without a spiking layer.
        """
        neurons = sum(layer.neurons for layer in self.layers)
        spikes = sum(int(layer.spikes.sum()) for layer in self.layers)
        return spikes / (neurons * self.timesteps * len(self)) if neurons else None

    def layer(self, which: str | int) -> LayerActivity:
        """A spiking layer by index in depth or by name; a number that is both is an index. Raises
        `RecordingError` that lists them.
        """
        names = [layer.name for layer in self.layers]
        if (isinstance(which, int) or which.lstrip("-").isdigit()) and -len(names) <= int(
            which
        ) < len(names):
            return self.layers[int(which)]
        if which in names:
            return self.layers[names.index(str(which))]
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        raise RecordingError(f"no spiking layer {which!r}; the network has {listed}")

    def trace(self, index: int) -> SpikeTrace:
        """The full spikes of one sample. Raises `RecordingError` when they were not recorded."""
        for trace in self.traces:
            if trace.index == index:
                return trace
        kept = ", ".join(str(trace.index) for trace in self.traces) or "none"
        raise RecordingError(
            f"the spikes of sample {index} were not recorded (kept: {kept}); record with "
            f"trace=({index},)"
        )
