"""What a recording keeps of work beyond spikes and synaptic operations: shapes of layers, what
calls receive, neurons, other operations.

Axes: N samples, C calls. A layer is called once for all T steps in multi-step mode and once per
step in single-step mode.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """What an operation receives, call by call: the ground for counters that judge a call by its
    values.

    C is the number of calls of a forward pass, or 1 where all calls of a sample are alike in kind
    (spikes of a spiking layer, or a static image): the column then holds sums over all T steps.
    """

    elements: int  # of one sample, over all T steps
    nonzero: Counts  # [N, C] elements that are not zero
    # [N, C] Σ over them of the outputs each one reaches; zeros for an operation without weights or
    # products
    uses: Counts
    total: NDArray[np.float64]  # [N, C] Σ of the values
    low: NDArray[np.float32]  # [N, C] smallest value
    high: NDArray[np.float32]  # [N, C] largest value
    two_valued: NDArray[np.bool_]  # [N, C] no value lies between the two
    signed: NDArray[np.bool_]  # [N, C] every value is −1, 0 or 1
    whole: NDArray[np.bool_]  # [N, C] every value is a whole number, 0 or more
    live_uses: Counts | None = (
        None  # [N, C] as `uses`, through weights that are not zero; None where no weight is zero
    )

    @property
    def binary(self) -> NDArray[np.bool_]:
        """[N, C] whether every value is 0 or 1."""
        found: NDArray[np.bool_] = (
            self.two_valued & np.isin(self.low, (0, 1)) & np.isin(self.high, (0, 1))
        )
        return found


@dataclass(frozen=True)
class Geometry:
    """Shapes of a layer with weights. Of one sample and one time step, as the layer itself meets
    them.
    """

    type: str  # class name: Conv2d, Linear, …
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: tuple[int, ...]
    kernel: tuple[int, ...]  # () for a linear layer
    stride: tuple[int, ...]
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


NORMALISATION, AVERAGE_POOL, MAX_POOL, MEAN, ADDITION, PRODUCT, MATMUL = (
    "normalisation",
    "average pool",
    "max pool",
    "mean",
    "addition",
    "product",
    "matmul",
)


@dataclass(frozen=True)
class OperatorActivity:
    """One operation without weights of its own, or a normalisation, that runs outside spiking
    layers.

    `steps` is how many time steps a sample's pass runs it for. Per sample and step it takes
    `inputs` elements (a matmul: of its first operand) and gives `outputs`. `operands` and
    `coincidences` are kept of additions of spikes, of matmuls and of a max pooling that meets
    spikes alone.
    """

    name: (
        str  # the module's name; 'module: addition 1' for a function that a module's forward calls
    )
    kind: str  # one of the seven above
    type: str  # class or function name
    inputs: int
    outputs: int
    steps: int
    window: int = (
        1  # elements per output of a pooling or a mean; length of the summed axis of a matmul
    )
    channels: int = 0  # of a normalisation
    affine: bool = False  # of a normalisation
    behind: str | None = None  # the layer with weights whose output it takes directly
    folded_into: tuple[
        str, ...
    ] = ()  # the layers with weights that an average pooling is folded into
    operand_kinds: tuple[
        str, ...
    ] = ()  # spikes, integer spikes, analog: the widest over all samples
    operands: tuple[Seen, ...] = ()
    coincidences: Counts | None = (
        None  # [N, C] Σ over outputs of products of two spikes, where both operands are 0 and 1
    )
