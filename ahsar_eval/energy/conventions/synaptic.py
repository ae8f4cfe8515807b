"""The reference that all others are compared with: synaptic operations alone, as this package
counts them by default (docs/energy.md). Of products of two tensors of the network itself, as in
attention, both by declared kinds and by what a call received.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.conventions.run import Amount, Run, Weighted
from ahsar_eval.errors import RecordingError
from ahsar_eval.recording import OperatorActivity
from ahsar_eval.recording.activity import MATMUL

Spiking = tuple[bool, ...]  # whether the left and the right operand hold spikes


def synaptic(layer: Weighted) -> Amount:
    """One layer: SynOps of spikes, or dense multiply-accumulates of the charged steps (padding
    excluded, a static image once).
    """
    if layer.synapse.is_spiking:
        return Amount(layer.name, 0, int(layer.synapse.operations.sum()))
    return Amount(layer.name, layer.dense * layer.charged)


def synapses(run: Run) -> Iterator[Amount]:
    """All layers with weights, average pooling folded."""
    return map(synaptic, run.weighted_layers)


def matmuls(run: Run) -> Iterator[Amount]:
    """By the kinds of the operands: coincidences of two spikes, uses of the one that spikes, else
    dense multiply-accumulates.
    """
    for operator in run.operators(MATMUL):
        yield _amount(operator, run, _declared(operator), None)


def without_matmuls(run: Run) -> Iterator[Amount]:
    """All matmuls of the reference taken away."""
    return (-amount for amount in matmuls(run))


def matmuls_by_value(run: Run) -> Iterator[Amount]:
    """By the values of each call: whichever operand holds nothing but 0 and 1 in that call counts
    as spikes.
    """
    for operator in run.operators(MATMUL):
        whole = Amount(operator.name)
        for spiking, where in _by_value(operator, run):
            whole = whole.plus(_amount(operator, run, spiking, where))
        yield whole


def judged_matmuls(run: Run) -> Iterator[Amount]:
    """What the calls that are of another kind by their values than declared add and take away."""
    for operator in run.operators(MATMUL):
        declared = _declared(operator)
        for spiking, where in _by_value(operator, run):
            if spiking != declared:
                yield _amount(operator, run, spiking, where)
                yield -_amount(operator, run, declared, where)


def _declared(operator: OperatorActivity) -> Spiking:
    kinds = operator.operand_kinds
    return tuple(kind == "spikes" for kind in kinds) if len(kinds) == 2 else (False, False)


def _by_value(
    operator: OperatorActivity, run: Run
) -> Iterator[tuple[Spiking, NDArray[np.bool_] | None]]:
    if not operator.operands:
        yield (False, False), None
        return
    left, right = (run.calls(operand).binary for operand in operator.operands)
    for spiking in product((True, False), repeat=2):
        where = (left == spiking[0]) & (right == spiking[1])
        if where.any():
            yield spiking, where


def _amount(
    operator: OperatorActivity, run: Run, spiking: Spiking, where: NDArray[np.bool_] | None
) -> Amount:
    """The calls marked in `where` [B, C] (None: all), with the operands that hold spikes."""
    marked = ... if where is None else where
    if all(spiking):
        if operator.coincidences is None:
            raise RecordingError(
                f"the recording holds no coincidences of {operator.name!r}; record the network "
                "again"
            )
        return Amount(operator.name, 0, int(run.summed(operator.coincidences)[marked].sum()))
    if any(spiking):
        uses = run.calls(operator.operands[spiking.index(True)]).uses
        return Amount(operator.name, 0, int(uses[marked].sum()))
    dense = operator.outputs * operator.window
    if where is None:
        return Amount(operator.name, dense * operator.steps * run.samples)
    samples = int((run.sizes[:, None] * where).sum())
    return Amount(operator.name, dense * samples * (operator.steps // where.shape[1]))
