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
from collections.abc import Callable, Iterator
from functools import partial

from ahsar_eval.energy.conventions import matmuls, names, steps
from ahsar_eval.energy.conventions.run import Amount, Number, Run, Weighted, exact, quotient
from ahsar_eval.energy.conventions.totals import Counted, LayerTotals
from ahsar_eval.recording.activity import AVERAGE_POOL, MAX_POOL, NORMALISATION

RULES = steps.Rules(is_spiking=lambda calls: calls.two_valued)
_NORMALISATIONS = ("BatchNorm", "InstanceNorm", "GroupNorm")


def products(layer: Weighted) -> int:
    """Of one sample and step: kernel · input channels · output channels of a group · output
    positions, or inputs · outputs.
    """
    shape = layer.geometry
    if not shape.kernel:
        return shape.input_elements * shape.outputs[-1]
    return (
        math.prod(shape.kernel)
        * shape.inputs[0]
        * (shape.outputs[0] // shape.groups)
        * math.prod(shape.outputs[1:])
    )


def biases(run: Run) -> Iterator[Amount]:
    """One per output of a convolution; of a linear layer once per call, whatever it holds. In a
    spiking call times the rate.
    """
    for layer in run.weighted_layers:
        if layer.geometry.bias:
            yield _bias(run, layer)


def _bias(run: Run, layer: Weighted) -> Amount:
    shape, calls = layer.geometry, layer.calls
    found = calls.two_valued
    if shape.kernel:
        macs = shape.output_elements * calls.sample_steps(~found)
        return Amount(
            layer.name,
            macs,
            quotient(exact(calls.total[found]) * shape.output_elements, shape.input_elements),
        )
    acs: Number = 0
    for size in set(run.sizes.tolist()):  # a rate is a mean over all of a call's samples
        rates = quotient(
            exact(calls.total[found & (calls.samples == size)]),
            size * shape.input_elements * (run.steps // run.recording.calls),
        )
        acs += shape.outputs[-1] * rates
    return Amount(layer.name, shape.outputs[-1] * int((~found).sum()) * calls.repeats, acs)


def batch_norms(run: Run) -> Iterator[Amount]:
    """Two MACs per element where it has weights, one where not; normalisations of whole layers have
    no rule.
    """
    for operator in run.operators(NORMALISATION):
        if any(name in operator.type for name in _NORMALISATIONS):
            yield Amount(
                operator.name,
                operator.inputs * operator.steps * run.samples * (2 if operator.affine else 1),
            )


def poolings(run: Run) -> Iterator[Amount]:
    """A MAC per input; the input's rate as ACs instead where a max pooling's call is spiking."""
    for operator in run.operators(AVERAGE_POOL):
        yield Amount(operator.name, operator.inputs * operator.steps * run.samples)
    for operator in run.operators(MAX_POOL):
        if not operator.operands:
            yield Amount(operator.name, operator.inputs * operator.steps * run.samples)
            continue
        calls = run.calls(operator.operands[0])
        samples = int((calls.samples * ~calls.two_valued).sum())
        macs = operator.inputs * (operator.steps // calls.two_valued.shape[1]) * samples
        yield Amount(operator.name, macs, exact(calls.total[calls.two_valued]))


def neurons(run: Run) -> Iterator[Amount]:
    """An AC per neuron and step, and a MAC where it leaks; types without a rule are left out."""
    for layer, model in run.neurons():
        if model.known:
            updates = layer.neurons * run.steps * run.samples
            yield Amount(layer.name, updates if model.leaky else 0, updates)


WALK: dict[str, Callable[[Run], Iterator[Amount]]] = {
    names.FIRST_LAYER: partial(steps.every_step, rules=RULES),
    names.AVERAGE_POOLING: partial(steps.average_pooling_apart, rules=RULES),
    names.INTEGERS: partial(steps.integers_as_values, rules=RULES),
    names.JUDGED: partial(steps.judged_by_values, rules=RULES),
    names.PADDING: partial(steps.padding, rules=RULES, products=products),
    names.RATES: partial(steps.mean_rates, rules=RULES, products=products),
    names.BATCH_NORM: batch_norms,
    names.POOLING: poolings,
    names.NEURONS: neurons,
    names.BIASES: biases,
    names.MATMULS: matmuls.left_out,
}


def count(run: Run) -> Counted:
    """Call by call by the rule."""
    rows = []
    for layer in run.weighted_layers:
        found, all_products = layer.calls.two_valued, products(layer)
        acs = quotient(
            exact(layer.calls.total[found]) * all_products, layer.geometry.input_elements
        )
        rows.append(
            LayerTotals(
                "synapses", layer.name, all_products * layer.calls.sample_steps(~found), acs
            )
        )
    for part, counted in (
        ("bias", biases),
        ("normalisation", batch_norms),
        ("pooling", poolings),
        ("neurons", neurons),
    ):
        rows += [LayerTotals(part, *amount) for amount in counted(run)]
    unknown = [layer.name for layer, model in run.neurons() if not model.known]
    notes = [
        "What enters spiking layers and normalisations is taken as analog.",
        "By the rule of syops/ops.py; the package does not run.",
    ]
    if unknown:
        notes.append(f"Spiking layers of types without a rule are left out: {', '.join(unknown)}.")
    return Counted(rows, notes=notes)
