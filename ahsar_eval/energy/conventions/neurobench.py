"""NeuroBench 2.3.0: Effective_MACs and Effective_ACs of its SynapticOperations
(neurobench/metrics/utils/layers/macs.py).

Every call of a linear layer or a convolution: connections of inputs and weights that are not zero,
padding excluded; accumulations where the whole call holds nothing but −1, 0 and 1, else
multiply-accumulates. Nothing else is counted.
"""

from collections.abc import Callable, Iterator
from functools import partial

from ahsar_eval.energy.conventions import matmuls, names, steps
from ahsar_eval.energy.conventions.run import Amount, Run
from ahsar_eval.energy.conventions.totals import Counted, LayerTotals

RULES = steps.Rules(
    is_spiking=lambda calls: calls.signed, has_rule=lambda layer: not layer.geometry.transposed
)

WALK: dict[str, Callable[[Run], Iterator[Amount]]] = {
    names.NO_RULE: partial(steps.without_rule, rules=RULES),
    names.FIRST_LAYER: partial(steps.every_step, rules=RULES),
    names.AVERAGE_POOLING: partial(steps.average_pooling_apart, rules=RULES),
    names.INTEGERS: partial(steps.integers_as_values, rules=RULES),
    names.JUDGED: partial(steps.judged_by_values, rules=RULES),
    names.ZERO_INPUTS: partial(steps.zero_inputs, rules=RULES),
    names.ZERO_WEIGHTS: partial(steps.zero_weights, rules=RULES),
    names.MATMULS: matmuls.left_out,
}


def count(run: Run) -> Counted:
    """Call by call, as the tool does; `Dense` is its number for all inputs and weights."""
    rows, dense = [], 0
    for layer in RULES.layers(run):
        spiking = layer.calls.signed
        rows.append(
            LayerTotals(
                "synapses",
                layer.name,
                int(layer.calls.live[~spiking].sum()),
                int(layer.calls.live[spiking].sum()),
            )
        )
        dense += layer.dense * layer.sample_steps
    notes = [
        "NeuroBench adds up in float32: of large networks or batches its own number is rounded "
        "where this one is exact."
    ]
    left = [layer.name for layer in run.weighted_layers if not RULES.has_rule(layer)]
    if left:
        notes.append(
            f"NeuroBench knows no transposed convolution and leaves out {', '.join(left)}."
        )
    return Counted(rows, {"Dense": dense}, notes)
