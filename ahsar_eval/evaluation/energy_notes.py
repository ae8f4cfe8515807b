"""What a reader must know to read energy: prices, choices, what is left out, intervals, fronts, and
what other tools count; all from records.
"""

from collections.abc import Sequence

from ahsar_eval.energy.conventions import CONVENTIONS
from ahsar_eval.energy.result import network_of
from ahsar_eval.energy.shift import METHOD
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row


def profiles_of(results: Results) -> list[str]:
    """The profiles, in the order asked for."""
    return list(dict.fromkeys(row["profile"] for row in results.records["result"]))


def rows_of(results: Results, name: str, profile: str) -> list[Row]:
    """The records of one list under one profile."""
    return [row for row in results.records.get(name, ()) if row["profile"] == profile]


def energy_notes(results: Results) -> list[str]:
    """What a reader must know to read the numbers."""
    notes: list[str] = []
    for profile in profiles_of(results):
        found = rows_of(results, "result", profile)
        notes += _result_notes(found)
        if "memory" in results.by:
            notes += [note for result in found for note in _memory_notes(result)]
        notes += _comparison_notes(results, profile, len(found) > 1)
    return [*notes, *_convention_notes(results)]


def _result_notes(found: Sequence[Row]) -> list[str]:
    first = found[0]
    made = ", ".join(
        first[f"profile_{key}"] for key in ("node", "format", "obtained") if first[f"profile_{key}"]
    )
    choices = ", ".join(
        f"{name.replace('macs', 'MACs').replace('_', ' ')} {value}"
        for name, value in first["choices"].items()
        if name != "event_frames"
    )
    notes = [
        f"Profile {first['profile']}{f' ({made})' if made else ''}: {first['profile_includes']}. "
        f"Source: {first['profile_source']}.",
        "SynOps: every spike times the outputs it reaches, exact at borders. MACs: padding "
        f"excluded. Choices: {choices} (docs/energy.md). Other: biases, batch norms, residual "
        "additions, pooling, products.",
        f"Not included: {', '.join(first['not_included'])}.",
        "ANN: the same layers on values, dense, each once, in the same number format.",
    ]
    if len(found) > 1:
        notes.append(
            "Bold: the highest accuracy; the lowest energy only where no other network is more "
            "accurate, for errors can be had cheaply."
        )
    for result in found:
        checkpoint = result["checkpoint"]
        notes.append(f"Uncounted layers of {checkpoint}: {_listed(result['uncounted']) or 'none'}.")
        silent = [neuron["name"] for neuron in result["neurons"] if neuron["spikes"] == 0]
        if silent:
            share = f"{len(silent)} of {len(result['neurons'])} spiking layers"
            more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
            notes.append(
                f"No spike on any sample in {share} of {network_of(result)}: "
                f"{', '.join(silent[:5])}{more}."
            )
        if result["unpriced"]:
            missing = "; ".join(map(_unpriced, result["unpriced"]))
            notes.append(
                f"Not priced by {result['profile']}, and so in no sum of {checkpoint}: {missing}."
            )
    return notes


def _listed(entries: Sequence[Row]) -> str:
    return "; ".join(f"{entry['name']} ({entry['reason']})" for entry in entries)


def _unpriced(entry: Row) -> str:
    detail = f", {entry['detail']}" if entry["detail"] else ""
    what = f"{entry['operation']} of {entry['part']}{detail}"
    return f"{entry['count']:,.0f} {what} ({entry['reason']})"


def _memory_notes(result: Row) -> list[str]:
    found = result["memory"]
    if found is None:
        return []
    notes = [
        f"Memory: {found['source']}; words of {found['word_bits']} bits, an access carries "
        f"{found['access_bits']}.",
        *found["notes"],
        "Its computation follows the article's equations (borders reach as far as the middle), so "
        "it differs from the account's.",
    ]
    if found["uncounted"]:
        listed = _listed(found["uncounted"])
        notes.append(f"Outside the memory model, of {result['checkpoint']}: {listed}.")
    return notes


def _comparison_notes(results: Results, profile: str, several: bool) -> list[str]:
    notes = []
    shifts = rows_of(results, "shift", profile)
    if shifts:
        notes.append(
            f"Change: (shifted − clean) / clean, of accuracy shifted − clean. Intervals: {METHOD}. "
            "A mean averages every sample over its sets first. They are of the images, not of the "
            "training."
        )
    if any(row["accuracy"] is None for row in shifts):
        notes.append(
            "– : no accuracy, for labels are unknown, not kept by the shift, or of other classes."
        )
    if rows_of(results, "scale", profile):
        all_networks = "; all networks: of all points of all networks" if several else ""
        notes.append(
            f"Pareto front, of this network's points{all_networks}: none is as accurate for less "
            "energy, or more accurate for no more. The scale is a factor on every base threshold; "
            "own: the thresholds the network comes with. Nothing is chosen here: the curve is "
            "measured on the set shown, and a scale chosen by it must be judged on another."
        )
    return notes


def _convention_notes(results: Results) -> list[str]:
    """What each convention counts, and how to read the steps from one to another."""
    notes = []
    for totals in results.records.get("conventions", ()):
        convention = CONVENTIONS[totals["convention"]]
        told = f"{totals['convention']} ({convention.source}): {convention.rule}."
        notes.append(" ".join([told, *totals["notes"]]))
    ledgers = results.records.get("ledgers", ())
    if not ledgers:
        return notes
    notes.append(
        "Ledger: start + steps = end exactly, for every layer; each step is counted on its own; "
        "steps that change nothing are left out."
    )
    ends = [found[end] for found in ledgers for end in ("start", "end")]
    judging = [end for end in ends if CONVENTIONS[end["convention"]].judges_calls]
    if judging:
        names = ", ".join(dict.fromkeys(end["convention"] for end in judging))
        notes.append(
            f"{names}: MAC or AC is decided by the values of a whole call, so the numbers hold for "
            f"batches of {judging[0]['batch_size']} consecutive samples; at another batch size "
            "they differ."
        )
    return notes
