"""The conventions by name, and how to get from one to another in named steps that sum to the
difference exactly (docs/energy.md).

Every convention is reached from the reference, this package's own synaptic operations, by steps
that are counted on their own: nothing is taken as total after less total before, and there is no
remainder. Between any two others, the steps to the end less those to the start, by name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ahsar_eval.energy.conventions.neurobench import NEUROBENCH
from ahsar_eval.energy.conventions.rate_flops import RATE_FLOPS
from ahsar_eval.energy.conventions.run import Amount, Run
from ahsar_eval.energy.conventions.spikingjelly import SPIKINGJELLY
from ahsar_eval.energy.conventions.steps import REASONS, Convention, ConventionTotals
from ahsar_eval.energy.conventions.synaptic import matmuls, synapses
from ahsar_eval.energy.conventions.syops import SYOPS
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import Recording

REFERENCE = "ahsar-eval"
_OURS = Convention(
    name=REFERENCE,
    rule=(
        "SynOps exact at borders, average pooling folded; dense MACs without padding, a static "
        "image once; layers with weights and matmuls, under the default choices whatever the "
        "account was made under"
    ),
    source="docs/energy.md",
    judges_calls=False,
    parts={"synapses": synapses, "products": matmuls},
)
CONVENTIONS: dict[str, Convention] = {
    one.name: one for one in (_OURS, NEUROBENCH, SPIKINGJELLY, SYOPS, RATE_FLOPS)
}


def convention_of(name: str) -> Convention:
    """A convention by name. Raises `UsageError` that lists the known ones."""
    if name not in CONVENTIONS:
        raise UsageError(f"unknown convention {name!r}; known are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def totals(recording: Recording, name: str, batch_size: int) -> ConventionTotals:
    """MACs and ACs of the whole run, exact, as convention `name` gives them for consecutive batches
    of `batch_size` samples.

    Raises `UsageError` for an unknown name or a batch size below 1, `RecordingError` for a
    recording without shapes and calls.
    """
    return convention_of(name).totals(Run(recording, batch_size))


@dataclass(frozen=True)
class Step:
    """What one difference between two conventions adds to MACs and ACs, over all samples: in
    `whole`, and in the `layers` that it changes.
    """

    name: str
    whole: Amount
    layers: tuple[Amount, ...] = ()

    @property
    def reason(self) -> str:
        """The question on which the two differ."""
        return REASONS[self.name]

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        return any(amount.macs or amount.acs for amount in (self.whole, *self.layers))


@dataclass(frozen=True)
class Reconciliation:
    """The steps from `start` to `end`: start + Σ steps = end, for MACs and ACs, in total and for
    every layer.
    """

    start: ConventionTotals
    end: ConventionTotals
    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        """Steps that change something."""
        return tuple(step for step in self.steps if step.changes)

    def check(self) -> None:
        """Raise `ValueError` where start and steps do not sum to the end: a fault of this package
        or of the recording.
        """
        steps = [amount for step in self.steps for amount in step.layers]
        found = _by_layer([*self.start.per_layer, *steps])
        expected = _by_layer(self.end.per_layer)
        for layer in {**found, **expected}:
            nothing = Amount(layer)
            reached, end = found.get(layer, nothing), expected.get(layer, nothing)
            self._compare(f"layer {layer!r}", reached, end)
        whole = Amount("", self.start.macs, self.start.acs)
        for step in self.steps:
            whole = whole.plus(step.whole)
        self._compare("the whole network", whole, Amount("", self.end.macs, self.end.acs))

    def _compare(self, where: str, reached: Amount, expected: Amount) -> None:
        if (reached.macs, reached.acs) != (expected.macs, expected.acs):
            raise ValueError(
                f"the ledger from {self.start.convention} to {self.end.convention} ends at "
                f"{reached.macs} MACs and {reached.acs} ACs for {where}; expected {expected.macs} "
                f"and {expected.acs}: this is a fault of ahsar-eval or of the recording, please "
                "report it"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping, exact totals over all samples."""
        return {
            "start": self.start.to_dict(),
            "end": self.end.to_dict(),
            "steps": [
                {
                    "name": step.name,
                    "reason": step.reason,
                    **step.whole.totals,
                    "layers": [{"layer": one.layer, **one.totals} for one in step.layers],
                }
                for step in self.changes
            ],
        }


def reconcile(recording: Recording, start: str, end: str, batch_size: int) -> Reconciliation:
    """The steps between two conventions for a run in consecutive batches of `batch_size`, checked.

    Raises `UsageError` for an unknown convention or a batch size below 1, `RecordingError` for a
    recording without shapes and calls.
    """
    run, leaving, arriving = Run(recording, batch_size), convention_of(start), convention_of(end)
    steps = []
    for name in REASONS:
        amounts = [-amount for amount in leaving.steps[name](run)] if name in leaving.steps else []
        if name in arriving.steps:
            amounts += arriving.steps[name](run)
        layers = [one for one in _by_layer(amounts).values() if one.macs or one.acs]
        whole = Amount("")
        for amount in layers:
            whole = whole.plus(amount)
        steps.append(Step(name, whole, tuple(layers)))
    found = Reconciliation(leaving.totals(run), arriving.totals(run), tuple(steps))
    found.check()
    return found


def pair_of(text: str) -> tuple[str, str]:
    """'START:END' as two names of conventions; an empty side stands for the reference. Raises
    `UsageError` for anything else.
    """
    parts = text.split(":")
    if len(parts) != 2:
        raise UsageError(
            f"{text!r} names no two conventions; expected START:END, such as "
            f"{REFERENCE}:spikingjelly"
        )
    start, end = (convention_of(part or REFERENCE).name for part in parts)
    return start, end


def _by_layer(amounts: Iterable[Amount]) -> dict[str, Amount]:
    layers: dict[str, Amount] = {}
    for amount in amounts:
        layers[amount.layer] = layers.get(amount.layer, Amount(amount.layer)).plus(amount)
    return layers
