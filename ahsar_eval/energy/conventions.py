"""The conventions by name, and how to get from one to another in named steps that sum to the
difference exactly (docs/energy.md).

Every convention is reached from the reference, this package's own synaptic operations, by steps
that are counted on their own: nothing is taken as total after less total before, and there is no
remainder. Between any two others, the steps to the end less those to the start, by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ahsar_eval.energy.calls import Amount, Number, Rules, Run, by_layer, json_number, summed
from ahsar_eval.energy.counters import (
    Count,
    by_calls,
    change,
    dense,
    dense_products,
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
    of_layers,
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
OF_PARTS = _TEXTS["steps_of_parts"]


@dataclass(frozen=True)
class Convention:
    """A way to count: `parts` give the amounts of a run, by what they are for; `steps` lead from
    the synapses of the reference (ahsar-eval) to its own, each from counts of its own.

    `judges_calls` says whether values decide, call by call, what is a MAC and what an AC, by
    `rules`: the result then depends on the batch size. `extra` are further numbers that the tool
    prints beside them; `notes` what a reader must know, and `exception` what of the layers or
    operations that `excepted` names in this run.
    """

    rule: str
    source: str
    parts: Mapping[str, Count]
    steps: Mapping[str, Count] = field(default_factory=dict)
    judges_calls: bool = True
    rules: Rules = Rules()
    extra: Callable[[Run, Sequence[Amount]], Mapping[str, Number]] = lambda run, amounts: {}
    notes: Sequence[str] = ()
    exception: str = ""
    excepted: Callable[[Run], Sequence[str]] = lambda run: ()


def _dense(run: Run, amounts: Sequence[Amount]) -> Mapping[str, Number]:
    """NeuroBench's number for all inputs and weights."""
    return {"Dense": sum(one.macs for one in of_layers(dense_products)(run))}


def _synops(run: Run, amounts: Sequence[Amount]) -> Mapping[str, Number]:
    """SpikingJelly's ACs of convolutions and matrix products alone."""
    return {"SynOps": sum(one.acs for one in amounts if one.part in ("synapses", "products"))}


def _in_place(run: Run) -> Sequence[str]:
    """Additions that overwrite their first operand, of which the operands were kept."""
    added = [one for one in run.recording.operators if one.kind == ADDITION and one.operands]
    return [one.name for one in added if one.type.endswith("_")]


def _unknown_neurons(run: Run) -> Sequence[str]:
    """Spiking layers of types without a rule."""
    return [layer.name for layer, model in run.neurons() if not model.known]


REFERENCE = "ahsar-eval"
# Layers with weights, call by call: MACs of values, ACs of spikes.
_USED, _LIVE = by_calls(uses, uses), by_calls(live_uses, live_uses)
_BY_VALUE, _BY_RATE = by_calls(products, uses), by_calls(products, rates)
# In place of the reference, and of counts without padding.
_AS_VALUES, _AT_RATE = change(synaptic, dense_products), change(synaptic, rate_flops)
_PADDING = of_layers(change(by_calls(dense, uses), _BY_VALUE))
# Counters that judge every call by its values first take all but spikes for values, then each call
# that holds spikes by their rule for spikes: dense products of the one, inputs that are not zero of
# the other.
_JUDGED: dict[str, Count] = {
    "steps of the first layer": of_layers(_AS_VALUES, "analog"),
    "average pooling before weights": of_layers(_AS_VALUES, "pooled spikes"),
    "integer spikes": of_layers(_AS_VALUES, "integer spikes"),
    "calls judged by their values": judged_by_values,
}
CONVENTIONS = {
    REFERENCE: Convention(
        **_TOLD[REFERENCE],
        judges_calls=False,
        parts={"synapses": of_layers(synaptic), "products": matmuls},
    ),
    "neurobench": Convention(
        **_TOLD["neurobench"],
        rules=Rules(spikes="signed", transposed=False),
        parts={"synapses": of_layers(_LIVE)},
        steps={
            "layers without a rule": without_transposed,
            **_JUDGED,
            "zero inputs": of_layers(change(by_calls(dense, uses), _USED)),
            "zero weights": of_layers(change(_USED, _LIVE)),
        },
        extra=_dense,
        excepted=lambda run: [one.layer for one in without_transposed(run)],
    ),
    "spikingjelly": Convention(
        **_TOLD["spikingjelly"],
        rules=Rules(spikes="binary"),
        parts={
            "synapses": of_layers(_BY_VALUE),
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
        excepted=_in_place,
    ),
    "syops": Convention(
        **_TOLD["syops"],
        rules=Rules(spikes="two_valued", products=syops_products),
        parts={
            "synapses": of_layers(_BY_RATE),
            "bias": syops_biases,
            "normalisation": syops_batch_norms,
            "pooling": syops_poolings,
            "neurons": syops_neurons,
        },
        steps={
            **_JUDGED,
            "products on padding": _PADDING,
            "mean rates": of_layers(change(_BY_VALUE, _BY_RATE)),
        },
        excepted=_unknown_neurons,
    ),
    "rate-flops": Convention(
        **_TOLD["rate-flops"],
        judges_calls=False,
        parts={"synapses": of_layers(rate_flops)},
        steps={
            "average pooling before weights": of_layers(_AT_RATE, "pooled spikes"),
            "products on padding": of_layers(_AT_RATE, "analog"),
            "mean rates": of_layers(_AT_RATE, "spikes", "integer spikes"),
        },
    ),
}


def convention_of(name: str) -> Convention:
    """A convention by name. Raises `UsageError` that lists the known ones."""
    if name not in CONVENTIONS:
        raise UsageError(f"unknown convention {name!r}; known are {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def _amounts(run: Run, convention: Convention) -> list[Amount]:
    """What the convention counts of a run, by layer and part."""
    return [
        one._replace(part=part) for part, count in convention.parts.items() for one in count(run)
    ]


def totals(recording: Recording, name: str, batch_size: int) -> dict[str, Any]:
    """MACs and ACs of the whole run as convention `name` gives them for consecutive batches of
    `batch_size` samples, JSON-ready: per inference as numbers, totals exact (fractions as
    'numerator/denominator').

    Raises `UsageError` for an unknown name or a batch size below 1, `RecordingError` for a
    recording without shapes and calls.
    """
    convention = convention_of(name)
    run = Run(recording, batch_size, convention.rules)
    amounts = _amounts(run, convention)
    notes = [*convention.notes]
    if excepted := convention.excepted(run):
        notes.append(convention.exception.format(", ".join(excepted)))
    if convention.judges_calls:
        notes.append(
            f"Calls are judged as a whole, so the numbers hold for batches of {batch_size}."
        )
    listed = [f"{one.name} ({one.reason})" for one in recording.uncounted]
    if listed:
        notes.append(f"Not in these numbers: {'; '.join(listed)}.")
    whole = summed(amounts)
    extra = convention.extra(run, amounts).items()
    return {
        "convention": name,
        "samples": run.samples,
        "batch_size": batch_size,
        "macs_per_inference": float(Fraction(whole.macs, run.samples)),
        "acs_per_inference": float(Fraction(whole.acs, run.samples)),
        **whole.totals,
        "extra_total": {what: json_number(number) for what, number in extra},
        "layers": [
            {"layer": one.layer, "part": one.part, **one.totals}
            for one in amounts
            if one.macs or one.acs
        ],
        "notes": notes,
    }


def reconcile(recording: Recording, start: str, end: str, batch_size: int) -> dict[str, Any]:
    """The ledger between two conventions for a run in consecutive batches of `batch_size`: totals
    of `start` and `end` and the `steps` that change something, each with the amounts of the layers
    that it changes, exact and JSON-ready. start + Σ steps = end, for MACs and ACs, in every layer
    and so in total.

    Raises `UsageError` for an unknown convention or a batch size below 1, `RecordingError` for a
    recording without shapes and calls, and `ValueError` where start and steps do not sum to the end
    in every layer: a fault of this package or of the recording.
    """
    steps: dict[str, list[Amount]] = {name: [] for name in REASONS}
    left: list[Amount] = []
    for name, sign in ((start, -1), (end, 1)):
        convention = convention_of(name)
        run = Run(recording, batch_size, convention.rules)
        for step, count in convention.steps.items():
            steps[step] += [one.times(sign) for one in count(run)]
        for one in _amounts(run, convention):
            left.append(one.times(-sign))
            if one.part != "synapses":
                steps[OF_PARTS.get(one.part, one.part)].append(one.times(sign))
    for layer in by_layer([*left, *(one for amounts in steps.values() for one in amounts)]):
        raise ValueError(
            f"the ledger from {start} to {end} does not end at what {end} counts for layer "
            f"{layer.layer!r}, by {layer.macs} MACs and {layer.acs} ACs: this is a fault of "
            "ahsar-eval or of the recording, please report it"
        )
    return {
        "start": totals(recording, start, batch_size),
        "end": totals(recording, end, batch_size),
        "steps": [
            {
                "name": name,
                "reason": REASONS[name],
                **summed(layers).totals,
                "layers": [{"layer": one.layer, **one.totals} for one in layers],
            }
            for name, amounts in steps.items()
            if (layers := by_layer(amounts))
        ],
    }
