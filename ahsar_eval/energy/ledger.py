"""From one convention to another in named steps that sum to the difference exactly
(docs/energy.md).

Every convention is reached from the hub, this package's own synaptic operations, by steps that are
counted on their own: nothing is taken as total after less total before, and there is no remainder.
Between any two others, the steps to the end less those to the start, by name.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ahsar_eval.energy.conventions import (
    HUB,
    Amount,
    ConventionTotals,
    LayerTotals,
    Number,
    Run,
    convention_of,
    json_number,
    totals_of,
)
from ahsar_eval.energy.conventions.names import REASONS
from ahsar_eval.energy.conventions.run import plain
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import Recording


@dataclass(frozen=True)
class Step:
    """What one difference between two conventions adds to MACs and ACs, over all samples; `layers`
    holds those that it changes.
    """

    name: str
    reason: str
    macs: Number
    acs: Number
    layers: tuple[Amount, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """The walk from `start` to `end`: start + Σ steps = end, for MACs and ACs, in total and for
    every layer.
    """

    start: ConventionTotals
    end: ConventionTotals
    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        """Steps that change something."""
        return tuple(
            step
            for step in self.steps
            if step.macs or step.acs or any(amount.macs or amount.acs for amount in step.layers)
        )

    def check(self) -> None:
        """Raise `ValueError` where start and steps do not sum to the end: a fault of this package
        or of the recording.
        """
        found, expected = _by_layer(self.start), _by_layer(self.end)
        for step in self.steps:
            for amount in step.layers:
                found[amount.layer] = _plus(
                    found.get(amount.layer, (0, 0)), (amount.macs, amount.acs)
                )
        for layer in {**found, **expected}:
            _compare(
                self, f"layer {layer!r}", found.get(layer, (0, 0)), expected.get(layer, (0, 0))
            )
        total = (self.start.macs, self.start.acs)
        for step in self.steps:
            total = _plus(total, (step.macs, step.acs))
        _compare(self, "the whole network", total, (self.end.macs, self.end.acs))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping, exact totals over all samples."""
        return {
            "start": self.start.to_dict(),
            "end": self.end.to_dict(),
            "steps": [
                {
                    "name": step.name,
                    "reason": step.reason,
                    "macs_total": json_number(step.macs),
                    "acs_total": json_number(step.acs),
                    "layers": [
                        {
                            "layer": amount.layer,
                            "macs_total": json_number(amount.macs),
                            "acs_total": json_number(amount.acs),
                        }
                        for amount in step.layers
                    ],
                }
                for step in self.changes
            ],
        }


def ledger(recording: Recording, start: str, end: str, batch_size: int) -> Ledger:
    """The walk between two conventions for a run in consecutive batches of `batch_size`, checked.

    Raises `UsageError` for an unknown convention or a batch size below 1, `RecordingError` for a
    recording without shapes and calls.
    """
    run = Run(recording, batch_size)
    leaving, arriving = (_walked(name, run) for name in (start, end))
    steps = []
    for name, reason in REASONS.items():
        layers = {layer: _minus((0, 0), amount) for layer, amount in leaving.get(name, {}).items()}
        for layer, amount in arriving.get(name, {}).items():
            layers[layer] = _plus(layers.get(layer, (0, 0)), amount)
        changed = tuple(Amount(layer, *amount) for layer, amount in layers.items() if any(amount))
        macs, acs = (
            plain(sum((each.macs for each in changed), 0)),
            plain(sum((each.acs for each in changed), 0)),
        )
        steps.append(Step(name, reason, macs, acs, changed))
    found = Ledger(totals_of(run, start), totals_of(run, end), tuple(steps))
    found.check()
    return found


def pair_of(text: str) -> tuple[str, str]:
    """'START:END' as two names of conventions; an empty side stands for the hub. Raises
    `UsageError` for anything else.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise UsageError(
            f"{text!r} names no two conventions; expected START:END, such as {HUB}:spikingjelly"
        )
    start, end = (convention_of(part or HUB).name for part in parts)
    return start, end


def _walked(name: str, run: Run) -> Mapping[str, Mapping[str, tuple[Number, Number]]]:
    """Step → layer → MACs and ACs, from the hub."""
    found: dict[str, dict[str, tuple[Number, Number]]] = {}
    for step, walk in convention_of(name).walk.items():
        layers: dict[str, tuple[Number, Number]] = defaultdict(lambda: (0, 0))
        for amount in walk(run):
            layers[amount.layer] = _plus(layers[amount.layer], (amount.macs, amount.acs))
        found[step] = layers
    return found


def _by_layer(found: ConventionTotals) -> dict[str, tuple[Number, Number]]:
    layers: dict[str, tuple[Number, Number]] = {}
    row: LayerTotals
    for row in found.per_layer:
        layers[row.layer] = _plus(layers.get(row.layer, (0, 0)), (row.macs, row.acs))
    return layers


def _plus(a: tuple[Number, Number], b: tuple[Number, Number]) -> tuple[Number, Number]:
    return plain(a[0] + b[0]), plain(a[1] + b[1])


def _minus(a: tuple[Number, Number], b: tuple[Number, Number]) -> tuple[Number, Number]:
    return plain(a[0] - b[0]), plain(a[1] - b[1])


def _compare(
    found: Ledger, where: str, reached: tuple[Number, Number], expected: tuple[Number, Number]
) -> None:
    if reached != expected:
        raise ValueError(
            f"the ledger from {found.start.convention} to {found.end.convention} ends at "
            f"{reached[0]} MACs and {reached[1]} ACs for "
            f"{where}; expected {expected[0]} and {expected[1]}: this is a fault of ahsar-eval or "
            "of the recording, please report it"
        )
