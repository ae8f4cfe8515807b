"""What each counter counts of a run, and the steps that lead from this package's own synaptic
operations, the reference, to it; `conventions` says which of them make a convention.

A step gives what it adds for each layer, from counts of its own. First every call is judged: those
that hold spikes by the counter's rule give accumulations, all others multiply-accumulates; zero
inputs, padding and weights that are zero come after.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from ahsar_eval.energy.calls import Amount, Marks, Number, Run, Weighted, exact
from ahsar_eval.errors import RecordingError
from ahsar_eval.recording import Geometry, OperatorActivity
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
)

Count = Callable[[Run], Iterator[Amount]]
Numbers = tuple[Number, Number]  # MACs and ACs, over all samples
OfLayer = Callable[[Weighted], Numbers]
OfOperator = Callable[[OperatorActivity, Run], Numbers]
OfCalls = Callable[[Weighted, Marks], Number]


def of_layers(count: OfLayer, *kinds: str) -> Count:
    """A count of one layer with weights as that of all that the counter has a rule for, or of those
    that receive these kinds.
    """
    return lambda run: (
        Amount(one.synapse.name, *count(one))
        for one in run.layers
        if (run.rules.transposed or not one.geometry.transposed)
        and (not kinds or one.synapse.kind in kinds)
    )


def of_operators(*kinds: str) -> Callable[[OfOperator], Count]:
    """A count of one operation without weights as that of all of these kinds."""

    def counted(count: OfOperator) -> Count:
        return lambda run: (
            Amount(one.name, *count(one, run))
            for one in run.recording.operators
            if one.kind in kinds
        )

    return counted


# --- layers with weights


def dense(layer: Weighted, where: Marks) -> Number:
    """Connections, padding excluded, in the calls marked in `where` [B, C]."""
    return layer.synapse.dense_operations * layer.run.sample_steps(where, layer.steps)


def products(layer: Weighted, where: Marks) -> Number:
    """The same as the counter takes them, with those on padding."""
    return layer.products * layer.run.sample_steps(where, layer.steps)


def uses(layer: Weighted, where: Marks) -> Number:
    """Connections of inputs that are not zero."""
    return int(layer.calls.fan_out_ops[where].sum())


def live_uses(layer: Weighted, where: Marks) -> Number:
    """Connections of inputs and weights that are not zero."""
    live = layer.calls.nonzero_fan_out_ops
    return uses(layer, where) if live is None else int(live[where].sum())


def rates(layer: Weighted, where: Marks) -> Number:
    """Mean value × all products, as if inner neurons and borders fired alike."""
    return exact(layer.calls.total[where]) * layer.products / layer.geometry.input_elements


def by_calls(values: OfCalls, spikes: OfCalls) -> OfLayer:
    """`spikes` of the calls that the counter takes for spikes as ACs, `values` of all others as
    MACs.
    """
    return lambda layer: (values(layer, ~layer.spiking), spikes(layer, layer.spiking))


def change(before: OfLayer, after: OfLayer) -> OfLayer:
    """One way to count in place of another."""

    def changed(layer: Weighted) -> Numbers:
        (macs, acs), (was_macs, was_acs) = after(layer), before(layer)
        return macs - was_macs, acs - was_acs

    return changed


def synaptic(layer: Weighted) -> Numbers:
    """The reference: SynOps of spikes, average pooling folded, or dense multiply-accumulates of the
    charged steps (padding excluded, a static image once).
    """
    synapse = layer.synapse
    if synapse.is_spiking:
        return 0, int(synapse.operations.sum())
    return synapse.dense_operations * layer.run.samples * synapse.charged_steps, 0


def dense_products(layer: Weighted) -> Numbers:
    """Multiply-accumulates at every step: of a static image not once, of pooled spikes as
    fractions, of sums of spikes as values above 1.
    """
    return layer.synapse.dense_operations * layer.run.samples * layer.steps, 0


@of_layers
def judged_by_values(layer: Weighted) -> Numbers:
    """Calls of analog, pooled or integer values that the counter takes for spikes: inputs that are
    not zero, instead of dense products.
    """
    if layer.synapse.kind == "spikes":
        return 0, 0
    return -dense(layer, layer.spiking), uses(layer, layer.spiking)


def rate_flops(layer: Weighted) -> Numbers:
    """Mean firing rate × FLOPs × T, padding included, borders ignored: of pooled spikes the rate of
    the spiking layer before the pooling, of sums of spikes their summed rate; values as MACs, a
    static image once.
    """
    synapse, run = layer.synapse, layer.run
    if not synapse.is_spiking:
        return layer.products * run.samples * synapse.charged_steps, 0
    spikes = exact(layer.calls.total) / Fraction(synapse.gain)
    of = layer.geometry.input_elements
    for fed_by in run.recording.layers:
        if synapse.kind == "pooled spikes" and fed_by.name == synapse.source:
            spikes, of = Fraction(int(fed_by.spikes.sum())), fed_by.neurons
    return 0, spikes * layer.products / of


def without_transposed(run: Run) -> Iterator[Amount]:
    """Transposed convolutions, of which a counter knows nothing, taken out of the reference."""
    for layer in run.layers:
        if layer.geometry.transposed:
            yield Amount(layer.synapse.name, *synaptic(layer)).times(-1)


# --- products of two tensors of the network, as in attention


@of_operators(MATMUL)
def matmuls(operator: OperatorActivity, run: Run) -> Numbers:
    """By the declared kinds of their operands."""
    kinds = operator.operand_kinds
    return _matmul(operator, run, [np.full((1, 1), kind == "spikes") for kind in kinds])


@of_operators(MATMUL)
def matmuls_by_value(operator: OperatorActivity, run: Run) -> Numbers:
    """By the values of each call: whichever operand holds nothing but 0 and 1 in it is spikes."""
    return _matmul(operator, run, [run.calls(operand).binary for operand in operator.operands])


def _matmul(operator: OperatorActivity, run: Run, spikes: Sequence[Marks]) -> Numbers:
    """Coincidences of two spikes, uses of the one that spikes, else dense multiply-accumulates;
    `spikes` marks the calls [B, C] (or all alike [1, 1]) in which the left and the right operand
    spike.
    """
    left, right = spikes or [np.zeros((1, 1), dtype=bool)] * 2
    both, neither, acs = left & right, ~(left | right), 0
    if both.any():
        if operator.coincidences is None:
            raise RecordingError(
                f"the recording holds no coincidences of {operator.name!r}; record the network "
                "again"
            )
        acs += int((run.over(np.add, operator.coincidences) * both).sum())
    for operand, where in zip(operator.operands, (left & ~both, right & ~both), strict=False):
        acs += int((run.calls(operand).fan_out_ops * where).sum())
    return operator.outputs * operator.window * run.sample_steps(neither, operator.steps), acs


# --- SpikingJelly: a convolution or matrix product with an operand of nothing but 0 and 1 is
# accumulated, exact at borders; any other is dense, with padding


@of_operators(NORMALISATION)
def jelly_batch_norms(operator: OperatorActivity, run: Run) -> Numbers:
    """Batch norm in evaluation: x − mean per element and variance + ε per channel are ACs, scale
    and shift one MAC per element. It has no rule for other normalisations.
    """
    if "BatchNorm" not in operator.type:
        return 0, 0
    elements = operator.inputs * operator.steps * run.samples
    calls = operator.calls * len(run.sizes)
    return elements if operator.affine else 0, elements + operator.channels * calls


@of_layers
def jelly_biases(layer: Weighted) -> Numbers:
    """A linear layer that takes the still image as it is repeated over time (a view): product and
    bias are then two framework calls.

    Elsewhere the bias is part of the product's call and is not counted.
    """
    synapse, shape, run = layer.synapse, layer.geometry, layer.run
    still = synapse.source == "input" and synapse.charged_steps == 1
    viewed = still and layer.steps > 1 and synapse.calls == 1
    if not viewed or not shape.bias or shape.kernel:
        return 0, 0
    return 0, shape.output_elements * run.samples * layer.steps


@of_operators(AVERAGE_POOL)
def jelly_poolings(operator: OperatorActivity, run: Run) -> Numbers:
    """Average pooling over one or two axes: window − 1 per output. An adaptive one to a single cell
    is a mean; others have no rule.
    """
    kind = operator.type.lower().replace("_", "")
    adaptive = kind.startswith("adaptive")
    if operator.outputs != operator.channels if adaptive else kind.endswith("3d"):
        return 0, 0
    outputs = operator.outputs * operator.steps * run.samples
    return 0, outputs * (operator.window - 1)


@of_operators(MEAN)
def jelly_means(operator: OperatorActivity, run: Run) -> Numbers:
    """Means and sums along axes: inputs − outputs."""
    return 0, (operator.inputs - operator.outputs) * operator.steps * run.samples


@of_operators(ADDITION)
def jelly_additions(operator: OperatorActivity, run: Run) -> Numbers:
    """Additions outside spiking layers: one per element of the result; in a call where both
    operands are 0 and 1, their ones.
    """
    if len(operator.operands) < 2:
        return 0, operator.outputs * operator.steps * run.samples
    left, right = map(run.calls, operator.operands)
    both = left.binary & right.binary
    ones = (left.nonzero + right.nonzero)[both].sum()
    return 0, operator.outputs * run.sample_steps(~both, operator.steps) + int(ones)


def jelly_neurons(run: Run) -> Iterator[Amount]:
    """Additions and subtractions of a spiking layer's steps; fewer of them count while a call's
    potentials are all zero.
    """
    for layer, model in run.neurons():
        quiet, first, later = model.framework_additions
        assert layer.silent_steps is not None  # `Run.neurons` refuses a recording without them
        silent = run.over(np.minimum, layer.silent_steps)
        begun = silent < run.steps
        each = silent * quiet + begun * first + (run.steps - silent - begun) * later
        yield Amount(layer.name, 0, layer.neurons * int((run.sizes * each).sum()))


# --- syops: a call is spiking where it holds at most two different values, all within [0, 1]; its
# rate is then mean value × all operations, padding and bias included, as ACs; every other call is
# MACs. Residual additions, means and matmuls are no modules and are not counted. What enters
# spiking layers and normalisations is taken as analog here.


def syops_products(shape: Geometry) -> int:
    """Of one sample and step: kernel · input channels · output channels of a group · output
    positions, or inputs · outputs.
    """
    if not shape.kernel:
        return shape.input_elements * shape.outputs[-1]
    of_group = shape.inputs[0] * (shape.outputs[0] // shape.groups)
    return math.prod(shape.kernel) * of_group * math.prod(shape.outputs[1:])


@of_layers
def syops_biases(layer: Weighted) -> Numbers:
    """One per output of a convolution; of a linear layer once per call, whatever it holds. In a
    spiking call times the rate.
    """
    run, shape, spiking, total = layer.run, layer.geometry, layer.spiking, layer.calls.total
    if not shape.bias:
        return 0, 0
    if shape.kernel:
        rate = exact(total[spiking]) / shape.input_elements
        outputs = shape.output_elements
        return outputs * run.sample_steps(~spiking, layer.steps), outputs * rate
    acs: Number = 0
    for size in set(run.sizes.tolist()):  # a rate is a mean over all of a call's samples
        values = exact(total[spiking & (run.sizes[:, None] == size)])
        of = size * shape.input_elements * (layer.steps // layer.synapse.calls)
        acs += shape.outputs[-1] * values / of
    repeats = max(1, layer.synapse.calls // spiking.shape[1])  # calls of a column
    return shape.outputs[-1] * int((~spiking).sum()) * repeats, acs


@of_operators(NORMALISATION)
def syops_batch_norms(operator: OperatorActivity, run: Run) -> Numbers:
    """Two MACs per element where it has weights, one where not; normalisations of whole layers have
    no rule.
    """
    known = any(name in operator.type for name in ("BatchNorm", "InstanceNorm", "GroupNorm"))
    elements = operator.inputs * operator.steps * run.samples if known else 0
    return elements * (2 if operator.affine else 1), 0


@of_operators(AVERAGE_POOL, MAX_POOL)
def syops_poolings(operator: OperatorActivity, run: Run) -> Numbers:
    """A MAC per input; the input's rate as ACs instead where a max pooling's call is spiking."""
    if operator.kind == AVERAGE_POOL or not operator.operands:
        return operator.inputs * operator.steps * run.samples, 0
    calls = run.calls(operator.operands[0])
    macs = operator.inputs * run.sample_steps(~calls.two_valued, operator.steps)
    return macs, exact(calls.total[calls.two_valued])


def syops_neurons(run: Run) -> Iterator[Amount]:
    """An AC per neuron and step, and a MAC where it leaks; types without a rule are left out."""
    for layer, model in run.neurons():
        if model.known:
            updates = layer.neurons * run.steps * run.samples
            yield Amount(layer.name, updates if model.leaky else 0, updates)
