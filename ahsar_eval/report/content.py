"""The numbers of a report, JSON-ready: what the page shows stands here once, and every number on it
is one of these.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval import __version__
from ahsar_eval.energy.account import Account
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import PROFILES, Profile
from ahsar_eval.energy.result import NOT_INCLUDED, on_front
from ahsar_eval.ood import outcomes, reliability, risk_coverage, roc_curve
from ahsar_eval.ood.metrics import ReliabilityBins
from ahsar_eval.plots.bins import score_edges
from ahsar_eval.plots.ood import axis_of
from ahsar_eval.report.run import Found, Network
from ahsar_eval.report.verdict import banners_of, methods_of, sentence_of

_POINTS = 60  # of a curve that is drawn
BINS = 10  # of a reliability diagram
SATURATED = 0.95  # of all steps of all samples, in which a neuron fires

Facts = dict[str, Any]


def content(found: Found) -> Facts:
    """Everything that the page says of `found`.

    `networks` and `sets` are what others point at by place; `ood`, `energy.results` and
    `comparison` are the records of the commands `ood`, `energy` and `compare`.
    """
    first = found.networks[0]
    energy = _energy(found)
    facts = {
        "generator": f"ahsar-eval {__version__}",
        "title": found.request.title or _title(found),
        "id": {**first.result.id_set.split, "n": len(first.result.id_set)},
        "networks": [_network(one) for one in found.networks],
        "requirements": list(found.requirements),
        "passed": all(one["passed"] for one in found.requirements) if found.requirements else None,
        "sets": _sets(found),
        "score": first.result.rows[0].score,
        "score_title": axis_of(first.result.rows[0].score),
        "ood": dict(found.ood.records),
        "comparison": list(found.comparison),
        "distributions": [one for each in found.networks for one in _distributions(each)],
        "energy": energy,
        "spikes": [_spikes(one) for one in found.networks],
        "calibration": [one for each in found.networks for one in _calibration(each)],
        "notes": {"ood": found.ood.notes, "energy": found.energy.notes},
        "provenance": _provenance(found.ood.facts),
    }
    facts["banners"] = banners_of(found, facts)
    facts["verdict"] = sentence_of(found)
    facts["methods"] = methods_of(found)
    return facts


def _title(found: Found) -> str:
    names = dict.fromkeys(one.plan.runner.checkpoint.name for one in found.networks)
    return f"{', '.join(names)} on {found.networks[0].result.id_set.name}"


_OF_SPLIT = ("name", "role", "n", "seed", "identity", "set_identity")


def _provenance(facts: Mapping[str, Any]) -> Facts:
    """What made the results; of each split what finds it again."""

    def short(told: Any) -> Any:
        if isinstance(told, Mapping):
            return {name: told[name] for name in _OF_SPLIT}
        return [short(one) for one in told]

    checkpoints = [
        {
            name: short(one[name]) if name in ("id", "ood", "fitted_on") else one[name]
            for name in one
        }
        for one in facts["checkpoints"]
    ]
    return {**facts, "checkpoints": checkpoints}


def _network(one: Network) -> Facts:
    runner = one.plan.runner
    adaptation = runner.adaptation
    return {
        "label": one.label,
        "checkpoint": runner.checkpoint.name,
        "thresholds": runner.thresholds,
        "adaptation": adaptation.told() if adaptation else None,
        "sha256": runner.checkpoint.sha256,
        "method": runner.checkpoint.method,
        "timesteps": one.recording.timesteps,
        "classes": runner.checkpoint.spec.classes,
        "energy_pj": one.energies,
        "n": len(one.recording),
    }


def _sets(found: Found) -> list[Facts]:
    """The sets beside the ID set, in the order given; `shift` is a line of the heat map."""
    own = found.networks[0].result.id_set.split["set"]
    rows = {row["ood"]: row for row in found.ood.records["rows"] if row["kind"] == "set"}
    return [
        {
            "name": some.name,
            "set": some.split["set"],
            "shift": shift_of(some.split["set"], some.split["shift"], own)
            if rows[some.name]["group"] == "shift"
            else None,
            "severity": int(some.split["severity"]),
            "group": rows[some.name]["group"],
            "n": len(some),
        }
        for some in found.networks[0].result.others
    ]


def shift_of(name: str, shift: str, own: str) -> str:
    """What a shift is called; one in stored copies of the ID set (`own`) with the name of these."""
    return shift if name == own else f"{name}:{shift}"


# --- how scores lie


def _distributions(network: Network) -> Iterator[Facts]:
    """Histograms of the first score and the ROC of every set: probabilities of bins between common
    `edges`, and vertices of the curve.
    """
    result = network.result
    score = result.rows[0].score
    inside = result.id_set.scores[score]
    for some in result.others:
        outside = some.scores[score]
        edges = score_edges([inside, outside])
        fpr, tpr, _ = roc_curve(inside, outside)
        kept = _few(fpr + tpr)
        yield {
            "label": network.label,
            "ood": some.name,
            "edges": _short(edges),
            "id": _short(np.histogram(inside, edges)[0] / len(inside)),
            "values": _short(np.histogram(outside, edges)[0] / len(outside)),
            "fpr": _short(fpr[kept]),
            "tpr": _short(tpr[kept]),
        }


def _few(along: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of at most about `_POINTS` values, rising evenly `along` a curve, both ends among
    them.
    """
    span = float(along[-1] - along[0]) or 1.0
    place = np.floor((along - along[0]) / span * _POINTS)
    first = np.flatnonzero(np.diff(place, prepend=-1.0) > 0)
    return np.unique([*first, len(along) - 1])


def _short(values: NDArray[Any]) -> list[float]:
    """Numbers that are drawn, to five digits."""
    return [float(f"{value:.5g}") for value in values.tolist()]


# --- calibration


def _calibration(network: Network) -> Iterator[Facts]:
    """Reliability and risk–coverage of the ID set, and of each shift at its largest severity:
    `bins` with Wilson's interval, and the curve with its least possible risk.
    """
    score = network.result.rows[0].score
    for some in (network.result.id_set, *network.shifted):
        if some.name not in network.judged:
            continue
        known = np.flatnonzero(some.labels >= 0)
        found = outcomes(some.logits[known], some.labels[known])
        bins = reliability(found.confidence, found.correct, BINS)
        coverage, risk = risk_coverage(some.scores[score][known], ~found.correct)
        kept = _few(coverage)
        yield {
            "label": network.label,
            "ood": some.name,
            "n": len(known),
            "bins": list(_bins(bins)),
            "coverage": _short(coverage[kept]),
            "risk": _short(risk[kept]),
        }


def _bins(bins: ReliabilityBins) -> Iterator[Facts]:
    low, high = bins.intervals
    for i in np.flatnonzero(bins.count):
        yield {
            "low_edge": float(bins.edges[i]),
            "high_edge": float(bins.edges[i + 1]),
            "n": int(bins.count[i]),
            "confidence": float(bins.confidence[i]),
            "accuracy": float(bins.accuracy[i]),
            "accuracy_low": float(low[i]),
            "accuracy_high": float(high[i]),
        }


# --- energy


def _energy(found: Found) -> Facts:
    """The operations of every network, and their prices under every profile; what is not in a sum;
    accuracy against energy.
    """
    chosen: Profile = found.request.profile
    profiles = {chosen.name: chosen, **PROFILES}
    networks = [
        {**_priced(one, profiles), "ann_pj": row["ann"]["energy_pj"]}
        for one, row in zip(found.networks, found.energy.records["result"], strict=True)
    ]
    return {
        "profile": chosen.name,
        "profiles": {
            name: {
                "node": one.node,
                "format": one.number_format,
                "includes": one.includes,
                "obtained": one.obtained,
                "source": one.source,
            }
            for name, one in profiles.items()
        },
        "not_included": list(NOT_INCLUDED),
        "networks": networks,
        "points": _points(found),
        "conventions": [
            {name: row[name] for name in (*_NAMED, "macs_per_inference", "acs_per_inference")}
            for row in found.energy.records.get("convention", ())
            if row["layer"] == "total" and not row["part"]
        ],
        "ledger": [
            {name: row[name] for name in (*_STEPS, "macs_per_inference", "acs_per_inference")}
            for row in found.energy.records.get("ledger", ())
            if row["layer"] == "total"
        ],
    }


_NAMED = ("checkpoint", "thresholds", "convention")
_STEPS = ("checkpoint", "thresholds", "start", "end", "step")


def _priced(network: Network, profiles: Mapping[str, Profile]) -> Facts:
    """`lines` of the accounts of all profiles: counts of operations per inference, each line once;
    `prices` in pJ by profile, None where a profile has no price for a line, or does not count it;
    `totals_pj`.
    """
    lines: dict[tuple[str, str, str, str], float] = {}
    prices: dict[str, dict[Any, float]] = {}
    unpriced: dict[str, list[str]] = {}
    uncounted: dict[str, str] = {}
    for name, profile in profiles.items():
        account = Account(network.recording, profile, Choices())
        uncounted |= {one.name: one.reason for one in account.uncounted}
        priced: dict[Any, float] = {}
        missing: dict[str, None] = {}
        for entry in account.entries:
            key = entry.layer, entry.part, entry.operation, entry.detail
            lines[key] = lines.get(key, 0.0) if key in priced else entry.mean
            if entry.price_pj is not None:
                priced[key] = entry.price_pj
            elif entry.counts.any():
                missing[f"{entry.operation} of {entry.part}"] = None
        prices[name], unpriced[name] = priced, list(missing)
    return {
        "label": network.label,
        "lines": [
            {"layer": layer, "part": part, "operation": operation, "detail": detail, "count": count}
            for (layer, part, operation, detail), count in lines.items()
        ],
        "prices": {name: [own.get(key) for key in lines] for name, own in prices.items()},
        "totals_pj": {
            name: sum(count * own[key] for key, count in lines.items() if key in own)
            for name, own in prices.items()
        },
        "unpriced": unpriced,
        "uncounted": [f"{name} ({reason})" for name, reason in uncounted.items()],
    }


def _points(found: Found) -> list[Facts]:
    """Accuracy against energy: of every network on the ID set, and on its shifts on average; the
    front of each.
    """
    of_shift = [one["name"] for one in _sets(found) if one["shift"]]
    points: list[Facts] = []
    for where in ("ID set", "shifts"):
        means = {one.label: _mean(one, where, of_shift) for one in found.networks}
        known = {label: mean for label, mean in means.items() if mean is not None}
        front = on_front(list(known.values()))
        points += [
            {"label": label, "on": where, "accuracy": accuracy, "energy_pj": energy, "front": on}
            for (label, (accuracy, energy)), on in zip(known.items(), front, strict=True)
        ]
    return points


def _mean(network: Network, where: str, of_shift: Sequence[str]) -> tuple[float, float] | None:
    """Mean accuracy and energy over the ID set, or over all shifts of it; None without labels."""
    names = [network.result.id_set.name] if where == "ID set" else list(of_shift)
    known = {row.ood: row.metrics.get("accuracy") for row in network.result.rows}
    accuracies = [one.value for name in names if (one := known[name]) is not None]
    if not accuracies or len(accuracies) < len(names):
        return None
    energies = [network.energies[name] for name in names]
    return float(np.mean(accuracies)), float(np.mean(energies))


# --- spikes


def _spikes(network: Network) -> Facts:
    """Rates of every spiking layer on the ID set, its neurons that never fire on it, and those that
    fire in nearly every step; and the samples whose spikes are shown.
    """
    recording = network.recording
    names = recording.split["classes"]

    def name_of(place: int) -> str | None:
        return str(names[place]) if 0 <= place < len(names) else None

    return {
        "label": network.label,
        "n": len(recording),
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "neurons": layer.neurons,
                "rate": recording.rate(layer),
                "threshold": recording.thresholds.get(layer.name),
                "dead": int((layer.rate_map == 0).sum()),
                "saturated": int((layer.rate_map >= SATURATED).sum()),
            }
            for layer in recording.layers
        ],
        "samples": [
            {
                "index": trace.index,
                "class": name_of(trace.label),
                "predicted": name_of(int(trace.logits.mean(axis=0).argmax())),
                "rates": [float(np.mean(trace.spikes[layer.name])) for layer in recording.layers],
            }
            for trace in recording.traces
        ],
    }
