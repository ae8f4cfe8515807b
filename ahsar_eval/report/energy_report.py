"""The energy result as a reader wants it: one line per layer, checkpoints side by side in the
totals.
"""

from collections.abc import Sequence
from typing import Any

from ahsar_eval.energy import EnergyResult
from ahsar_eval.energy.curve import accuracy_per_uj
from ahsar_eval.results.document import Table
from ahsar_eval.results.tables import cell

LAYER_HEADER = [
    "layer",
    "input",
    "rate in",
    "SynOps (AC)",
    "MACs",
    "neuron updates",
    "pJ synapses",
    "pJ neurons",
    "pJ other",
    "pJ total",
]
NEURON_HEADER = ["spiking layer", "neurons", "threshold", "rate", "spikes", "updates", "pJ"]
TOTAL_HEADER = [
    "checkpoint",
    "accuracy",
    "mean rate",
    "SynOps (AC)",
    "MACs",
    "nJ synapses",
    "nJ neurons",
    "nJ other",
    "nJ per inference",
    "± sd over samples",
]
BESIDE_HEADER = [
    "checkpoint",
    "nJ, 5–95 % of samples",
    "accuracy per µJ",
    "spikes per synapse",
    "MACs of the ANN",
    "nJ of the ANN",
    "SNN / ANN",
]
BREAK_EVEN_HEADER = [
    "checkpoint",
    "published break-even point",
    "against",
    "limit",
    "here",
    "below it",
]


def energy_tables(results: Sequence[EnergyResult], *, detail: bool = False) -> list[Table]:
    """Layers and neurons of every network, then totals, what stands beside them and every kind of
    operation; all under one profile.

    `detail` adds the published break-even points.
    """
    tables = []
    for result in results:
        title = f"{result.checkpoint} on {result.data}, thresholds: {result.thresholds}"
        tables += [
            Table(title, LAYER_HEADER, layer_table(result)),
            Table("", NEURON_HEADER, neuron_table(result)),
        ]
    first = results[0]
    title = f"per inference on {first.data} (n = {first.n}), {first.profile}"
    tables.append(Table(title, TOTAL_HEADER, total_table(results), best_cells(results)))
    tables.append(
        Table("samples, synapses and the ANN, per inference", BESIDE_HEADER, beside_table(results))
    )
    tables.append(
        Table(
            "operations per inference",
            ["operation", *map(network_of, results)],
            operation_table(results),
        )
    )
    if detail and any(result.break_even for result in results):
        tables.append(
            Table("published break-even points", BREAK_EVEN_HEADER, break_even_table(results))
        )
    return tables


def layer_table(result: EnergyResult) -> list[list[str]]:
    """Body of the per-layer table: layers with weights, operations without, the spiking layers
    together, and the total.
    """
    body = [
        [
            layer.name,
            layer.input,
            cell(layer.input_rate),
            f"{layer.acs:,.1f}",
            f"{layer.macs:,.0f}",
            "–",
            _pj(layer.synaptic_pj),
            "–",
            _pj(layer.other_pj),
            _pj(layer.energy_pj),
        ]
        for layer in result.layers
    ]
    body += [
        [
            operator.name,
            operator.part,
            "–",
            f"{operator.acs:,.1f}" if operator.acs else "–",
            f"{operator.macs:,.0f}" if operator.macs else "–",
            *["–"] * 3,
            _pj(operator.energy_pj),
            _pj(operator.energy_pj),
        ]
        for operator in result.operators
    ]
    updates = f"{sum(neuron.updates for neuron in result.neurons):,}"
    neurons = _pj(result.totals_by_part.get("neurons"))
    body.append(["spiking layers", *["–"] * 4, updates, "–", neurons, "–", neurons])
    total = [
        "total",
        "",
        "–",
        f"{result.total_acs:,.1f}",
        f"{result.total_macs:,.0f}",
        updates,
        _pj(result.synaptic_energy_pj),
        neurons,
        _pj(other_pj(result)),
        _pj(result.total_energy_pj),
    ]
    return [*body, ["---"], total]


def neuron_table(result: EnergyResult) -> list[list[str]]:
    """Body of the table of spiking layers."""
    return [
        [
            n.name,
            f"{n.neurons:,}",
            cell(n.threshold),
            cell(n.rate),
            f"{n.spikes:,.1f}",
            f"{n.updates:,}",
            _pj(n.energy_pj),
        ]
        for n in result.neurons
    ]


def total_table(results: Sequence[EnergyResult]) -> list[list[str]]:
    """Body of the table of totals, one line per checkpoint."""
    return [
        [
            network_of(result),
            cell(result.accuracy),
            cell(mean_rate(result)),
            f"{result.total_acs:,.0f}",
            f"{result.total_macs:,.0f}",
            nano(result.synaptic_energy_pj),
            nano(result.totals_by_part.get("neurons")),
            nano(other_pj(result)),
            nano(result.total_energy_pj),
            nano(result.total_energy_std_pj),
        ]
        for result in results
    ]


def beside_table(results: Sequence[EnergyResult]) -> list[list[str]]:
    """Body of the table of what a reader wants beside the totals: energy against accuracy, and
    against the ANN.
    """
    return [
        [
            network_of(result),
            f"{nano(result.quantiles_pj['0.05'])}–{nano(result.quantiles_pj['0.95'])}",
            cell(accuracy_per_uj(result)),
            cell(result.synops_per_synapse),
            "–" if result.ann is None else f"{result.ann.macs:,}",
            nano(None if result.ann is None else result.ann.energy_pj),
            cell(None if result.ann is None else result.ann.ratio),
        ]
        for result in results
    ]


def operation_table(results: Sequence[EnergyResult]) -> list[list[str]]:
    """Body of the table of every kind of operation counted, summed over layers, a column per
    network; a dash where there is none.
    """
    sums: list[dict[str, float]] = []
    for result in results:
        found: dict[str, float] = {}
        for part in result.parts:
            name = f"{part.part}: {part.operation}" + (
                f", {part.detail}" if part.detail not in ("", part.operation) else ""
            )
            found[name] = found.get(name, 0.0) + part.count
        sums.append(found)
    names = dict.fromkeys(name for found in sums for name in found)
    return [
        [name, *(f"{found[name]:,.1f}" if name in found else "–" for found in sums)]
        for name in names
    ]


def break_even_table(results: Sequence[EnergyResult]) -> list[list[str]]:
    """Body of the table of published break-even points and where each network stands."""
    verdicts = {True: "yes", False: "no", None: "–"}
    return [
        [
            network_of(result),
            point.quantity,
            point.against,
            cell(point.limit),
            cell(point.value),
            verdicts[point.below],
        ]
        for result in results
        for point in result.break_even
    ]


def best_cells(results: Sequence[EnergyResult]) -> frozenset[tuple[int, int]]:
    """Cells of the table of totals in bold: the highest accuracy, and the lowest energy where
    nothing is more accurate.

    A network that errs, or is silent, saves energy; a low number alone is no merit.
    """
    columns = (TOTAL_HEADER.index("accuracy"), TOTAL_HEADER.index("nJ per inference"))
    bold = enumerate(merits(results))
    return frozenset(
        (place, column)
        for place, marked in bold
        for column, best in zip(columns, marked, strict=True)
        if best
    )


def merits(results: Sequence[Any]) -> list[tuple[bool, bool]]:
    """Of networks on one set, (most accurate, cheapest and no less accurate than any other); all
    False for one network or no labels.

    Anything with `accuracy` and a mean energy (`total_energy_pj` or `energy_pj`) will do.
    """
    energies = [
        float(result.total_energy_pj if hasattr(result, "total_energy_pj") else result.energy_pj)
        for result in results
    ]
    accuracies = [float(result.accuracy) for result in results if result.accuracy is not None]
    if len(accuracies) < 2 or len(accuracies) < len(results):
        return [(False, False)] * len(results)
    places = list(zip(accuracies, energies, strict=True))
    highest, least = max(accuracies), min(energies)
    return [
        (accuracy == highest, accuracy == highest and energy == least)
        for accuracy, energy in places
    ]


def energy_notes(results: Sequence[EnergyResult]) -> list[str]:
    """What a reader must know to read the numbers; `results` are of one profile."""
    first = results[0]
    made = ", ".join(
        text for text in (first.profile_node, first.profile_format, first.profile_obtained) if text
    )
    notes = [
        f"Profile {first.profile}{f' ({made})' if made else ''}: {first.profile_includes}. Source: "
        f"{first.profile_source}.",
        "SynOps: every spike times the outputs it reaches, exact at borders. MACs: padding "
        "excluded. Choices: "
        + ", ".join(
            f"{name.replace('macs', 'MACs').replace('_', ' ')} {value}"
            for name, value in first.choices.items()
            if name != "event_frames"
        )
        + " (docs/energy.md). Other: biases, batch norms, residual additions, pooling, products.",
        f"Not included: {', '.join(first.not_included)}.",
        "ANN: the same layers on values, dense, each once, in the same number format.",
    ]
    if len(results) > 1:
        notes.append(
            "Bold: the highest accuracy; the lowest energy only where no other network is more "
            "accurate, for errors can be had cheaply."
        )
    for result in results:
        listed = (
            "; ".join(f"{entry['name']} ({entry['reason']})" for entry in result.uncounted)
            or "none"
        )
        notes.append(f"Uncounted layers of {result.checkpoint}: {listed}.")
        silent = [neuron.name for neuron in result.neurons if neuron.spikes == 0]
        if silent:
            share = f"{len(silent)} of {len(result.neurons)} spiking layers"
            notes.append(
                f"No spike on any sample in {share} of {network_of(result)}: {_first(silent)}."
            )
        if result.unpriced:
            missing = "; ".join(
                f"{entry['count']:,.0f} {_described(entry)} ({entry['reason']})"
                for entry in result.unpriced
            )
            notes.append(
                f"Not priced by {result.profile}, and so in no sum of {result.checkpoint}: "
                f"{missing}."
            )
    return notes


def _first(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def network_of(result: Any) -> str:
    """A network's name in a table, with its thresholds where they are not its own."""
    return (
        str(result.checkpoint)
        if result.thresholds in ("replay", "base")
        else f"{result.checkpoint} ({result.thresholds})"
    )


def mean_rate(result: EnergyResult) -> float:
    """Spikes per neuron and step, the unweighted mean over the spiking layers; 0 without one."""
    return sum(neuron.rate for neuron in result.neurons) / max(1, len(result.neurons))


def other_pj(result: EnergyResult) -> float | None:
    """Energy that is neither of synapses nor of neurons; None where nothing of it is priced."""
    rest = [
        energy
        for part, energy in result.totals_by_part.items()
        if part not in ("synapses", "neurons")
    ]
    return sum(rest) if rest else None


def nano(picojoules: float | None) -> str:
    """An energy in nJ for a reader."""
    return "–" if picojoules is None else f"{picojoules / 1000:,.2f}"


def _pj(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def _described(entry: Any) -> str:
    """An unpriced operation in words."""
    detail = f", {entry['detail']}" if entry["detail"] else ""
    return f"{entry['operation']} of {entry['part']}{detail}"
