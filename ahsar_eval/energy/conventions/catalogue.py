"""The conventions by name, and the totals of a recording under one of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ahsar_eval.energy.conventions import neurobench, rate_flops, spikingjelly, synaptic, syops
from ahsar_eval.energy.conventions.run import Amount, Run
from ahsar_eval.energy.conventions.totals import ConventionTotals, Counted, summed
from ahsar_eval.errors import UsageError
from ahsar_eval.recording import Recording


@dataclass(frozen=True)
class Convention:
    """A way to count: `count` gives its rows for a run, `walk` the steps from the hub (ahsar-eval)
    to it, each from counts of its own.

    `judges_calls` says whether values decide, call by call, what is a MAC and what an AC: the
    result then depends on the batch size.
    """

    name: str
    rule: str
    source: str
    judges_calls: bool
    count: Callable[[Run], Counted]
    walk: Mapping[str, Callable[[Run], Iterator[Amount]]] = field(default_factory=dict)


HUB = "ahsar-eval"
CONVENTIONS: dict[str, Convention] = {
    HUB: Convention(
        HUB,
        "SynOps exact at borders, average pooling folded; dense MACs without padding, a static "
        "image once; layers with weights and "
        "matmuls, under the default choices whatever the account was made under",
        "docs/energy.md",
        False,
        synaptic.count,
    ),
    "neurobench": Convention(
        "neurobench",
        "products of inputs and weights that are not zero, padding excluded; ACs where a whole "
        "call holds only −1, 0 and 1",
        "NeuroBench 2.3.0, Effective_MACs and Effective_ACs",
        True,
        neurobench.count,
        neurobench.WALK,
    ),
    "spikingjelly": Convention(
        "spikingjelly",
        "framework calls: ACs where an operand holds only 0 and 1, else MACs with padding; batch "
        "norm, additions, pooling, neurons",
        "SpikingJelly 2.0, MACCounter, ACCounter and SynOpCounter",
        True,
        spikingjelly.count,
        spikingjelly.WALK,
    ),
    "syops": Convention(
        "syops",
        "mean value × all products of a call with at most two values in [0, 1] as ACs, else MACs; "
        "biases, batch norm, pooling, neurons",
        "syops-counter, rules of syops/ops.py",
        True,
        syops.count,
        syops.WALK,
    ),
    "rate-flops": Convention(
        "rate-flops",
        "mean firing rate × dense FLOPs (padding included) × T; the first layer once as MACs; "
        "layers with weights alone",
        "common in papers",
        False,
        rate_flops.count,
        rate_flops.WALK,
    ),
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
    return totals_of(Run(recording, batch_size), name)


def totals_of(run: Run, name: str) -> ConventionTotals:
    """`totals` of a run that is at hand."""
    convention = convention_of(name)
    counted = convention.count(run)
    notes = [*counted.notes]
    if convention.judges_calls:
        notes.append(
            f"Calls are judged as a whole, so the numbers hold for batches of {run.batch_size}."
        )
    listed = [f"{entry.name} ({entry.reason})" for entry in run.recording.uncounted]
    if listed:
        notes.append(f"Not in these numbers: {'; '.join(listed)}.")
    return summed(
        name,
        Counted(counted.rows, counted.extra, notes),
        samples=run.samples,
        batch_size=run.batch_size,
    )
