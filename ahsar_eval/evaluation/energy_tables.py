"""How energy is shown: columns and tables declared once, notes, and the JSON; all from records."""

from collections.abc import Sequence
from typing import Any

from ahsar_eval.energy.lemaire import MEMORIES
from ahsar_eval.energy.result import accuracy_per_uj, network_of
from ahsar_eval.evaluation.convention_tables import convention_tables
from ahsar_eval.evaluation.energy_notes import energy_notes, profiles_of, rows_of
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import INTERVAL, NONE, Column, Row, Table, signed

QUANTITIES = {
    "energy_pj": "energy",
    "synops": "SynOps",
    "rate": "mean rate",
    "accuracy": "accuracy",
}


def percent(fraction: float) -> str:
    """A change as percent of the clean value, without the sign %."""
    return signed(f"{100 * fraction:+.1f}")


def nano(key: str, title: str) -> Column:
    """An energy in pJ, shown in nJ."""
    return Column(key, title, ",.2f", divide=1000)


NETWORK = Column("network", "checkpoint")
ON_SET = [
    Column("accuracy", "accuracy"),
    Column("mean_rate", "mean rate"),
    Column("total_acs", "SynOps (AC)", ",.0f"),
]
ENERGY_NJ = nano("total_energy_pj", "nJ")
LAYERS = [
    Column("name", "layer"),
    Column("input", "input"),
    Column("input_rate", "rate in"),
    Column("acs", "SynOps (AC)", ",.1f"),
    Column("macs", "MACs", ",.0f"),
    Column("synaptic_pj", "pJ synapses", ",.1f"),
    Column("other_pj", "pJ other", ",.1f"),
    Column("energy_pj", "pJ total", ",.1f"),
]
NEURONS = [
    Column("name", "spiking layer"),
    Column("neurons", "neurons", ","),
    Column("threshold", "threshold"),
    Column("rate", "rate"),
    Column("spikes", "spikes", ",.1f"),
    Column("updates", "updates", ","),
    Column("energy_pj", "pJ", ",.1f"),
]
TOTALS = [NETWORK, *ON_SET, Column("total_macs", "MACs", ",.0f"), ENERGY_NJ]
PARTS = [
    NETWORK,
    nano("synaptic_energy_pj", "nJ synapses"),
    nano("neurons_pj", "nJ neurons"),
    nano("other_pj", "nJ other"),
    nano("total_energy_std_pj", "± sd over samples"),
    Column(
        "range_pj", "5–95 % of samples", lambda ends: NONE.join(f"{pj / 1000:,.2f}" for pj in ends)
    ),
]
BESIDE = [
    NETWORK,
    Column("accuracy_per_uj", "accuracy per µJ"),
    Column("synops_per_synapse", "spikes per synapse"),
    Column("ann_macs", "ANN MACs", ","),
    nano("ann_pj", "ANN nJ"),
    Column("ann_ratio", "SNN / ANN"),
]
BREAK_EVEN = [
    NETWORK,
    Column("quantity", "published break-even point"),
    Column("against", "against"),
    Column("limit", "limit"),
    Column("value", "here"),
    Column("below", "below it", lambda below: "yes" if below else "no"),
]
MEMORY = [
    NETWORK,
    *(nano(f"{part}_pj", part) for part in ("computation", "addressing", "memory", *MEMORIES)),
    nano("total_pj", "total"),
]
SHIFTED = [Column("data", "set"), NETWORK, *ON_SET, ENERGY_NJ]
CHANGES = [
    Column("data", "set"),
    NETWORK,
    *(
        Column(f"{name}_change", title, percent, interval=True)
        for name, title in (("energy", "energy"), ("synops", "SynOps"), ("rate", "mean rate"))
    ),
]
SHIFTED_LAYERS = [
    Column("layer", "layer"),
    Column("data", "set"),
    Column("rate", "rate"),
    Column("rate_change", "change, %", percent, interval=True),
    Column("acs", "SynOps (AC)", ",.1f"),
    Column("synops_change", "change, %", percent, interval=True),
    Column("energy_pj", "pJ", ",.1f"),
    Column("energy_change", "change, %", percent),
]
CONTRASTS = [
    Column("data", "set"),
    Column("quantity", "change of", QUANTITIES.__getitem__),
    *(Column(key, title) for key, title in (("a", "A"), ("b", "B"), ("difference", "B − A"))),
    Column("interval", INTERVAL),
]
CURVE = [
    NETWORK,
    Column("scale", "threshold scale"),
    *ON_SET,
    ENERGY_NJ,
    Column("accuracy_per_uj", "accuracy per µJ"),
    Column("front", "Pareto front"),
]


def energy_tables(results: Results, detail: bool) -> list[Table]:
    """Below each profile: layers and neurons of every network, then totals, what stands beside them
    and every kind of operation; under shift and over scales. Then other tools' counts.

    `detail` adds the published break-even points, every layer under shift, every severity to the
    comparison of two networks, and steps between conventions layer by layer.
    """
    tables = []
    for profile in profiles_of(results):
        found = rows_of(results, "result", profile)
        for result in found:
            tables += [_layer_table(result), _neuron_table(result)]
        tables += _network_tables(found)
        points = [{**result, **one} for result in found for one in result["break_even"]]
        if detail and points:
            tables.append(_by_network("published break-even points", BREAK_EVEN, points))
        if "memory" in results.by:
            title = f"With memory access (Lemaire et al. 2022), nJ per inference, {profile}"
            memory = [
                {**result, **one, **{f"{name}_pj": pj for name, pj in one["by_memory_pj"].items()}}
                for result in found
                if (one := result["memory"]) is not None
            ]
            tables.append(_by_network(title, MEMORY, memory))
        tables += _shift_tables(results, profile, found, detail)
        tables += _curve_tables(results, profile, found)
    return [*tables, *convention_tables(results, detail)]


def _by_network(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """A table whose rows are of a network each."""
    named = [{**row, "network": network_of(row)} for row in rows]
    return Table(title, columns, named, names=("network",), ruled=False)


def other_pj(result: Row) -> float | None:
    """Energy that is neither of synapses nor of neurons; None where nothing of it is priced."""
    parts = result["totals_by_part"].items()
    rest = [energy for part, energy in parts if part not in ("synapses", "neurons")]
    return sum(rest) if rest else None


def _layer_table(result: Row) -> Table:
    """Layers with weights, operations without, the spiking layers together, and the total."""
    rows: list[dict[str, Any]] = [*result["layers"]]
    for one in result["operators"]:
        counted = {key: one[key] or None for key in ("acs", "macs")}
        energy = {"other_pj": one["energy_pj"], "energy_pj": one["energy_pj"]}
        rows.append({"name": one["name"], "input": one["part"], **counted, **energy})
    neurons = result["totals_by_part"].get("neurons")
    rows.append({"name": "spiking layers", "energy_pj": neurons})
    rows.append(
        {
            "name": "total",
            "rule": True,
            "input": "",
            "acs": result["total_acs"],
            "macs": result["total_macs"],
            "synaptic_pj": result["synaptic_energy_pj"],
            "other_pj": other_pj(result),
            "energy_pj": result["total_energy_pj"],
        }
    )
    title = f"{result['checkpoint']} on {result['data']}, thresholds: {result['thresholds']}"
    return Table(title, LAYERS, rows)


def _neuron_table(result: Row) -> Table:
    neurons = result["neurons"]
    sums = {key: sum(one[key] for one in neurons) for key in ("neurons", "spikes", "updates")}
    energy = result["totals_by_part"].get("neurons")
    total = {"name": "total", "rule": True, **sums, "energy_pj": energy}
    return Table("", NEURONS, [*neurons, total])


def _network_tables(found: Sequence[Row]) -> list[Table]:
    """Totals, their parts, the ANN, and every kind of operation, a row or a column per network."""
    rows, sums = [], []
    for result in found:
        ann, quantiles = result["ann"], result["quantiles_pj"]
        rows.append(
            {
                **result,
                "neurons_pj": result["totals_by_part"].get("neurons"),
                "other_pj": other_pj(result),
                "range_pj": (quantiles["0.05"], quantiles["0.95"]),
                "accuracy_per_uj": accuracy_per_uj(result["accuracy"], result["total_energy_pj"]),
                "ann_macs": ann["macs"],
                "ann_pj": ann["energy_pj"],
                "ann_ratio": ann["ratio"],
            }
        )
        counts: dict[str, float] = {}
        for one in result["parts"]:
            name = f"{one['part']}: {one['operation']}"
            if one["detail"] not in ("", one["operation"]):
                name += f", {one['detail']}"
            counts[name] = counts.get(name, 0.0) + one["count"]
        sums.append(counts)
    names = [network_of(result) for result in found]
    operations = [
        {"operation": name, **{str(i): counts.get(name) for i, counts in enumerate(sums)}}
        for name in dict.fromkeys(name for counts in sums for name in counts)
    ]
    columns = [Column(str(i), name, ",.1f") for i, name in enumerate(names)]
    first = found[0]
    title = f"per inference on {first['data']} (n = {first['n']}), {first['profile']}"
    return [
        _by_network(title, TOTALS, with_best(rows)),
        _by_network("energy by part and over samples, nJ per inference", PARTS, rows),
        _by_network("synapses and the ANN, per inference", BESIDE, rows),
        Table("operations per inference", [Column("operation", "operation"), *columns], operations),
    ]


def with_best(rows: Sequence[Row]) -> list[Row]:
    """Rows of networks on one set, in bold the highest accuracy, and the lowest energy where
    nothing is more accurate; nothing for one network or without labels.

    A network that errs, or is silent, saves energy; a low number alone is not good.
    """
    known = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    if len(rows) < 2 or len(known) < len(rows):
        return list(rows)
    least = min(row["total_energy_pj"] for row in rows)
    marked: list[Row] = []
    for row in rows:
        bold = {"accuracy"} if row["accuracy"] == max(known) else set()
        if bold and row["total_energy_pj"] == least:
            bold.add("total_energy_pj")
        marked.append({**row, "bold": bold})
    return marked


def _shift_tables(
    results: Results, profile: str, clean: Sequence[Row], detail: bool
) -> list[Table]:
    """Networks under every shift against themselves on the set as it is (sets below one another,
    the clean one first), then two networks' changes compared.
    """
    shifts = rows_of(results, "shift", profile)
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
        Table("Energy under shift", SHIFTED, rows, names=("data",), ruled=several),
        Table("Change under shift, %", CHANGES, changed, names=("data",), ruled=several),
    ]
    contrasts = rows_of(results, "contrast", profile)
    if contrasts:
        tables.append(_contrast_table(contrasts, detail))
    return [*tables, *(_shifted_layers(results, one) for one in clean if detail)]


def _contrast_table(contrasts: Sequence[Row], detail: bool) -> Table:
    """Of a shift at several severities their mean alone, unless there is to be `detail`."""
    means = {(row["set"], row["shift"]) for row in contrasts if row["members"] > 1}
    rows = []
    for row in contrasts:
        if detail or row["members"] > 1 or (row["set"], row["shift"]) not in means:
            a, b, difference = (_change(row, row[key]) for key in ("a", "b", "difference"))
            ends = NONE
            if row["low"] is not None:
                ends = f"{_change(row, row['low'])} … {_change(row, row['high'])}"
            told = difference.replace(" %", " points")
            rows.append({**row, "a": a, "b": b, "difference": told, "interval": ends})
    first = contrasts[0]
    title = f"Change of B against change of A; A: {first['first']}, B: {first['second']}"
    return Table(title, CONTRASTS, rows, names=("data",))


def _change(row: Row, value: float) -> str:
    """A change for a reader: percent of the clean value, of accuracy a difference of fractions."""
    return signed(f"{value:+.3f}") if row["quantity"] == "accuracy" else f"{percent(value)} %"


def _shifted_layers(results: Results, clean: Row) -> Table:
    """Every layer of a network, below it the set as it is and the shifted ones."""
    same = ("checkpoint", "thresholds", "profile")
    shifted = [
        row
        for row in results.records["shift layer"]
        if all(row[name] == clean[name] for name in same)
    ]
    rows: list[Row] = []
    for kind, layers in (("synapses", clean["layers"]), ("neurons", clean["neurons"])):
        for one in layers:
            rate = one["input_rate"] if kind == "synapses" else one["rate"]
            numbers = {"rate": rate, "acs": one.get("acs"), "energy_pj": one["energy_pj"]}
            rows.append({"layer": one["name"], "data": clean["data"], **numbers})
            rows += [row for row in shifted if (row["kind"], row["layer"]) == (kind, one["name"])]
    title = f"Layers of {network_of(clean)} under shift"
    return Table(title, SHIFTED_LAYERS, rows, names=("layer",))


def _curve_tables(results: Results, profile: str, clean: Sequence[Row]) -> list[Table]:
    """Accuracy against energy over the scale of the thresholds, the front and each network's own
    setting marked.
    """
    rows = []
    for point in rows_of(results, "scale", profile):
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
    return [Table(title, CURVE, rows, names=("network",))] if rows else []


# --- JSON


def energy_content(results: Results) -> Any:
    """One object for a network, or a list of them, where results alone were asked for; else a
    mapping of lists.
    """
    records = results.records
    found = records["result"]
    if not any(name in records for name in ("shift", "scale", "convention", "ledger")):
        return found[0] if len(found) == 1 else found
    lists = {
        "results": "result",
        "shifts": "shifts",
        "contrasts": "contrast",
        "scales": "scale",
        "conventions": "conventions",
        "ledger": "ledgers",
    }
    return {
        key: [{k: v for k, v in row.items() if k != "row"} for row in records.get(name, ())]
        for key, name in lists.items()
    }


ENERGY = Kind(
    name="energy",
    axes=(
        *("checkpoint", "thresholds", "data", "profile", "set", "shift", "severity", "scale"),
        *("layer", "part", "operation", "detail", "quantity", "convention", "step"),
    ),
    tables=energy_tables,
    notes=energy_notes,
    content=energy_content,
    listed=(
        *("layer", "neurons", "operations", "account", "total", "shift", "shift layer"),
        *("contrast", "scale", "convention", "ledger"),
    ),
)
