"""NeuroBench 2.3.0: Effective_MACs and Effective_ACs of its SynapticOperations
(neurobench/metrics/utils/layers/macs.py).

Every call of a linear layer or a convolution: connections of inputs and weights that are not zero,
padding excluded; accumulations where the whole call holds nothing but −1, 0 and 1, else
multiply-accumulates. Nothing else is counted.
"""

from collections.abc import Iterator, Mapping, Sequence

from ahsar_eval.energy.conventions import steps
from ahsar_eval.energy.conventions.run import Amount, Number, Run
from ahsar_eval.energy.conventions.synaptic import without_matmuls

RULES = steps.Rules(
    is_spiking=lambda calls: calls.signed, has_rule=lambda layer: not layer.geometry.transposed
)


def synapses(run: Run) -> Iterator[Amount]:
    """Call by call, as the tool does."""
    for layer, found in RULES.layers(run):
        live = layer.calls.live
        yield Amount(layer.name, int(live[~found].sum()), int(live[found].sum()))


def dense(run: Run, amounts: Sequence[Amount]) -> Mapping[str, Number]:
    """The tool's number for all inputs and weights."""
    return {"Dense": sum(layer.dense * layer.sample_steps for layer, _ in RULES.layers(run))}


def notes(run: Run) -> list[str]:
    """Where the tool's own number differs."""
    told = [
        "NeuroBench adds up in float32: of large networks or batches its own number is rounded "
        "where this one is exact."
    ]
    left = [amount.layer for amount in RULES.without_rule(run)]
    if left:
        told.append(f"NeuroBench knows no transposed convolution and leaves out {', '.join(left)}.")
    return told


NEUROBENCH = steps.Convention(
    name="neurobench",
    rule=(
        "products of inputs and weights that are not zero, padding excluded; ACs where a whole "
        "call holds only −1, 0 and 1"
    ),
    source="NeuroBench 2.3.0, Effective_MACs and Effective_ACs",
    judges_calls=True,
    parts={"synapses": synapses},
    steps={
        steps.NO_RULE: RULES.without_rule,
        steps.FIRST_LAYER: RULES.every_step,
        steps.AVERAGE_POOLING: RULES.average_pooling_apart,
        steps.INTEGERS: RULES.integers_as_values,
        steps.JUDGED: RULES.judged_by_values,
        steps.ZERO_INPUTS: RULES.zero_inputs,
        steps.ZERO_WEIGHTS: RULES.zero_weights,
        steps.MATMULS: without_matmuls,
    },
    extra=dense,
    notes=notes,
)
