"""The rules for what runs between layers: batch norms, residual additions, poolings, means,
products, and products of two activities.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.choices import Choices
from ahsar_eval.recording import OperatorActivity, Recording, Uncounted
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    NORMALISATION,
    PRODUCT,
)

Found = tuple[str, str, str, NDArray[np.int64]]  # part, operation, detail, counts [N]


def is_batch_norm(operator: OperatorActivity) -> bool:
    """Whether a normalisation is a fixed scale and shift at inference."""
    return "BatchNorm" in operator.type


def operator_entries(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> list[Found]:
    """(part, operation, detail, counts [N]) of one operation without weights; what has no rule is
    appended to `uncounted`.
    """
    rules = {
        NORMALISATION: _normalisation,
        AVERAGE_POOL: _average_pool,
        MEAN: _mean,
        MAX_POOL: _max_pool,
        ADDITION: _addition,
        PRODUCT: _product,
        MATMUL: _matmul,
    }
    if operator.kind not in rules:
        uncounted.append(Uncounted(operator.name, f"no rule counts a {operator.kind}"))
        return []
    return list(rules[operator.kind](recording, operator, choices, uncounted))


def is_folded(recording: Recording, operator: OperatorActivity, choices: Choices) -> bool:
    """Whether an average pooling or a batch norm is taken up by a layer with weights under the
    choices.
    """
    names = {synapse.name for synapse in recording.synapses}
    if operator.kind == NORMALISATION:
        return (
            choices.batch_norm == "folded" and is_batch_norm(operator) and operator.behind in names
        )
    return (
        operator.kind == AVERAGE_POOL
        and choices.average_pooling == "folded"
        and bool(names.intersection(operator.folded_into))
    )


def _each(recording: Recording, value: int) -> NDArray[np.int64]:
    return np.full(len(recording), value, dtype=np.int64)


def _normalisation(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> Iterator[Found]:
    if is_folded(recording, operator, choices):
        return
    if not is_batch_norm(operator):
        reason = (
            f"the statistics that a {operator.type} takes of every sample have no rule; its "
            "scale "
            "and shift are counted"
        )
        uncounted.append(Uncounted(operator.name, reason))
    steps = operator.steps
    behind = next(
        (synapse for synapse in recording.synapses if synapse.name == operator.behind), None
    )
    if behind is not None and behind.kind == "analog" and choices.first_layer == "once":
        steps = min(steps, behind.charged_steps)  # a product that is held is held normalised
    yield "normalisation", "multiply", "scale", _each(recording, operator.outputs * steps)
    yield "normalisation", "add", "shift", _each(recording, operator.outputs * steps)


def _average_pool(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> Iterator[Found]:
    if not is_folded(recording, operator, choices):
        yield from _mean(recording, operator, choices, uncounted)


def _mean(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> Iterator[Found]:
    outputs = operator.outputs * operator.steps
    yield "pooling", "add", operator.kind, _each(recording, (operator.window - 1) * outputs)
    if operator.type != "sum":
        yield "pooling", "multiply", operator.kind, _each(recording, outputs)


def _max_pool(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> Iterator[Found]:
    yield (
        "pooling",
        "compare",
        operator.kind,
        _each(recording, (operator.window - 1) * operator.outputs * operator.steps),
    )


def _addition(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> Iterator[Found]:
    if operator.operand_kinds == ("spikes", "spikes") and len(operator.operands) == 2:
        spikes = sum(np.rint(operand.total.sum(1)) for operand in operator.operands)
        yield "residual", "add", "spikes", np.asarray(spikes, dtype=np.int64)
    else:
        yield "residual", "add", "elements", _each(recording, operator.outputs * operator.steps)


def _product(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> Iterator[Found]:
    yield "products", "multiply", "elements", _each(recording, operator.outputs * operator.steps)


def _matmul(
    recording: Recording, operator: OperatorActivity, choices: Choices, uncounted: list[Uncounted]
) -> Iterator[Found]:
    """Two spikes meet: one accumulation; a spike meets a value: the value is accumulated wherever
    the spike reaches; else MACs.
    """
    kinds = operator.operand_kinds
    if kinds == ("spikes", "spikes"):
        if operator.coincidences is None:
            uncounted.append(
                Uncounted(operator.name, "the recording does not hold how often its spikes meet")
            )
            return
        yield "products", "ac", "coincidences", operator.coincidences.sum(1, dtype=np.int64)
        return
    spiking = [
        operand for kind, operand in zip(kinds, operator.operands, strict=False) if kind == "spikes"
    ]
    if spiking:
        yield "products", "ac", "spikes", spiking[0].fan_out_ops.sum(1, dtype=np.int64)
    else:
        yield (
            "products",
            "mac",
            "dense",
            _each(recording, operator.outputs * operator.window * operator.steps),
        )
