"""The conventions by name, and how to get from one to another in named steps that sum to the
difference exactly (docs/energy.md).

Every convention is reached from the reference, this package's own synaptic operations, by steps
that are counted on their own: nothing is taken as total after less total before, and there is no
remainder. Between any two others, the steps to the end less those to the start, by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

from ahsar_eval.energy.calls import Amount, Number, Rules, Run, by_layer, json_number, summed
from ahsar_eval.energy.counters import (
    Count,
    by_calls,
    change,
    dense,
    dense_products,
    each,
    instead,
    jelly_additions,
    jelly_batch_norms,
    jelly_biases,
    jelly_means,
    jelly_neurons,
    jelly_poolings,
    judged_by_values,
    live_uses,
    matmuls,
    matmuls_by_value,
    products,
    rate_flops,
    rates,
    synaptic,
    syops_batch_norms,
    syops_biases,
    syops_neurons,
    syops_poolings,
    syops_products,
    uses,
    without_transposed,
)
from ahsar_eval.errors import UsageError
from ahsar_eval.files import table_beside
from ahsar_eval.recording import Recording
from ahsar_eval.recording.activity import ADDITION

_TEXTS = table_beside(__file__, "conventions.toml")
REASONS: dict[str, str] = _TEXTS["reasons"]  # by step, in the order in which they are taken
_TOLD = _TEXTS["conventions"]  # the rule and the source of each
# What the steps between the parts of two conventions are called, where not as the part itself.
OF_PARTS = {
    "products": "matmuls",
    "bias": "biases",
    "normalisation": "batch norm",
    "residual": "residual additions",
}


@dataclass(frozen=True)
class Convention:
    """A way to count: `parts` give the amounts of a run, by what they are for; `steps` lead from
    the synapses of the reference (ahsar-eval) to its own, each from counts of its own.

    `judges_calls` says whether values decide, call by call, what is a MAC and what an AC, by
    `rules`: the result then depends on the batch size. `extra` are further numbers that the tool
    prints beside them, `notes` what a reader of this run must know.
    """

    rule: str
    source: str
    parts: Mapping[str, Count]
    steps: Mapping[str, Count] = field(default_factory=dict)
    judges_calls: bool = True
    rules: Rules = Rules()
    extra: Callable[[Run, Sequence[Amount]], Mapping[str, Number]] = lambda run, amounts: {}
    notes: Callable[[Run], Sequence[str]] = lambda run: ()


def _dense(run: Run, amounts: Sequence[Amount]) -> Mapping[str, Number]:
    """NeuroBench's number for all inputs and weights."""
    return {"Dense": sum(layer.dense * layer.sample_steps for layer in run.layers)}


def _neurobench_notes(run: Run) -> list[str]:
    told = [
        "NeuroBench adds up in float32: of large networks or batches its own number is rounded "
        "where this one is exact."
    ]
    left = [amount.layer for amount in without_transposed(run)]
    if left:
        told.append(f"NeuroBench knows no transposed convolution and leaves out {', '.join(left)}.")
    return told


def _synops(run: Run, amounts: Sequence[Amount]) -> Mapping[str, Number]:
    """SpikingJelly's ACs of convolutions and matrix products alone."""
    return {"SynOps": sum(one.acs for one in amounts if one.part in ("synapses", "products"))}


def _jelly_notes(run: Run) -> list[str]:
    in_place = [
        one.name
        for one in run.recording.operators
        if one.kind == ADDITION and one.type.endswith("_") and one.operands
    ]
    if not in_place:
        return []
    return [
        "SpikingJelly looks at the first operand of an addition in place when it already holds the "
        f"sum; for {', '.join(in_place)} the operands as they were are counted here."
    ]


def _syops_notes(run: Run) -> list[str]:
    told = [
        "What enters spiking layers and normalisations is taken as analog.",
        "By the rule of syops/ops.py; the package does not run.",
    ]
    unknown = [layer.name for layer, model in run.neurons() if not model.known]
    if unknown:
        told.append(f"Spiking layers of types without a rule are left out: {', '.join(unknown)}.")
    return told


REFERENCE = "ahsar-eval"
# Counters that judge every call by its values first take all but spikes for values, then each call
# that holds spikes by their rule for spikes: dense products of the one, inputs that are not zero of
# the other.
_JUDGED: dict[str, Count] = {
    "steps of the first layer": partial(instead, dense_products, ["analog"]),
    "average pooling before weights": partial(instead, dense_products, ["pooled spikes"]),
    "integer spikes": partial(instead, dense_products, ["integer spikes"]),
    "calls judged by their values": judged_by_values,
}
_PADDING: Count = partial(change, (dense, uses), (products, uses))
CONVENTIONS = {
    REFERENCE: Convention(
        **_TOLD[REFERENCE],
        judges_calls=False,
        parts={"synapses": partial(each, synaptic), "products": matmuls},
    ),
    "neurobench": Convention(
        **_TOLD["neurobench"],
        rules=Rules(spikes="signed", transposed=False),
        parts={"synapses": partial(by_calls, live_uses, live_uses)},
        steps={
            "layers without a rule": without_transposed,
            **_JUDGED,
            "zero inputs": partial(change, (dense, uses), (uses, uses)),
            "zero weights": partial(change, (uses, uses), (live_uses, live_uses)),
        },
        extra=_dense,
        notes=_neurobench_notes,
    ),
    "spikingjelly": Convention(
        **_TOLD["spikingjelly"],
        rules=Rules(spikes="binary"),
        parts={
            "synapses": partial(by_calls, products, uses),
            "products": matmuls_by_value,
            "bias": jelly_biases,
            "normalisation": jelly_batch_norms,
            "pooling": jelly_poolings,
            "means": jelly_means,
            "residual": jelly_additions,
            "neurons": jelly_neurons,
        },
        steps={
            **_JUDGED,
            "products on padding": _PADDING,
        },
        extra=_synops,
        notes=_jelly_notes,
    ),
    "syops": Convention(
        **_TOLD["syops"],
        rules=Rules(spikes="two_valued", products=syops_products),
        parts={
            "synapses": partial(by_calls, products, rates),
            "bias": syops_biases,
            "normalisation": syops_batch_norms,
            "pooling": syops_poolings,
            "neurons": syops_neurons,
        },
        steps={
            **_JUDGED,
            "products on padding": _PADDING,
            "mean rates": partial(change, (products, uses), (products, rates)),
        },
        notes=_syops_notes,
    ),
    "rate-flops": Convention(
        **_TOLD["rate-flops"],
        judges_calls=False,
        parts={"synapses": partial(each, rate_flops)},
        steps={
            "average pooling before weights": partial(instead, rate_flops, ["pooled spikes"]),
            "products on padding": partial(instead, rate_flops, ["analog"]),
            "mean rates": partial(instead, rate_flops, ["spikes", "integer spikes"]),
        },
    ),
}


def convention_of(name: str) -> Convention:
    """A convention by name. Raises `UsageError` that lists the known ones."""
    if name not in CONVENTIONS:
        raise UsageError(f"unknown convention {name!r}; known are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


@dataclass(frozen=True)
class Totals:
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
            **{name: getattr(self, name) for name in ("convention", "samples", "batch_size")},
            "macs_per_inference": float(Fraction(self.macs, self.samples)),
            "acs_per_inference": float(Fraction(self.acs, self.samples)),
            **Amount("", self.macs, self.acs).totals,
            "extra_total": {name: json_number(value) for name, value in self.extra.items()},
            "layers": [
                {"layer": one.layer, "part": one.part, **one.totals}
                for one in self.per_layer
                if one.macs or one.acs
            ],
            "notes": list(self.notes),
        }


def totals(recording: Recording, name: str, batch_size: int) -> Totals:
    """MACs and ACs of the whole run, exact, as convention `name` gives them for consecutive batches
    of `batch_size` samples.

    Raises `UsageError` for an unknown name or a batch size below 1, `RecordingError` for a
    recording without shapes and calls.
    """
    convention = convention_of(name)
    run = Run(recording, batch_size, convention.rules)
    amounts = [
        one._replace(part=part) for part, count in convention.parts.items() for one in count(run)
    ]
    notes = [*convention.notes(run)]
    if convention.judges_calls:
        notes.append(
            f"Calls are judged as a whole, so the numbers hold for batches of {batch_size}."
        )
    listed = [f"{one.name} ({one.reason})" for one in recording.uncounted]
    if listed:
        notes.append(f"Not in these numbers: {'; '.join(listed)}.")
    whole = summed(amounts)
    return Totals(
        convention=name,
        macs=whole.macs,
        acs=whole.acs,
        extra=convention.extra(run, amounts),
        per_layer=tuple(amounts),
        notes=tuple(notes),
        samples=run.samples,
        batch_size=batch_size,
    )


@dataclass(frozen=True)
class Ledger:
    """The steps from `start` to `end`, each with the amounts of the layers that it changes: start +
    Σ steps = end, for MACs and ACs, in every layer and so in total.
    """

    start: Totals
    end: Totals
    steps: Mapping[str, Sequence[Amount]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping, exact totals over all samples, of steps that change something."""
        return {
            "start": self.start.to_dict(),
            "end": self.end.to_dict(),
            "steps": [
                {
                    "name": name,
                    "reason": REASONS[name],
                    **summed(layers).totals,
                    "layers": [{"layer": one.layer, **one.totals} for one in layers],
                }
                for name, layers in self.steps.items()
                if layers
            ],
        }


def reconcile(recording: Recording, start: str, end: str, batch_size: int) -> Ledger:
    """The steps between two conventions for a run in consecutive batches of `batch_size`.

    Raises `UsageError` for an unknown convention or a batch size below 1, `RecordingError` for a
    recording without shapes and calls, and `ValueError` where start and steps do not sum to the end
    in every layer: a fault of this package or of the recording.
    """
    ends = [totals(recording, name, batch_size) for name in (start, end)]
    steps: dict[str, list[Amount]] = {name: [] for name in REASONS}
    for found, sign in zip(ends, (-1, 1), strict=True):
        convention = convention_of(found.convention)
        run = Run(recording, batch_size, convention.rules)
        for name, count in convention.steps.items():
            steps[name] += [one.times(sign) for one in count(run)]
        for one in found.per_layer:
            if one.part != "synapses":
                steps[OF_PARTS.get(one.part, one.part)].append(one.times(sign))
    changes = [one for amounts in steps.values() for one in amounts]
    left = [*ends[0].per_layer, *changes, *(one.times(-1) for one in ends[1].per_layer)]
    for layer in by_layer(left):
        raise ValueError(
            f"the ledger from {start} to {end} does not end at what {end} counts for layer "
            f"{layer.layer!r}, by {layer.macs} MACs and {layer.acs} ACs: this is a fault of "
            "ahsar-eval or of the recording, please report it"
        )
    return Ledger(ends[0], ends[1], {name: by_layer(amounts) for name, amounts in steps.items()})
