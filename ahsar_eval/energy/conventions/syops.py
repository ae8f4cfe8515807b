"""syops-counter (github.com/iCGY96/syops-counter, syops/ops.py), by its rule: the package imports
modules that SpikingJelly 2 dropped.

Its rule is for layers of torch.nn called on [T·N, …]. A call is spiking where it holds at most two
different values, all within [0, 1]; its rate is then mean value × all operations, padding and bias
included, as ACs; every other call is MACs. A linear layer's bias counts once per call. Average
pooling is a MAC per input, max pooling one per input or its rate; batch norm two MACs per element.
A spiking layer is an AC per element, a leaky one a MAC as well. Residual additions, means and
matmuls are no modules and are not counted.

What enters spiking layers and normalisations is taken as analog here.
"""

import math
from collections.abc import Iterator

from ahsar_eval.energy.conventions import steps
from ahsar_eval.energy.conventions.run import Amount, Number, Run, Weighted, exact, quotient
from ahsar_eval.energy.conventions.synaptic import without_matmuls
from ahsar_eval.recording.activity import AVERAGE_POOL, MAX_POOL, NORMALISATION


def products(layer: Weighted) -> int:
    """Of one sample and step: kernel · input channels · output channels of a group · output
    positions, or inputs · outputs.
    """
    shape = layer.geometry
    if not shape.kernel:
        return shape.input_elements * shape.outputs[-1]
    of_group = shape.inputs[0] * (shape.outputs[0] // shape.groups)
    return math.prod(shape.kernel) * of_group * math.prod(shape.outputs[1:])


RULES = steps.Rules(is_spiking=lambda calls: calls.two_valued, products=products)


def synapses(run: Run) -> Iterator[Amount]:
    """Call by call by the rule."""
    for layer, found in RULES.layers(run):
        macs = products(layer) * layer.calls.sample_steps(~found)
        yield Amount(layer.name, macs, RULES.rate_products(layer, found))


def biases(run: Run) -> Iterator[Amount]:
    """One per output of a convolution; of a linear layer once per call, whatever it holds. In a
    spiking call times the rate.
    """
    for layer, found in RULES.layers(run):
        shape, calls = layer.geometry, layer.calls
        acs: Number = 0
        if not shape.bias:
            continue
        if shape.kernel:
            macs = shape.output_elements * calls.sample_steps(~found)
            values = exact(calls.total[found]) * shape.output_elements
            acs = quotient(values, shape.input_elements)
        else:
            macs = shape.outputs[-1] * int((~found).sum()) * calls.repeats
            for size in set(run.sizes.tolist()):  # a rate is a mean over all of a call's samples
                values = exact(calls.total[found & (calls.samples == size)])
                of = size * shape.input_elements * (run.steps // run.recording.calls)
                acs += shape.outputs[-1] * quotient(values, of)
        yield Amount(layer.name, macs, acs)


def batch_norms(run: Run) -> Iterator[Amount]:
    """Two MACs per element where it has weights, one where not; normalisations of whole layers have
    no rule.
    """
    for operator in run.operators(NORMALISATION):
        if any(name in operator.type for name in ("BatchNorm", "InstanceNorm", "GroupNorm")):
            elements = operator.inputs * operator.steps * run.samples
            yield Amount(operator.name, elements * (2 if operator.affine else 1))


def poolings(run: Run) -> Iterator[Amount]:
    """A MAC per input; the input's rate as ACs instead where a max pooling's call is spiking."""
    for operator in [*run.operators(AVERAGE_POOL), *run.operators(MAX_POOL)]:
        if operator.kind == AVERAGE_POOL or not operator.operands:
            yield Amount(operator.name, operator.inputs * operator.steps * run.samples)
            continue
        calls = run.calls(operator.operands[0])
        found = calls.two_valued
        each = operator.inputs * (operator.steps // found.shape[1])
        macs = each * int((calls.samples * ~found).sum())
        yield Amount(operator.name, macs, exact(calls.total[found]))


def neurons(run: Run) -> Iterator[Amount]:
    """An AC per neuron and step, and a MAC where it leaks; types without a rule are left out."""
    for layer, model in run.neurons():
        if model.known:
            updates = layer.neurons * run.steps * run.samples
            yield Amount(layer.name, updates if model.leaky else 0, updates)


def notes(run: Run) -> list[str]:
    """What is taken otherwise than the tool would, and what is left out."""
    told = [
        "What enters spiking layers and normalisations is taken as analog.",
        "By the rule of syops/ops.py; the package does not run.",
    ]
    unknown = [layer.name for layer, model in run.neurons() if not model.known]
    if unknown:
        told.append(f"Spiking layers of types without a rule are left out: {', '.join(unknown)}.")
    return told


SYOPS = steps.Convention(
    name="syops",
    rule=(
        "mean value × all products of a call with at most two values in [0, 1] as ACs, else MACs; "
        "biases, batch norm, pooling, neurons"
    ),
    source="syops-counter, rules of syops/ops.py",
    judges_calls=True,
    parts={
        "synapses": synapses,
        "bias": biases,
        "normalisation": batch_norms,
        "pooling": poolings,
        "neurons": neurons,
    },
    steps={
        steps.FIRST_LAYER: RULES.every_step,
        steps.AVERAGE_POOLING: RULES.average_pooling_apart,
        steps.INTEGERS: RULES.integers_as_values,
        steps.JUDGED: RULES.judged_by_values,
        steps.PADDING: RULES.padding,
        steps.RATES: RULES.mean_rates,
        steps.BATCH_NORM: batch_norms,
        steps.POOLING: poolings,
        steps.NEURONS: neurons,
        steps.BIASES: biases,
        steps.MATMULS: without_matmuls,
    },
    notes=notes,
)
