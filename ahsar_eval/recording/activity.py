"""The values a recording is made of.

Axes: T time, N samples, K classes, C H W of an image, and of `Seen` C calls: a layer is called once
for all T steps in multi-step mode and once per step in single-step mode.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data import SHIFTS, Split
from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import Shape

Counts = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Facts = Mapping[str, Any]  # JSON-ready
# What a recording holds only where it was asked for.
FEATURES, SPIKE_COUNTS = "features", "spike counts"
# Kinds of operations outside spiking layers and layers with weights.
NORMALISATION, AVERAGE_POOL, MAX_POOL = "normalisation", "average pool", "max pool"
MEAN, ADDITION, PRODUCT, MATMUL = "mean", "addition", "product", "matmul"


@dataclass(frozen=True)
class Seen:
    """What an operation receives, call by call: the ground for counters that judge a call by its
    values.

    C is the number of calls of a forward pass, or 1 where all calls of a sample are alike in kind
    (spikes of a spiking layer, or a static image): the column then holds sums over all T steps.
    """

    elements: int  # of one sample, over all T steps
    nonzero: Counts  # [N, C] elements that are not zero
    # [N, C] Σ over them of their fan-out, the outputs each one reaches; zeros for an operation
    # without weights or products
    fan_out_ops: Counts
    total: Doubles  # [N, C] Σ of the values
    low: Floats  # [N, C] smallest value
    high: Floats  # [N, C] largest value
    two_valued: NDArray[np.bool_]  # [N, C] no value lies between the two
    signed: NDArray[np.bool_]  # [N, C] every value is −1, 0 or 1
    whole: NDArray[np.bool_]  # [N, C] every value is a whole number, 0 or more
    # [N, C] as `fan_out_ops`, through weights that are not zero; None where no weight is zero
    nonzero_fan_out_ops: Counts | None = None

    @property
    def binary(self) -> NDArray[np.bool_]:
        """[N, C] whether every value is 0 or 1."""
        return self.two_valued & np.isin(self.low, (0, 1)) & np.isin(self.high, (0, 1))


@dataclass(frozen=True)
class Geometry:
    """Shapes of a layer with weights. Of one sample and one time step, as the layer itself meets
    them.
    """

    type: str  # class name: Conv2d, Linear, …
    inputs: Shape
    outputs: Shape
    weights: Shape
    kernel: Shape  # () for a linear layer
    stride: Shape
    groups: int
    transposed: bool
    bias: bool
    padded_operations: int  # multiply-accumulates of one step with those on padding

    @property
    def input_elements(self) -> int:
        """Number of inputs of one sample and step."""
        return math.prod(self.inputs)

    @property
    def output_elements(self) -> int:
        """Number of outputs of one sample and step."""
        return math.prod(self.outputs)

    @property
    def weight_count(self) -> int:
        """Number of weights, without biases."""
        return math.prod(self.weights)

    @property
    def outputs_per_group(self) -> int:
        """Output channels (or features) that one input element reaches."""
        if not self.kernel:
            return self.outputs[-1]
        return self.weights[1] if self.transposed else self.weights[0] // self.groups


@dataclass(frozen=True)
class NeuronModel:
    """What a spiking layer computes per neuron and time step.

    `known` is False for a type without a rule: its updates are then uncounted. `reset` is
    'subtract' (an addition per spike), 'set' (a write per spike) or '' where it is unknown.
    `framework_additions` are the additions and subtractions that a counter of framework calls sees
    per neuron and step, in three states of a call: nothing but zeros has come in yet, the first
    step with a value that is not zero, every later step.
    """

    type: str  # class name: LIFNode, IFNode, …
    leaky: bool
    reset: str
    known: bool
    framework_additions: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class OperatorActivity:
    """One operation without weights of its own, or a normalisation, that runs outside spiking
    layers.

    `steps` is how many time steps a sample's pass runs it for. Per sample and step it takes
    `inputs` elements (a matmul: of its first operand) and gives `outputs`. `operands` and
    `coincidences` are kept of additions of spikes, of matmuls and of a max pooling that meets
    spikes alone.
    """

    # the module's name; 'module: addition 1' for a function that a module's forward calls
    name: str
    kind: str  # one of the seven above
    type: str  # class or function name
    inputs: int
    outputs: int
    steps: int
    # elements per output of a pooling or a mean; length of the summed axis of a matmul
    window: int = 1
    channels: int = 0  # of a normalisation
    affine: bool = False  # of a normalisation
    behind: str | None = None  # the layer with weights whose output it takes directly
    # the layers with weights that an average, or a constant factor, of spikes is folded into
    folded_into: tuple[str, ...] = ()
    # spikes, integer spikes, analog: the widest over all samples
    operand_kinds: tuple[str, ...] = ()
    operands: tuple[Seen, ...] = ()
    # [N, C] Σ over outputs of products of two spikes, where both operands are 0 and 1
    coincidences: Counts | None = None
    calls: int = 1  # in a pass: for all steps, or one for each


def same_classes(one: Facts, other: Facts) -> bool:
    """Whether class i of `one` is class i of `other`: by their label spaces, or, where both have
    names of classes, by these. Both hold "label_space" and "classes", as the description of a split
    and the provenance of a checkpoint do; a label space that is not known (None) fits any.
    """
    spaces = one.get("label_space"), other.get("label_space")
    if None in spaces or spaces[0] == spaces[1]:
        return True
    names = _names(one), _names(other)
    return bool(names[0]) and names[0] == names[1]


def _names(described: Facts) -> list[str]:
    """The names of the classes; none where they are mere numbers."""
    names = [str(name) for name in described.get("classes") or ()]
    return [] if all(name.isdigit() for name in names) else names


@dataclass(frozen=True)
class LayerActivity:
    """What one spiking layer did: `spikes` [N] per sample over all T steps, `rate_map` [*shape] the
    mean spikes per neuron and step.

    `silent_steps` [N] is the number of steps, from the first, in which nothing but zeros came in.
    """

    name: str
    shape: Shape
    spikes: Counts
    rate_map: Doubles
    model: NeuronModel
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
    geometry: Geometry
    seen: Seen | None = None  # what the layer itself receives, behind any pooling
    # [N] Σ value · fan-out of an analog input whose values are whole numbers in every sample
    replayed: Counts | None = None
    calls: int = 1  # of its module in a pass: for all steps, or one for each
    gain: float = 1.0  # the constant by which its spikes were multiplied on their way

    def steps(self, timesteps: int) -> int:
        """For how many of T time steps the layer runs: for one behind a mean over time."""
        if self.seen is None:
            return timesteps
        return self.seen.elements // self.geometry.input_elements

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
    image: Floats
    label: int
    logits: Floats
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

    weight: Doubles
    bias: Doubles


def describe(split: Split) -> dict[str, Any]:
    """What a recording keeps of its split, JSON-ready; `family` is that of the corruption, 'events'
    for every shift of event recordings.
    """
    source, family = split.source, ""
    if split.shift is not None:
        known = split.modality == "image" and split.shift in SHIFTS
        family = SHIFTS[split.shift].family if known else "events"
    return {
        "name": split.name,
        "set": source.name,
        "role": source.role,
        "shift": split.shift,
        "family": family,
        "severity": split.severity,
        "seed": split.seed if split.shift else None,
        "identity": split.identity,
        "set_identity": source.identity,
        "n": len(source),
        "adaptation": split.adaptation,
        "modality": split.modality,
        "labels_preserved": split.labels_preserved,
        "label_space": source.label_space,
        "classes": list(source.classes),
        "note": source.note,
        "copies_of": source.copies_of,
        "skipped": dict(sorted(source.skipped.items())),
        "said": list(source.said),
    }


@dataclass(frozen=True)
class Recording:
    """One pass of a network over a split: everything that OOD metrics, energy and figures need.
    Memory per sample: logits and counters.

    Kept only where asked for (`extras`): `features` [N, D], the time mean of the input of the last
    layer with weights, and `readout`, that layer where it is linear and its output are the logits;
    `spike_counts` [N, L], the spikes over all T of every neuron of the last spiking layer before
    it.
    """

    split: Facts  # see `describe`
    spec: Facts
    thresholds: Mapping[str, float]  # layer → v_threshold during the pass
    logits: Floats  # [N, T, K]
    labels: Counts  # [N], −1 where unknown
    layers: tuple[LayerActivity, ...]
    synapses: tuple[SynapseActivity, ...]
    traces: tuple[SpikeTrace, ...] = ()
    uncounted: tuple[Uncounted, ...] = ()
    provenance: Facts = field(default_factory=dict)
    features: Floats | None = None
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
    def extras(self) -> frozenset[str]:
        """Names of what was kept beyond logits and counters."""
        kept = {FEATURES: self.features, SPIKE_COUNTS: self.spike_counts}
        return frozenset(name for name, value in kept.items() if value is not None)

    @property
    def predictions(self) -> Counts:
        """Class of the largest time-mean logit, [N]; the mean is taken in float64."""
        return self.logits.mean(axis=1, dtype=np.float64).argmax(axis=1)

    def rate(self, layer: LayerActivity) -> float:
        """Mean spikes per neuron and time step of a layer over all samples."""
        return float(layer.spikes.sum()) / (len(self) * self.timesteps * layer.neurons)

    @property
    def mean_rate(self) -> float | None:
        """Unweighted mean of the layers' `rate`; None without a spiking layer."""
        rates = [self.rate(layer) for layer in self.layers]
        return sum(rates) / len(rates) if rates else None

    @property
    def sample_rates(self) -> Doubles | None:
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
        index = int(which) if isinstance(which, int) or which.lstrip("-").isdigit() else None
        if index is not None and -len(self.layers) <= index < len(self.layers):
            return self.layers[index]
        for layer in self.layers:
            if layer.name == which:
                return layer
        listed = ", ".join(f"{i} {layer.name}" for i, layer in enumerate(self.layers))
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
