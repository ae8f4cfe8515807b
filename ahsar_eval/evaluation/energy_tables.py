"""How energy is shown: columns and tables declared once, other tools' counts, and the JSON; all
from records.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ahsar_eval.energy.conventions import CONVENTIONS
from ahsar_eval.energy.result import accuracy_per_uj, label_of, network_of
from ahsar_eval.evaluation.energy_records import ORIGIN, by_profile, energy_notes, records_like
from ahsar_eval.evaluation.requirement_tables import requirement_tables
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import NONE, Column, Row, Table, read_columns, signed, with_best

QUANTITIES = {
    "energy_pj": "energy",
    "synops": "SynOps",
    "rate": "mean rate",
    "accuracy": "accuracy",
}
COLUMNS = read_columns(__file__, "energy")


def energy_tables(results: Results, detail: bool) -> list[Table]:
    """Below each profile: layers and neurons of every network, then totals, what stands beside them
    and every kind of operation; under shift and over scales. Then other tools' counts.

    `detail` adds the published break-even points, every layer under shift, every severity to the
    comparison of two networks, and steps between conventions layer by layer.
    """
    tables, profiles = [], by_profile(results)
    for found in profiles:
        networks = [_network(result) for result in found["result"]]
        tables += [one for network in networks for one in _layer_tables(network)]
        tables += _network_tables(networks)
        points = [
            {**network, **one, "below": {True: "yes", False: "no"}.get(one["below"])}
            for network in networks
            for one in network["break_even"]
        ]
        if detail and points:
            tables.append(_by_network("published break-even points", "break_even", points))
        if "memory" in results.by:
            title = "With memory access (Lemaire et al. 2022), nJ per inference, "
            memory = [
                {**network, **one, **{f"{name}_pj": pj for name, pj in one["by_memory_pj"].items()}}
                for network in networks
                if (one := network["memory"]) is not None
            ]
            tables.append(_by_network(title + networks[0]["profile"], "memory", memory))
        if found["shift"]:
            tables += _shift_tables(found, networks, detail)
        if found["scale"]:
            tables.append(_curve_table(found["scale"], networks))
    for result in profiles[0]["result"]:  # counts, whatever their price
        counted = records_like(results, result, *ORIGIN)
        of = f"{network_of(result)} on {result['data']}"
        tables += _convention_tables(counted, of, detail)
    return tables + requirement_tables(results.records.get("requirements", ()))


def _by_network(title: str, shown: str, rows: Sequence[Row]) -> Table:
    """A table whose rows are of a network each."""
    return Table(title, COLUMNS[shown], rows, names=("network",), ruled=False)


def _network(result: Row) -> dict[str, Any]:
    """The result of a network with its name for a reader, and the energy of neurons and of all that
    is neither of synapses nor of neurons; None where nothing of it is priced.
    """
    parts = {**result["totals_by_part"]}
    neurons, _ = parts.pop("neurons", None), parts.pop("synapses", None)
    other = sum(parts.values()) if parts else None
    return {**result, "network": network_of(result), "neurons_pj": neurons, "other_pj": other}


def _layer_tables(network: Row) -> list[Table]:
    """Layers with weights, operations without, the spiking layers together, and the total; then
    each spiking layer.
    """
    energy, neurons = network["neurons_pj"], network["neurons"]
    operators = [
        {
            **one,
            "input": one["part"],
            "acs": one["acs"] or None,
            "macs": one["macs"] or None,
            "other_pj": one["energy_pj"],
        }
        for one in network["operators"]
    ]
    total = {
        "name": "total",
        "rule": True,
        "input": "",
        "acs": network["total_acs"],
        "macs": network["total_macs"],
        "synaptic_pj": network["synaptic_energy_pj"],
        "other_pj": network["other_pj"],
        "energy_pj": network["total_energy_pj"],
    }
    rows = [*network["layers"], *operators, {"name": "spiking layers", "energy_pj": energy}]
    if network.get("regulation", {}).get("operations"):
        pj = network["regulation"]["energy_pj"]
        rows.append({"name": "regulation", "other_pj": pj, "energy_pj": pj})
    rows.append(total)
    title = f"{network['checkpoint']} on {network['data']}, thresholds: {network['thresholds']}"
    sums = {key: sum(one[key] for one in neurons) for key in ("neurons", "spikes", "updates")}
    fired = {"name": "total", "rule": True, **sums, "energy_pj": energy}
    return [
        Table(title, COLUMNS["layers"], rows),
        Table("", COLUMNS["neurons"], [*neurons, fired]),
    ]


def _network_tables(networks: Sequence[Row]) -> list[Table]:
    """Totals, their parts, the ANN, and every kind of operation, a row or a column per network."""
    rows: list[Row] = []
    operations: dict[str, dict[str, Any]] = {}
    for i, network in enumerate(networks):
        ends = [network["quantiles_pj"][at] / 1000 for at in ("0.05", "0.95")]
        row = {
            **network,
            "range_pj": NONE.join(f"{nj:,.2f}" for nj in ends),
            "accuracy_per_uj": accuracy_per_uj(network["accuracy"], network["total_energy_pj"]),
            **{f"ann_{key}": value for key, value in network["ann"].items()},
        }
        rows.append(row)
        for one in network["parts"]:
            name = f"{one['part']}: {one['operation']}"
            if one["detail"] not in ("", one["operation"]):
                name += f", {one['detail']}"
            counts = operations.setdefault(name, {"operation": name})
            counts[str(i)] = counts.get(str(i), 0.0) + one["count"]
    each = [Column(str(i), network["network"], ",.1f") for i, network in enumerate(networks)]
    first = networks[0]
    title = f"per inference on {first['data']} (n = {first['n']}), {first['profile']}"
    counted = [Column("operation", "operation"), *each]
    return [
        _by_network(title, "totals", with_honest_best(rows)),
        _by_network("energy by part and over samples, nJ per inference", "parts", rows),
        _by_network("synapses and the ANN, per inference", "beside", rows),
        Table("operations per inference", counted, list(operations.values())),
    ]


def with_honest_best(rows: Sequence[Row]) -> list[Row]:
    """Rows of networks, in bold the highest accuracy on each set, and the lowest energy where
    nothing is more accurate; nothing for one network or without labels.

    A network that errs, or is silent, saves energy; a low number alone is not good.
    """
    unknown = {row["data"] for row in rows if row["accuracy"] is None}
    return [
        {**row, "bold": row["bold"] if "accuracy" in row["bold"] else ()}
        for row in with_best(
            rows, COLUMNS["totals"], ("data",), lambda row, _: row["data"] in unknown
        )
    ]


def _shift_tables(
    found: Mapping[str, Sequence[Row]], networks: Sequence[Row], detail: bool
) -> list[Table]:
    """Networks under every shift against themselves on the set as it is (sets below one another,
    the clean one first), then two networks' changes compared.
    """
    shifts = [{**row, "network": network_of(row)} for row in found["shift"]]
    every = [*({**network, "kind": "clean"} for network in networks), *shifts]
    kinds, sets = ["clean", "set", "mean"], list(dict.fromkeys(row["data"] for row in every))
    every.sort(key=lambda row: (kinds.index(row["kind"]), sets.index(row["data"])))
    rows = with_honest_best(every)
    rows = [
        {**row, "rule": row["kind"] != before["kind"]}
        for before, row in zip([rows[0], *rows], rows, strict=False)
    ]
    changed = [row for row in rows if row["kind"] != "clean"]
    look: dict[str, Any] = {"names": ("data",), "ruled": len(networks) > 1}
    tables = [
        Table("Energy under shift", COLUMNS["shifted"], rows, **look),
        Table("Change under shift, %", COLUMNS["changes"], changed, **look),
    ]
    if found["contrast"]:
        tables.append(_contrast_table(found["contrast"], detail))
    layers = found["shift layer"]
    return [*tables, *(_shifted_layers(layers, one) for one in networks if detail)]


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


def _shifted_layers(layers: Sequence[Row], clean: Row) -> Table:
    """Every layer of a network, below it the set as it is and the shifted ones."""
    shifted = [row for row in layers if network_of(row) == clean["network"]]
    rows: list[Row] = []
    for kind, part, rate in (("synapses", "layers", "input_rate"), ("neurons", "neurons", "rate")):
        for one in clean[part]:
            named = {"layer": one["name"], "data": clean["data"], "rate": one[rate]}
            rows.append({**one, **named})
            rows += [row for row in shifted if (row["kind"], row["layer"]) == (kind, one["name"])]
    title = f"Layers of {clean['network']} under shift"
    return Table(title, COLUMNS["shifted_layers"], rows, names=("layer",))


def _curve_table(points: Sequence[Row], networks: Sequence[Row]) -> Table:
    """Accuracy against energy over the scale of the thresholds, the front and each network's own
    setting marked.
    """
    rows = []
    for point in points:
        unscaled = "adapted" if point.get("adaptation") else "replayed"
        scale = unscaled if point["scale"] is None else f"{point['scale']:g}"
        front = "yes" if point["front"] else ""
        rows.append(
            {
                **point,
                "checkpoint": label_of(point),
                "scale": f"{scale} (own)" if point["own"] else scale,
                "front": "all networks" if point["joint_front"] and len(networks) > 1 else front,
            }
        )
    title = f"Accuracy and energy over the scale of the thresholds, {networks[0]['data']}"
    return Table(title, COLUMNS["curve"], rows, names=("checkpoint",))


# --- other tools' counts


def per_inference(one: Row, *, sign: bool = False) -> dict[str, str]:
    """Totals over "samples" as means per inference, one digit behind the point where it does not
    come out even; with `sign` also where it is positive.
    """
    texts = {}
    for key in ("macs", "acs"):
        mean = Fraction(one.get(f"{key}_total", 0)) / one["samples"]
        digits = ",.0f" if mean.denominator == 1 else ",.1f"
        texts[key] = format(float(mean), f"+{digits}" if sign and mean else digits)
    return texts


def _convention_tables(found: Mapping[str, Sequence[Row]], of: str, detail: bool) -> list[Table]:
    """What each convention gives of a network, and the steps from one to another: the start, every
    step that changes something, the end.
    """
    tables, rows = [], []
    for one in found["conventions"]:
        extra = [
            f"{name} {per_inference({**one, 'acs_total': value})['acs']}"
            for name, value in one["extra_total"].items()
        ]
        rows.append({**one, **per_inference(one), "beside": ", ".join(extra) or None})
    if rows:
        tables.append(Table(f"{of}, by convention, per inference", COLUMNS["counted"], rows))
    for one in found["ledgers"]:
        first, last = (
            {"step": end["convention"], "why": CONVENTIONS[end["convention"]].source}
            | per_inference(end)
            for end in (one["start"], one["end"])
        )
        samples = one["start"]["samples"]
        lines = [
            {**line, "step": step["name"], "why": step["reason"]}
            | per_inference({**line, "samples": samples}, sign=True)
            for step in one["steps"]
            for line in (step, *step["layers"])
        ]
        layers = [line for line in lines if "layer" in line]
        walk = [first, *(line for line in lines if "layer" not in line), last]
        # Rules set the steps off from the start and from the end.
        walk = [{**line, "rule": i in (1, len(walk) - 1)} for i, line in enumerate(walk)]
        named = f"From {first['step']} to {last['step']}"
        tables.append(Table(f"{named}, per inference ({of})", COLUMNS["steps"], walk))
        if detail and layers:
            title, shown = f"{named}, layer by layer", COLUMNS["step_layers"]
            tables.append(Table(title, shown, layers, names=("step",), ruled=False))
    return tables


# --- JSON


def energy_content(results: Results) -> Any:
    """One object for a network, or a list of them, where results alone were asked for; else a
    mapping of lists.
    """
    records, found = results.records, results.records["result"]
    lists = {
        "results": "result",
        "shifts": "shifts",
        "contrasts": "contrast",
        "scales": "scale",
        "conventions": "conventions",
        "ledger": "ledgers",
    }
    if "requirements" in records:
        lists["requirements"] = "requirements"
    if records.keys().isdisjoint({"shift", "scale", "convention", "ledger", "requirements"}):
        return found[0] if len(found) == 1 else found
    return {key: records.get(name, ()) for key, name in lists.items()}


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
    lists_named=True,
)
