"""The hub of the ledger: synaptic operations alone, as this package counts them by default
(docs/energy.md).
"""

from ahsar_eval.energy.conventions.matmuls import declared
from ahsar_eval.energy.conventions.run import Amount, Run, Weighted
from ahsar_eval.energy.conventions.totals import Counted, LayerTotals
from ahsar_eval.recording.activity import MATMUL


def synaptic(layer: Weighted) -> Amount:
    """One layer: SynOps of spikes, or dense multiply-accumulates of the charged steps."""
    if layer.synapse.is_spiking:
        return Amount(layer.name, 0, int(layer.synapse.operations.sum()))
    return Amount(layer.name, layer.dense * layer.charged, 0)


def count(run: Run) -> Counted:
    """ACs = SynOps, average pooling folded; MACs dense without padding, a static image once;
    matmuls between spikes.
    """
    rows = [LayerTotals("synapses", *synaptic(layer)) for layer in run.weighted_layers]
    rows += [
        LayerTotals("products", *declared(operator, run)) for operator in run.operators(MATMUL)
    ]
    return Counted(rows)
