"""Mean firing rate × FLOPs × T, as many papers write it: SOPs of a layer = rate of what feeds it ×
its dense multiply-accumulates × T.

The multiply-accumulates are those of usual FLOP counters, padding included; a static image's layer
counts once, as MACs. Borders are ignored, an average pooling passes the rate on, a sum of spikes
has their summed rate. Nothing but layers with weights is counted.
"""

from collections.abc import Iterator

from ahsar_eval.energy.conventions import steps
from ahsar_eval.energy.conventions.run import Amount, Run, Weighted, exact, quotient
from ahsar_eval.energy.conventions.synaptic import without_matmuls


def _amount(run: Run, layer: Weighted) -> Amount:
    """Rate × products × T over all samples: of pooled spikes the rate of the spiking layer before
    the pooling.
    """
    if not layer.synapse.is_spiking:
        return Amount(layer.name, layer.padded * layer.charged)
    spikes, of = exact(layer.calls.total), layer.geometry.input_elements
    for found in run.recording.layers:
        if layer.synapse.kind == "pooled spikes" and found.name == layer.synapse.source:
            spikes, of = int(found.spikes.sum()), found.neurons
    return Amount(layer.name, 0, quotient(spikes * layer.padded, of))


def synapses(run: Run) -> Iterator[Amount]:
    """Layer by layer."""
    return (_amount(run, layer) for layer in run.weighted_layers)


def _instead_of_exact(run: Run, *kinds: str) -> Iterator[Amount]:
    for layer in run.weighted_layers:
        if layer.synapse.kind in kinds:
            exact_count = Amount(layer.name, 0, int(layer.synapse.operations.sum()))
            yield _amount(run, layer).plus(-exact_count)


def rates(run: Run) -> Iterator[Amount]:
    """Mean rates instead of every spike with the outputs it reaches."""
    return _instead_of_exact(run, "spikes", "integer spikes")


def average_pooling_passes_rates(run: Run) -> Iterator[Amount]:
    """A pooled spike counts by its share of the pooled cell, at mean rates, instead of in full."""
    return _instead_of_exact(run, "pooled spikes")


def padding(run: Run) -> Iterator[Amount]:
    """Products of analog input on padding."""
    for layer in run.weighted_layers:
        if not layer.synapse.is_spiking:
            yield Amount(layer.name, (layer.padded - layer.dense) * layer.charged)


RATE_FLOPS = steps.Convention(
    name="rate-flops",
    rule=(
        "mean firing rate × dense FLOPs (padding included) × T; the first layer once as MACs; "
        "layers with weights alone"
    ),
    source="common in papers",
    judges_calls=False,
    parts={"synapses": synapses},
    steps={
        steps.AVERAGE_POOLING: average_pooling_passes_rates,
        steps.PADDING: padding,
        steps.RATES: rates,
        steps.MATMULS: without_matmuls,
    },
)
