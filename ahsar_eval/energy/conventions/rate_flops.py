"""Mean firing rate × FLOPs × T, as many papers write it: SOPs of a layer = rate of what feeds it ×
its dense multiply-accumulates × T.

The multiply-accumulates are those of usual FLOP counters, padding included; a static image's layer
counts once, as MACs. Borders are ignored, an average pooling passes the rate on, a sum of spikes
has their summed rate. Nothing but layers with weights is counted.
"""

from collections.abc import Callable, Iterator

from ahsar_eval.energy.conventions import matmuls, names
from ahsar_eval.energy.conventions.run import Amount, Number, Run, Weighted, exact, quotient
from ahsar_eval.energy.conventions.totals import Counted, LayerTotals


def _rate_products(run: Run, layer: Weighted) -> Number:
    """Rate × products × T over all samples: of pooled spikes the rate of the spiking layer before
    the pooling.
    """
    feeding = {found.name: found for found in run.recording.layers}.get(layer.synapse.source)
    if layer.synapse.kind == "pooled spikes" and feeding is not None:
        return quotient(int(feeding.spikes.sum()) * layer.padded, feeding.neurons)
    return quotient(exact(layer.calls.total) * layer.padded, layer.geometry.input_elements)


def rates(run: Run) -> Iterator[Amount]:
    """Mean rates instead of every spike with the outputs it reaches."""
    for layer in run.weighted_layers:
        if layer.synapse.kind in ("spikes", "integer spikes"):
            yield Amount(
                layer.name, 0, _rate_products(run, layer) - int(layer.synapse.operations.sum())
            )


def average_pooling_passes_rates(run: Run) -> Iterator[Amount]:
    """A pooled spike counts by its share of the pooled cell, at mean rates, instead of in full."""
    for layer in run.weighted_layers:
        if layer.synapse.kind == "pooled spikes":
            yield Amount(
                layer.name, 0, _rate_products(run, layer) - int(layer.synapse.operations.sum())
            )


def padding(run: Run) -> Iterator[Amount]:
    """Products of analog input on padding."""
    for layer in run.weighted_layers:
        if not layer.synapse.is_spiking:
            yield Amount(layer.name, (layer.padded - layer.dense) * layer.charged)


WALK: dict[str, Callable[[Run], Iterator[Amount]]] = {
    names.AVERAGE_POOLING: average_pooling_passes_rates,
    names.PADDING: padding,
    names.RATES: rates,
    names.MATMULS: matmuls.left_out,
}


def count(run: Run) -> Counted:
    """Layer by layer."""
    rows = []
    for layer in run.weighted_layers:
        if layer.synapse.is_spiking:
            rows.append(LayerTotals("synapses", layer.name, 0, _rate_products(run, layer)))
        else:
            rows.append(LayerTotals("synapses", layer.name, layer.padded * layer.charged, 0))
    return Counted(rows)
