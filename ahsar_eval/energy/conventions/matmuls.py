"""Products of two tensors of the network itself, as in attention: by declared kinds (the hub) and
by what a call received.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.conventions.run import Amount, Run
from ahsar_eval.errors import RecordingError
from ahsar_eval.recording import OperatorActivity
from ahsar_eval.recording.activity import MATMUL

BOTH, LEFT, RIGHT, NEITHER = "both", "left", "right", "neither"


def declared(operator: OperatorActivity, run: Run) -> Amount:
    """By the kinds of the operands: coincidences of two spikes, uses of the one that spikes, else
    dense multiply-accumulates.
    """
    return _amount(operator, run, _declared_class(operator), None)


def by_value(operator: OperatorActivity, run: Run) -> Amount:
    """By the values of each call: whichever operand holds nothing but 0 and 1 in that call counts
    as spikes.
    """
    parts = [_amount(operator, run, found, where) for found, where in _classes(operator, run)]
    return Amount(operator.name, sum(part.macs for part in parts), sum(part.acs for part in parts))


def judged(run: Run) -> Iterator[Amount]:
    """What the calls that are of another class by their values than by their kinds add and take
    away.
    """
    for operator in run.operators(MATMUL):
        kind = _declared_class(operator)
        for found, where in _classes(operator, run):
            if found != kind:
                taken, given = (
                    _amount(operator, run, kind, where),
                    _amount(operator, run, found, where),
                )
                yield Amount(operator.name, given.macs - taken.macs, given.acs - taken.acs)


def left_out(run: Run) -> Iterator[Amount]:
    """All matmuls of the hub taken away."""
    for operator in run.operators(MATMUL):
        amount = declared(operator, run)
        yield Amount(amount.layer, -amount.macs, -amount.acs)


def _declared_class(operator: OperatorActivity) -> str:
    if len(operator.operand_kinds) != 2:
        return NEITHER
    left, right = (kind == "spikes" for kind in operator.operand_kinds)
    return {(True, True): BOTH, (True, False): LEFT, (False, True): RIGHT}.get(
        (left, right), NEITHER
    )


def _classes(
    operator: OperatorActivity, run: Run
) -> Iterator[tuple[str, NDArray[np.bool_] | None]]:
    if not operator.operands:
        yield NEITHER, None
        return
    left, right = (run.calls(operand).binary for operand in operator.operands)
    for name, where in (
        (BOTH, left & right),
        (LEFT, left & ~right),
        (RIGHT, ~left & right),
        (NEITHER, ~left & ~right),
    ):
        if where.any():
            yield name, where


def _amount(
    operator: OperatorActivity, run: Run, found: str, where: NDArray[np.bool_] | None
) -> Amount:
    """The calls marked in `where` [B, C] (None: all) counted as class `found`."""
    if found == BOTH:
        if operator.coincidences is None:
            raise RecordingError(
                f"the recording holds no coincidences of {operator.name!r}; record the network "
                "again"
            )
        together = run.summed(operator.coincidences)
        return Amount(operator.name, 0, int((together if where is None else together[where]).sum()))
    if found == NEITHER:
        products = operator.outputs * operator.window
        if where is None:
            return Amount(operator.name, products * operator.steps * run.samples, 0)
        return Amount(
            operator.name,
            products * int((run.sizes[:, None] * where).sum()) * (operator.steps // where.shape[1]),
            0,
        )
    uses = run.calls(operator.operands[0 if found == LEFT else 1]).uses
    return Amount(operator.name, 0, int((uses if where is None else uses[where]).sum()))
