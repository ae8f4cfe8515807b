"""How energy is shown: columns and tables declared once, other tools' counts, and the JSON; all
from records.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from ahsar_eval.energy.conventions import CONVENTIONS
from ahsar_eval.energy.lemaire import MEMORIES
from ahsar_eval.energy.result import accuracy_per_uj, network_of
from ahsar_eval.evaluation.energy_records import by_profile, energy_notes, rows_of
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import NONE, Column, Row, Table, read_columns, signed

QUANTITIES = {
    "energy_pj": "energy",
    "synops": "SynOps",
    "rate": "mean rate",
    "accuracy": "accuracy",
}
COLUMNS = read_columns(__file__, "energy")
MEMORY = [
    Column("network", "checkpoint"),
    *(
        Column(f"{part}_pj", part, ",.2f", divide=1000)
        for part in ("computation", "addressing", "memory", *MEMORIES, "total")
    ),
]


def energy_tables(results: Results, detail: bool) -> list[Table]:
    """Below each profile: layers and neurons of every network, then totals, what stands beside them
    and every kind of operation; under shift and over scales. Then other tools' counts.

    `detail` adds the published break-even points, every layer under shift, every severity to the
    comparison of two networks, and steps between conventions layer by layer.
    """
    tables = []
    for found in by_profile(results):
        for result in found:
            tables += _layer_tables(result)
        tables += _network_tables(found)
        points = [
            {**result, **one, "below": {True: "yes", False: "no"}.get(one["below"])}
            for result in found
            for one in result["break_even"]
        ]
        if detail and points:
            tables.append(_by_network("published break-even points", COLUMNS["break_even"], points))
        if "memory" in results.by:
            profile = found[0]["profile"]
            title = f"With memory access (Lemaire et al. 2022), nJ per inference, {profile}"
            memory = [
                {**result, **one, **{f"{name}_pj": pj for name, pj in one["by_memory_pj"].items()}}
                for result in found
                if (one := result["memory"]) is not None
            ]
            tables.append(_by_network(title, MEMORY, memory))
        tables += _shift_tables(results, found, detail)
        tables += _curve_tables(results, found)
    for result in by_profile(results)[0]:  # counts, whatever their price
        tables += _convention_tables(results, result, detail)
    return tables


def _by_network(title: str, shown: Sequence[Column], rows: Sequence[Row]) -> Table:
    """A table whose rows are of a network each."""
    named = [{**row, "network": network_of(row)} for row in rows]
    return Table(title, shown, named, names=("network",), ruled=False)


def other_pj(result: Row) -> float | None:
    """Energy that is neither of synapses nor of neurons; None where nothing of it is priced."""
    parts = result["totals_by_part"].items()
    rest = [energy for part, energy in parts if part not in ("synapses", "neurons")]
    return sum(rest) if rest else None


def _layer_tables(result: Row) -> list[Table]:
    """Layers with weights, operations without, the spiking layers together, and the total; then
    each spiking layer.
    """
    rows: list[dict[str, Any]] = [*result["layers"]]
    for one in result["operators"]:
        counted = {key: one[key] or None for key in ("acs", "macs")}
        energy = {"other_pj": one["energy_pj"], "energy_pj": one["energy_pj"]}
        rows.append({"name": one["name"], "input": one["part"], **counted, **energy})
    energy = result["totals_by_part"].get("neurons")
    rows.append({"name": "spiking layers", "energy_pj": energy})
    total = {
        "name": "total",
        "rule": True,
        "input": "",
        "acs": result["total_acs"],
        "macs": result["total_macs"],
        "synaptic_pj": result["synaptic_energy_pj"],
        "other_pj": other_pj(result),
        "energy_pj": result["total_energy_pj"],
    }
    title = f"{result['checkpoint']} on {result['data']}, thresholds: {result['thresholds']}"
    neurons = result["neurons"]
    sums = {key: sum(one[key] for one in neurons) for key in ("neurons", "spikes", "updates")}
    fired = {"name": "total", "rule": True, **sums, "energy_pj": energy}
    return [
        Table(title, COLUMNS["layers"], [*rows, total]),
        Table("", COLUMNS["neurons"], [*neurons, fired]),
    ]


def _network_tables(found: Sequence[Row]) -> list[Table]:
    """Totals, their parts, the ANN, and every kind of operation, a row or a column per network."""
    rows: list[Row] = []
    operations: dict[str, dict[str, Any]] = {}
    for i, result in enumerate(found):
        ends = [result["quantiles_pj"][at] / 1000 for at in ("0.05", "0.95")]
        beside = {
            "neurons_pj": result["totals_by_part"].get("neurons"),
            "other_pj": other_pj(result),
            "range_pj": NONE.join(f"{nj:,.2f}" for nj in ends),
            "accuracy_per_uj": accuracy_per_uj(result["accuracy"], result["total_energy_pj"]),
        }
        ann = {f"ann_{key}": result["ann"][f"{key}"] for key in ("macs", "ratio")}
        rows.append({**result, **beside, **ann, "ann_pj": result["ann"]["energy_pj"]})
        for one in result["parts"]:
            name = f"{one['part']}: {one['operation']}"
            if one["detail"] not in ("", one["operation"]):
                name += f", {one['detail']}"
            counts = operations.setdefault(name, {"operation": name})
            counts[str(i)] = counts.get(str(i), 0.0) + one["count"]
    each = [Column(str(i), network_of(result), ",.1f") for i, result in enumerate(found)]
    first = found[0]
    title = f"per inference on {first['data']} (n = {first['n']}), {first['profile']}"
    counted = [Column("operation", "operation"), *each]
    return [
        _by_network(title, COLUMNS["totals"], with_best(rows)),
        _by_network("energy by part and over samples, nJ per inference", COLUMNS["parts"], rows),
        _by_network("synapses and the ANN, per inference", COLUMNS["beside"], rows),
        Table("operations per inference", counted, list(operations.values())),
    ]


def with_best(rows: Sequence[Row]) -> list[Row]:
    """Rows of networks on one set, in bold the highest accuracy, and the lowest energy where
    nothing is more accurate; nothing for one network or without labels.

    A network that errs, or is silent, saves energy; a low number alone is not good.
    """
    known = [row["accuracy"] for row in rows]
    if len(rows) < 2 or None in known:
        return list(rows)
    best, least = max(known), min(row["total_energy_pj"] for row in rows)
    marked: list[Row] = []
    for row in rows:
        good = {"accuracy": best, "total_energy_pj": least}
        bold = {key for key in good if row[key] == good[key]}
        marked.append({**row, "bold": bold if "accuracy" in bold else set()})
    return marked


def _shift_tables(results: Results, clean: Sequence[Row], detail: bool) -> list[Table]:
    """Networks under every shift against themselves on the set as it is (sets below one another,
    the clean one first), then two networks' changes compared.
    """
    shifts = rows_of(results, "shift", clean[0])
    if not shifts:
        return []
    kinds = ["clean", "set", "mean"]
    found = [*({**one, "kind": "clean"} for one in clean), *shifts]
    found.sort(key=lambda row: kinds.index(row["kind"]))
    rows: list[dict[str, Any]] = []
    for data in dict.fromkeys(row["data"] for row in found):
        for row in with_best([row for row in found if row["data"] == data]):
            new = bool(rows) and row["kind"] != rows[-1]["kind"]
            rows.append({**row, "network": network_of(row), "rule": new})
    changed = [row for row in rows if row["kind"] != "clean"]
    changed[0] = {**changed[0], "rule": False}
    several = len(clean) > 1
    tables = [
        Table("Energy under shift", COLUMNS["shifted"], rows, names=("data",), ruled=several),
        Table("Change under shift, %", COLUMNS["changes"], changed, names=("data",), ruled=several),
    ]
    if contrasts := rows_of(results, "contrast", clean[0]):
        tables.append(_contrast_table(contrasts, detail))
    return [*tables, *(_shifted_layers(results, one) for one in clean if detail)]


def _contrast_table(contrasts: Sequence[Row], detail: bool) -> Table:
    """Of a shift at several severities their mean alone, unless there is to be `detail`."""
    means = {(row["set"], row["shift"]) for row in contrasts if row["members"] > 1}
    rows = []
    for row in contrasts:
        if detail or row["members"] > 1 or (row["set"], row["shift"]) not in means:
            told = {
                key: NONE if row[key] is None else _change(row["quantity"], row[key])
                for key in ("a", "b", "difference", "low", "high")
            }
            told["difference"] = told["difference"].replace(" %", " points")
            ends = NONE if row["low"] is None else f"{told['low']} … {told['high']}"
            told |= {"quantity": QUANTITIES[row["quantity"]], "interval": ends}
            rows.append({**row, **told})
    first = contrasts[0]
    title = f"Change of B against change of A; A: {first['first']}, B: {first['second']}"
    return Table(title, COLUMNS["contrasts"], rows, names=("data",))


def _change(quantity: str, value: float) -> str:
    """A change for a reader: percent of the clean value, of accuracy a difference of fractions."""
    return signed(f"{value:+.3f}" if quantity == "accuracy" else f"{100 * value:+.1f} %")


def _shifted_layers(results: Results, clean: Row) -> Table:
    """Every layer of a network, below it the set as it is and the shifted ones."""
    same = ("checkpoint", "thresholds", "profile")
    shifted = rows_of(results, "shift layer", clean, same)
    rows: list[Row] = []
    for kind, part, rate in (("synapses", "layers", "input_rate"), ("neurons", "neurons", "rate")):
        for one in clean[part]:
            numbers = {"rate": one[rate], "acs": one.get("acs"), "energy_pj": one["energy_pj"]}
            rows.append({"layer": one["name"], "data": clean["data"], **numbers})
            rows += [row for row in shifted if (row["kind"], row["layer"]) == (kind, one["name"])]
    title = f"Layers of {network_of(clean)} under shift"
    return Table(title, COLUMNS["shifted_layers"], rows, names=("layer",))


def _curve_tables(results: Results, clean: Sequence[Row]) -> list[Table]:
    """Accuracy against energy over the scale of the thresholds, the front and each network's own
    setting marked.
    """
    rows = []
    for point in rows_of(results, "scale", clean[0]):
        scale = "replayed" if point["scale"] is None else f"{point['scale']:g}"
        front = "yes" if point["front"] else ""
        rows.append(
            {
                **point,
                "network": point["checkpoint"],
                "scale": f"{scale} (own)" if point["own"] else scale,
                "front": "all networks" if point["joint_front"] and len(clean) > 1 else front,
            }
        )
    title = f"Accuracy and energy over the scale of the thresholds, {clean[0]['data']}"
    return [Table(title, COLUMNS["curve"], rows, names=("network",))] if rows else []


# --- other tools' counts


def per_inference(number: int | str, samples: int, *, sign: bool = False) -> str:
    """A total over `samples` as a mean per inference, one digit behind the point where it does not
    come out even; with `sign` also where it is positive.
    """
    mean = Fraction(number) / samples
    digits = ",.0f" if mean.denominator == 1 else ",.1f"
    return format(float(mean), f"+{digits}" if sign and mean else digits)


def _macs_and_acs(one: Row, samples: int, *, sign: bool = False) -> dict[str, str]:
    return {key: per_inference(one[f"{key}_total"], samples, sign=sign) for key in ("macs", "acs")}


def _convention_tables(results: Results, result: Row, detail: bool) -> list[Table]:
    """What each convention gives of a network, and the steps from one to another: the start, every
    step that changes something, the end.
    """
    same, of = ("checkpoint", "thresholds", "data"), f"{network_of(result)} on {result['data']}"
    rows = []
    for found in rows_of(results, "conventions", result, same):
        n = found["samples"]
        extra = found["extra_total"].items()
        beside = ", ".join(f"{name} {per_inference(value, n)}" for name, value in extra)
        rows.append({**found, **_macs_and_acs(found, n), "beside": beside or None})
    tables = (
        [Table(f"{of}, by convention, per inference", COLUMNS["counted"], rows)] if rows else []
    )
    for found in rows_of(results, "ledgers", result, same):
        start, end, n = found["start"], found["end"], found["start"]["samples"]
        ends = [
            {**one, "step": one["convention"], "why": CONVENTIONS[one["convention"]].source}
            for one in (start, end)
        ]
        steps = [{**one, "step": one["name"], "why": one["reason"]} for one in found["steps"]]
        walk = [
            {**one, **_macs_and_acs(one, n, sign=one in steps), "rule": i in (1, len(steps) + 1)}
            for i, one in enumerate([ends[0], *steps, ends[1]])
        ]
        named = f"From {start['convention']} to {end['convention']}"
        tables.append(Table(f"{named}, per inference ({of})", COLUMNS["steps"], walk))
        layers = [
            {"step": step["name"], "layer": one["layer"], **_macs_and_acs(one, n, sign=True)}
            for step in found["steps"]
            for one in step["layers"]
        ]
        if detail and layers:
            title = f"{named}, layer by layer"
            tables.append(
                Table(title, COLUMNS["step_layers"], layers, names=("step",), ruled=False)
            )
    return tables


# --- JSON


def energy_content(results: Results) -> Any:
    """One object for a network, or a list of them, where results alone were asked for; else a
    mapping of lists.
    """
    records = results.records
    found = records["result"]
    lists = {
        "results": "result",
        "shifts": "shifts",
        "contrasts": "contrast",
        "scales": "scale",
        "conventions": "conventions",
        "ledger": "ledgers",
    }
    if records.keys().isdisjoint({"shift", "scale", "convention", "ledger"}):
        return found[0] if len(found) == 1 else found
    return {
        key: [{k: v for k, v in row.items() if k != "row"} for row in records.get(name, ())]
        for key, name in lists.items()
    }


ENERGY = Kind(
    name="energy",
    axes=(
        "checkpoint thresholds data profile set shift severity scale "
        "layer part operation detail quantity convention step"
    ).split(),
    tables=energy_tables,
    notes=energy_notes,
    content=energy_content,
    listed=(
        *("layer", "neurons", "operations", "account", "total", "shift", "shift layer"),
        *("contrast", "scale", "convention", "ledger"),
    ),
)
