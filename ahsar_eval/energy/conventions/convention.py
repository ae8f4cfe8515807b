"""What a convention is: a way to count a run, by parts, and the steps from the reference to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ahsar_eval.energy.conventions.run import Amount, Number, Run, json_number, plain
from ahsar_eval.energy.conventions.steps import Count


@dataclass(frozen=True)
class Convention:
    """A way to count: `parts` give the amounts of a run, by what they are for; `steps` lead from
    the reference (ahsar-eval) to it, each from counts of its own.

    `judges_calls` says whether values decide, call by call, what is a MAC and what an AC: the
    result then depends on the batch size. `extra` are further numbers that the tool prints beside
    them, `notes` what a reader of this run must know.
    """

    name: str
    rule: str
    source: str
    judges_calls: bool
    parts: Mapping[str, Count]
    steps: Mapping[str, Count] = field(default_factory=dict)
    extra: Callable[[Run, Sequence[Amount]], Mapping[str, Number]] = lambda run, amounts: {}
    notes: Callable[[Run], Sequence[str]] = lambda run: ()

    def totals(self, run: Run) -> "ConventionTotals":
        """MACs and ACs of the whole run, exact.

        Raises `RecordingError` for a recording without shapes and calls.
        """
        amounts = [
            Amount(layer, plain(macs), plain(acs), part)
            for part, count in self.parts.items()
            for layer, macs, acs, _ in count(run)
        ]
        notes = [*self.notes(run)]
        if self.judges_calls:
            notes.append(
                f"Calls are judged as a whole, so the numbers hold for batches of {run.batch_size}."
            )
        listed = [f"{one.name} ({one.reason})" for one in run.recording.uncounted]
        if listed:
            notes.append(f"Not in these numbers: {'; '.join(listed)}.")
        return ConventionTotals(
            convention=self.name,
            macs=plain(sum((amount.macs for amount in amounts), 0)),
            acs=plain(sum((amount.acs for amount in amounts), 0)),
            extra=self.extra(run, amounts),
            per_layer=tuple(amount for amount in amounts if amount.macs or amount.acs),
            notes=tuple(notes),
            samples=run.samples,
            batch_size=run.batch_size,
        )


@dataclass(frozen=True)
class ConventionTotals:
    """MACs and ACs of a whole run of `samples` samples in batches of `batch_size` under one
    convention, integers or exact fractions.
    """

    convention: str
    macs: Number
    acs: Number
    extra: Mapping[str, Number]
    per_layer: tuple[Amount, ...]
    notes: tuple[str, ...]
    samples: int
    batch_size: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping: per inference as numbers, totals exact (fractions as
        'numerator/denominator').
        """
        return {
            "convention": self.convention,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "macs_per_inference": float(Fraction(self.macs) / self.samples),
            "acs_per_inference": float(Fraction(self.acs) / self.samples),
            **Amount("", self.macs, self.acs).totals,
            "extra_total": {name: json_number(value) for name, value in self.extra.items()},
            "layers": [
                {"layer": amount.layer, "part": amount.part, **amount.totals}
                for amount in self.per_layer
            ],
            "notes": list(self.notes),
        }
