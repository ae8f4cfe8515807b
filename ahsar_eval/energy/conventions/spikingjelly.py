"""SpikingJelly 2.0: MACCounter, ACCounter and SynOpCounter under DispatchCounterMode
(spikingjelly/activation_based/op_counter).

They watch the framework's own calls. A convolution or matrix product with an operand of nothing but
0 and 1 is accumulated, exact at borders; any other is dense, with padding. Batch norm: a MAC per
element where it is affine, an AC per element and per channel and call. Additions, average pooling,
means and the additions inside a spiking layer's step are ACs; two binary tensors add by their ones.
"""

from collections.abc import Callable, Iterator
from functools import partial

from ahsar_eval.energy.conventions import matmuls, names, steps
from ahsar_eval.energy.conventions.run import Amount, Calls, Run
from ahsar_eval.energy.conventions.totals import Counted, LayerTotals
from ahsar_eval.recording import LayerActivity, NeuronModel, OperatorActivity
from ahsar_eval.recording.activity import ADDITION, AVERAGE_POOL, MATMUL, MEAN, NORMALISATION

RULES = steps.Rules(is_spiking=lambda calls: calls.binary)


def batch_norms(run: Run) -> Iterator[Amount]:
    """Batch norm in evaluation: x − mean per element and variance + ε per channel are ACs, scale
    and shift one MAC per element.
    """
    for operator in run.operators(NORMALISATION):
        if "BatchNorm" in operator.type:  # it has no rule for other normalisations
            elements = operator.inputs * operator.steps * run.samples
            calls = min(operator.steps, run.recording.calls) * len(run.starts)
            yield Amount(
                operator.name,
                elements if operator.affine else 0,
                elements + operator.channels * calls,
            )


def biases(run: Run) -> Iterator[Amount]:
    """A linear layer that takes the still image as it is repeated over time (a view): product and
    bias are then two framework calls.

    Elsewhere the bias is part of the product's call and is not counted.
    """
    for layer in run.weighted_layers:
        viewed = (
            layer.synapse.source == "input"
            and layer.synapse.charged_steps == 1 < run.steps
            and run.recording.calls == 1
        )
        if viewed and layer.geometry.bias and not layer.geometry.kernel:
            yield Amount(layer.name, 0, layer.geometry.output_elements * layer.sample_steps)


def poolings(run: Run) -> Iterator[Amount]:
    """Average pooling over one or two axes: window − 1 per output. An adaptive one to a single cell
    is a mean; others have no rule.
    """
    for operator in run.operators(AVERAGE_POOL):
        additions = _pooling_additions(operator)
        if additions:
            yield Amount(operator.name, 0, additions * operator.steps * run.samples)


def _pooling_additions(operator: OperatorActivity) -> int:
    """Of one sample and step."""
    kind = operator.type.lower().replace("_", "")
    if kind.startswith("adaptive"):
        return operator.inputs - operator.outputs if operator.outputs == operator.channels else 0
    return operator.outputs * (operator.window - 1) if not kind.endswith("3d") else 0


def means(run: Run) -> Iterator[Amount]:
    """Means and sums along axes: inputs − outputs."""
    for operator in run.operators(MEAN):
        yield Amount(
            operator.name, 0, (operator.inputs - operator.outputs) * operator.steps * run.samples
        )


def additions(run: Run) -> Iterator[Amount]:
    """Additions outside spiking layers: one per element of the result; in a call where both
    operands are 0 and 1, their ones.
    """
    for operator in run.operators(ADDITION):
        if len(operator.operands) < 2:
            yield Amount(operator.name, 0, operator.outputs * operator.steps * run.samples)
            continue
        left, right = (run.calls(operand) for operand in operator.operands)
        both = left.binary & right.binary
        elements = (
            operator.outputs * (operator.steps // both.shape[1]) * int((left.samples * ~both).sum())
        )
        yield Amount(
            operator.name,
            0,
            elements + int(left.nonzero[both].sum()) + int(right.nonzero[both].sum()),
        )


def neurons(run: Run) -> Iterator[Amount]:
    """Additions and subtractions of a spiking layer's steps; fewer of them count while a call's
    potentials are all zero.
    """
    for layer, model in run.neurons():
        yield Amount(layer.name, 0, layer.neurons * sum(_steps_of_neurons(run, layer, model)))


def _steps_of_neurons(run: Run, layer: LayerActivity, model: NeuronModel) -> Iterator[int]:
    quiet, first, later = model.framework_additions
    assert layer.silent_steps is not None  # `Run.neurons` refuses a recording without them
    for silent, samples in zip(
        run.smallest(layer.silent_steps).tolist(), run.sizes.tolist(), strict=True
    ):
        begun = min(1, run.steps - silent)
        yield samples * (silent * quiet + begun * first + (run.steps - silent - begun) * later)


WALK: dict[str, Callable[[Run], Iterator[Amount]]] = {
    names.FIRST_LAYER: partial(steps.every_step, rules=RULES),
    names.AVERAGE_POOLING: partial(steps.average_pooling_apart, rules=RULES),
    names.INTEGERS: partial(steps.integers_as_values, rules=RULES),
    names.JUDGED: partial(steps.judged_by_values, rules=RULES),
    names.PADDING: partial(steps.padding, rules=RULES),
    names.BATCH_NORM: batch_norms,
    names.POOLING: poolings,
    names.MEANS: means,
    names.ADDITIONS: additions,
    names.NEURONS: neurons,
    names.BIASES: biases,
    names.MATMULS: matmuls.judged,
}


def count(run: Run) -> Counted:
    """The three counters; `SynOps` are the ACs of convolutions and matrix products alone."""
    rows = []
    for layer in run.weighted_layers:
        calls: Calls = layer.calls
        macs = layer.padded * calls.sample_steps(~calls.binary)
        rows.append(LayerTotals("synapses", layer.name, macs, int(calls.uses[calls.binary].sum())))
    rows += [
        LayerTotals("products", *matmuls.by_value(operator, run))
        for operator in run.operators(MATMUL)
    ]
    synops = sum((row.acs for row in rows), 0)
    for part, counted in (
        ("bias", biases),
        ("normalisation", batch_norms),
        ("pooling", poolings),
        ("means", means),
        ("residual", additions),
        ("neurons", neurons),
    ):
        rows += [LayerTotals(part, *amount) for amount in counted(run)]
    in_place = [
        operator.name
        for operator in run.operators(ADDITION)
        if operator.type.endswith("_") and operator.operands
    ]
    notes = []
    if in_place:
        notes.append(
            "SpikingJelly looks at the first operand of an addition in place when it already "
            f"holds the sum; for {', '.join(in_place)} "
            "the operands as they were are counted here."
        )
    return Counted(rows, {"SynOps": synops}, notes)
