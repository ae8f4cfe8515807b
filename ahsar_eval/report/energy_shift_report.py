"""Energy under shift and over threshold scales as a reader wants it (their numbers in full:
energy_rows).
"""

from collections.abc import Sequence

from ahsar_eval.energy import EnergyResult
from ahsar_eval.energy.curve import accuracy_per_uj
from ahsar_eval.energy.paired import METHOD, Change
from ahsar_eval.energy.shift import Contrast, ShiftedEnergy
from ahsar_eval.evaluation.energy import EnergyStudy
from ahsar_eval.report.energy_report import mean_rate, merits, nano, network_of
from ahsar_eval.results.document import RULE, Table
from ahsar_eval.results.tables import cell

NAMES = {"energy_pj": "energy", "synops": "SynOps", "rate": "mean rate", "accuracy": "accuracy"}
_CHANGED = ("energy_pj", "synops", "rate")
SHIFT_HEADER = ["set", "checkpoint", "accuracy", "mean rate", "SynOps (AC)", "nJ per inference"]
SHIFT_HEADER += [
    title for name in _CHANGED for title in (f"{NAMES[name]}, change", "95 % interval")
]
CONTRAST_HEADER = ["set", "change of", "A", "B", "B − A", "95 % interval"]
LAYER_HEADER = [
    "layer",
    "set",
    "rate",
    "change",
    "95 % interval",
    "SynOps (AC)",
    "change",
    "95 % interval",
    "pJ",
    "change",
]
SCALE_HEADER = [
    "checkpoint",
    "threshold scale",
    "accuracy",
    "mean rate",
    "SynOps (AC)",
    "nJ per inference",
    "accuracy per µJ",
    "Pareto front",
]


def shift_tables(study: EnergyStudy, *, detail: bool = False) -> list[Table]:
    """Networks under every shift against themselves on the set as it is, then two networks' changes
    compared.

    `detail` adds every layer, and every severity to the comparison.
    """
    if not study.shifted:
        return []
    compared = [_contrast_table(study.contrasts, detail=detail)] if study.contrasts else []
    return [_shift_table(study), *compared, *(_layer_tables(study) if detail else [])]


def scale_table(study: EnergyStudy) -> Table | None:
    """Accuracy against energy over the scale of the thresholds, the front and each network's own
    setting marked.
    """
    if not study.curve:
        return None
    body: list[Sequence[str]] = []
    for place, point in enumerate(study.curve):
        new = place == 0 or point.checkpoint != study.curve[place - 1].checkpoint
        if new and place:
            body.append(RULE)
        scale = "replayed" if point.scale is None else f"{point.scale:g}"
        body.append(
            [
                point.checkpoint if new else "",
                f"{scale} (own)" if point.own else scale,
                cell(point.result.accuracy),
                cell(mean_rate(point.result)),
                f"{point.result.total_acs:,.0f}",
                nano(point.result.total_energy_pj),
                cell(accuracy_per_uj(point.result)),
                "all networks"
                if point.joint_front and _several(study)
                else "yes"
                if point.front
                else "",
            ]
        )
    return Table(
        f"Accuracy and energy over the scale of the thresholds, {study.clean[0].data}",
        SCALE_HEADER,
        body,
    )


def study_notes(study: EnergyStudy) -> list[str]:
    """What a reader must know to read these tables."""
    notes = []
    if study.shifted:
        notes.append(
            f"Change: (shifted − clean) / clean, of accuracy shifted − clean. Intervals: {METHOD}. "
            "A mean averages every sample over its "
            "sets first. They are of the images, not of the training."
        )
        if any(one.accuracy is None for one in study.shifted):
            notes.append(
                "– : no accuracy, for labels are unknown, not kept by the shift, or of other "
                "classes."
            )
    if study.curve:
        front = "of this network's points" + (
            "; all networks: of all points of all networks" if _several(study) else ""
        )
        notes.append(
            f"Pareto front, {front}: none is as accurate for less energy, or more accurate for no "
            "more. The scale is a factor on every "
            "base threshold; own: the thresholds the network comes with. Nothing is chosen here: "
            "the curve is measured on the set shown, "
            "and a scale chosen by it must be judged on another."
        )
    return notes


def _shift_table(study: EnergyStudy) -> Table:
    """Sets below one another, the clean one first; of each the networks."""
    lines: dict[str, list[EnergyResult | ShiftedEnergy]] = {}
    found: list[EnergyResult | ShiftedEnergy] = [*study.clean, *study.shifted]
    for one in found:
        lines.setdefault(one.data, []).append(one)
    names = sorted(lines, key=lambda name: _order(lines[name][0]))
    body: list[Sequence[str]] = []
    best: set[tuple[int, int]] = set()
    number = 0
    for place, name in enumerate(names):
        if place and (
            _several(study) or _group(lines[name][0]) != _group(lines[names[place - 1]][0])
        ):
            body.append(RULE)
        for at, (one, (right, cheap)) in enumerate(
            zip(lines[name], merits(lines[name]), strict=True)
        ):
            body.append([name if at == 0 else "", network_of(one), *_values(one)])
            best |= {(number, column) for column, bold in ((2, right), (5, cheap)) if bold}
            number += 1
    return Table("Energy under shift", SHIFT_HEADER, body, frozenset(best))


def _contrast_table(contrasts: Sequence[Contrast], *, detail: bool) -> Table:
    """Of a shift at several severities their mean alone, unless there is to be `detail`."""
    means = {contrast.data.rpartition(":")[0] for contrast in contrasts if contrast.members > 1}
    shown = [
        one
        for one in contrasts
        if detail or one.members > 1 or one.data.rpartition(":")[0] not in means
    ]
    body: list[Sequence[str]] = []
    for place, contrast in enumerate(shown):
        new = place == 0 or contrast.data != shown[place - 1].data
        amounts = (contrast.a, contrast.b, contrast.difference.value)
        texts = [_amount(contrast.quantity, amount) for amount in amounts]
        texts[2] = texts[2].replace(" %", " points")
        body += [RULE] if new and place else []
        body.append(
            [
                contrast.data if new else "",
                NAMES[contrast.quantity],
                *texts,
                _span(contrast.quantity, contrast.difference),
            ]
        )
    first = contrasts[0]
    return Table(
        f"Change of B against change of A; A: {first.first}, B: {first.second}",
        CONTRAST_HEADER,
        body,
    )


def _values(one: EnergyResult | ShiftedEnergy) -> list[str]:
    if isinstance(one, EnergyResult):
        values = [
            cell(one.accuracy),
            cell(mean_rate(one)),
            f"{one.total_acs:,.0f}",
            nano(one.total_energy_pj),
        ]
        return [*values, *["–"] * (2 * len(_CHANGED))]
    values = [cell(one.accuracy), cell(one.rate), f"{one.synops:,.0f}", nano(one.energy_pj)]
    changes = [one.changes.get(name) for name in _CHANGED]
    return [
        *values,
        *(text for change in changes for text in (_percent(change), _span("", change))),
    ]


def _order(one: EnergyResult | ShiftedEnergy) -> int:
    """Clean, then sets, then means; those of one kind as they were asked for."""
    return 0 if isinstance(one, EnergyResult) else 1 if one.members == 1 else 2


def _group(one: EnergyResult | ShiftedEnergy) -> tuple[int, str]:
    return _order(one), "" if isinstance(one, EnergyResult) else one.data.rpartition(":")[
        0
    ] if one.members == 1 else "means"


def _layer_tables(study: EnergyStudy) -> list[Table]:
    """A table per network: every layer, below it the set as it is and the shifted ones."""
    tables = []
    for result in study.clean:
        own = [one for one in study.shifted if network_of(one) == network_of(result) and one.layers]
        body: list[Sequence[str]] = []
        for place in range(len(own[0].layers) if own else 0):
            if place:
                body.append(RULE)
            body.append(_clean_layer(result, place))
            for one in own:
                layer = one.layers[place]
                changes = [layer.changes.get(name) for name in ("rate", "synops", "energy_pj")]
                synops = "–" if layer.synops is None else f"{layer.synops:,.1f}"
                energy = "–" if layer.energy_pj is None else f"{layer.energy_pj:,.1f}"
                ends = [_span("", change) for change in changes]
                said = [_percent(change) for change in changes]
                body.append(
                    [
                        "",
                        one.data,
                        cell(layer.rate),
                        said[0],
                        ends[0],
                        synops,
                        said[1],
                        ends[1],
                        energy,
                        said[2],
                    ]
                )
        tables.append(Table(f"Layers of {network_of(result)} under shift", LAYER_HEADER, body))
    return tables


def _clean_layer(result: EnergyResult, place: int) -> list[str]:
    if place < len(result.layers):
        layer = result.layers[place]
        energy = "–" if layer.energy_pj is None else f"{layer.energy_pj:,.1f}"
        return [
            layer.name,
            result.data,
            cell(layer.input_rate),
            "–",
            "–",
            f"{layer.acs:,.1f}",
            "–",
            "–",
            energy,
            "–",
        ]
    neuron = result.neurons[place - len(result.layers)]
    energy = "–" if neuron.energy_pj is None else f"{neuron.energy_pj:,.1f}"
    return [neuron.name, result.data, cell(neuron.rate), *["–"] * 5, energy, "–"]


def _several(study: EnergyStudy) -> bool:
    return len(study.clean) > 1


def _percent(change: Change | None) -> str:
    return "–" if change is None else _amount("", change.value)


def _span(quantity: str, change: Change | None) -> str:
    if change is None or change.low is None or change.high is None:
        return "–"
    return f"{_amount(quantity, change.low)} … {_amount(quantity, change.high)}"


def _amount(quantity: str, value: float) -> str:
    """A change for a reader: percent of the clean value, of accuracy a difference of fractions."""
    text = f"{value:+.3f}" if quantity == "accuracy" else f"{100 * value:+.1f} %"
    zero = "0.000" if quantity == "accuracy" else "0.0 %"
    return zero if text[1:] == zero else text.replace("-", "−")
