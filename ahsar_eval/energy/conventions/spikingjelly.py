"""SpikingJelly 2.0: MACCounter, ACCounter and SynOpCounter under DispatchCounterMode
(spikingjelly/activation_based/op_counter).

They watch the framework's own calls. A convolution or matrix product with an operand of nothing but
0 and 1 is accumulated, exact at borders; any other is dense, with padding. Batch norm: a MAC per
element where it is affine, an AC per element and per channel and call. Additions, average pooling,
means and the additions inside a spiking layer's step are ACs; two binary tensors add by their ones.
"""

from collections.abc import Iterator, Mapping, Sequence

from ahsar_eval.energy.conventions import steps
from ahsar_eval.energy.conventions.run import Amount, Number, Run
from ahsar_eval.energy.conventions.synaptic import judged_matmuls, matmuls_by_value
from ahsar_eval.recording.activity import ADDITION, AVERAGE_POOL, MEAN, NORMALISATION

RULES = steps.Rules(is_spiking=lambda calls: calls.binary)


def synapses(run: Run) -> Iterator[Amount]:
    """Convolutions and linear layers, call by call."""
    for layer, found in RULES.layers(run):
        macs = layer.padded * layer.calls.sample_steps(~found)
        yield Amount(layer.name, macs, int(layer.calls.uses[found].sum()))


def batch_norms(run: Run) -> Iterator[Amount]:
    """Batch norm in evaluation: x − mean per element and variance + ε per channel are ACs, scale
    and shift one MAC per element.
    """
    for operator in run.operators(NORMALISATION):
        if "BatchNorm" in operator.type:  # it has no rule for other normalisations
            elements = operator.inputs * operator.steps * run.samples
            calls = min(operator.steps, run.recording.calls) * len(run.starts)
            acs = elements + operator.channels * calls
            yield Amount(operator.name, elements if operator.affine else 0, acs)


def biases(run: Run) -> Iterator[Amount]:
    """A linear layer that takes the still image as it is repeated over time (a view): product and
    bias are then two framework calls.

    Elsewhere the bias is part of the product's call and is not counted.
    """
    for layer in run.weighted_layers:
        still = layer.synapse.source == "input" and layer.synapse.charged_steps == 1
        viewed = still and run.steps > 1 and run.recording.calls == 1
        if viewed and layer.geometry.bias and not layer.geometry.kernel:
            yield Amount(layer.name, 0, layer.geometry.output_elements * layer.sample_steps)


def poolings(run: Run) -> Iterator[Amount]:
    """Average pooling over one or two axes: window − 1 per output. An adaptive one to a single cell
    is a mean; others have no rule.
    """
    for operator in run.operators(AVERAGE_POOL):
        kind, each = operator.type.lower().replace("_", ""), 0  # of one sample and step
        if kind.startswith("adaptive"):
            if operator.outputs == operator.channels:
                each = operator.inputs - operator.outputs
        elif not kind.endswith("3d"):
            each = operator.outputs * (operator.window - 1)
        yield Amount(operator.name, 0, each * operator.steps * run.samples)


def means(run: Run) -> Iterator[Amount]:
    """Means and sums along axes: inputs − outputs."""
    for operator in run.operators(MEAN):
        each = operator.inputs - operator.outputs
        yield Amount(operator.name, 0, each * operator.steps * run.samples)


def additions(run: Run) -> Iterator[Amount]:
    """Additions outside spiking layers: one per element of the result; in a call where both
    operands are 0 and 1, their ones.
    """
    for operator in run.operators(ADDITION):
        acs = operator.outputs * operator.steps * run.samples
        if len(operator.operands) >= 2:
            left, right = (run.calls(operand) for operand in operator.operands)
            both = left.binary & right.binary
            each = operator.outputs * (operator.steps // both.shape[1])
            ones = int(left.nonzero[both].sum()) + int(right.nonzero[both].sum())
            acs = each * int((left.samples * ~both).sum()) + ones
        yield Amount(operator.name, 0, acs)


def neurons(run: Run) -> Iterator[Amount]:
    """Additions and subtractions of a spiking layer's steps; fewer of them count while a call's
    potentials are all zero.
    """
    for layer, model in run.neurons():
        quiet, first, later = model.framework_additions
        assert layer.silent_steps is not None  # `Run.neurons` refuses a recording without them
        silent = run.smallest(layer.silent_steps)
        begun = silent < run.steps
        each = silent * quiet + begun * first + (run.steps - silent - begun) * later
        yield Amount(layer.name, 0, layer.neurons * int((run.sizes * each).sum()))


def synops(run: Run, amounts: Sequence[Amount]) -> Mapping[str, Number]:
    """The ACs of convolutions and matrix products alone."""
    own = (one.acs for one in amounts if one.part in ("synapses", "products"))
    return {"SynOps": sum(own, 0)}


def notes(run: Run) -> list[str]:
    """Where the tool's own number differs."""
    in_place = [
        operator.name
        for operator in run.operators(ADDITION)
        if operator.type.endswith("_") and operator.operands
    ]
    if not in_place:
        return []
    return [
        "SpikingJelly looks at the first operand of an addition in place when it already holds the "
        f"sum; for {', '.join(in_place)} the operands as they were are counted here."
    ]


SPIKINGJELLY = steps.Convention(
    name="spikingjelly",
    rule=(
        "framework calls: ACs where an operand holds only 0 and 1, else MACs with padding; batch "
        "norm, additions, pooling, neurons"
    ),
    source="SpikingJelly 2.0, MACCounter, ACCounter and SynOpCounter",
    judges_calls=True,
    parts={
        "synapses": synapses,
        "products": matmuls_by_value,
        "bias": biases,
        "normalisation": batch_norms,
        "pooling": poolings,
        "means": means,
        "residual": additions,
        "neurons": neurons,
    },
    steps={
        steps.FIRST_LAYER: RULES.every_step,
        steps.AVERAGE_POOLING: RULES.average_pooling_apart,
        steps.INTEGERS: RULES.integers_as_values,
        steps.JUDGED: RULES.judged_by_values,
        steps.PADDING: RULES.padding,
        steps.BATCH_NORM: batch_norms,
        steps.POOLING: poolings,
        steps.MEANS: means,
        steps.ADDITIONS: additions,
        steps.NEURONS: neurons,
        steps.BIASES: biases,
        steps.MATMULS: judged_matmuls,
    },
    extra=synops,
    notes=notes,
)
