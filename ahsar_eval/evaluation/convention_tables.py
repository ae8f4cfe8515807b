"""How other tools' counts of a run are shown, and the steps from one to another."""

from fractions import Fraction

from ahsar_eval.energy.conventions import CONVENTIONS
from ahsar_eval.energy.result import network_of
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Column, Row, Table

COUNTED = [
    Column("convention", "convention"),
    Column("macs", "MACs"),
    Column("acs", "ACs"),
    Column("beside", "beside them"),
]
STEPS = [Column("step", "step"), *COUNTED[1:3], Column("why", "why")]
STEP_LAYERS = [Column("step", "step"), Column("layer", "layer"), *COUNTED[1:3]]


def per_inference(number: int | str, samples: int, *, sign: bool = False) -> str:
    """A total over `samples` as a mean per inference, one digit behind the point where it does not
    come out even; with `sign` also where it is positive.
    """
    mean = Fraction(number) / samples
    digits = ",.0f" if mean.denominator == 1 else ",.1f"
    return format(float(mean), f"+{digits}" if sign and mean else digits)


def _per_inference(one: Row, samples: int, *, sign: bool = False) -> dict[str, str]:
    return {key: per_inference(one[f"{key}_total"], samples, sign=sign) for key in ("macs", "acs")}


def convention_tables(results: Results, detail: bool) -> list[Table]:
    """For each network what each convention gives, and the steps from one to another: the start,
    every step that changes something, the end.
    """
    tables = []
    first = results.records["result"][0]["profile"]
    for result in results.records["result"]:
        if result["profile"] != first:
            continue  # counts, whatever their price
        of = f"{network_of(result)} on {result['data']}"
        rows = []
        for found in _same_network(results, "conventions", result):
            n = found["samples"]
            extra = found["extra_total"].items()
            beside = ", ".join(f"{name} {per_inference(value, n)}" for name, value in extra)
            rows.append({**found, **_per_inference(found, n), "beside": beside or None})
        if rows:
            tables.append(Table(f"{of}, by convention, per inference", COUNTED, rows))
        for found in _same_network(results, "ledgers", result):
            tables += _step_tables(found, of, detail)
    return tables


def _same_network(results: Results, name: str, result: Row) -> list[Row]:
    same = ("checkpoint", "thresholds", "data")
    rows = results.records.get(name, ())
    return [row for row in rows if all(row[key] == result[key] for key in same)]


def _step_tables(found: Row, of: str, detail: bool) -> list[Table]:
    start, end, n = found["start"], found["end"], found["start"]["samples"]
    ends = [
        {
            "step": one["convention"],
            **_per_inference(one, n),
            "why": CONVENTIONS[one["convention"]].source,
            "rule": one is end,
        }
        for one in (start, end)
    ]
    steps = [
        {
            "step": step["name"],
            **_per_inference(step, n, sign=True),
            "why": step["reason"],
            "rule": step is found["steps"][0],
        }
        for step in found["steps"]
    ]
    named = f"From {start['convention']} to {end['convention']}"
    tables = [Table(f"{named}, per inference ({of})", STEPS, [ends[0], *steps, ends[1]])]
    layers = [
        {"step": step["name"], "layer": one["layer"], **_per_inference(one, n, sign=True)}
        for step in found["steps"]
        for one in step["layers"]
    ]
    if detail and layers:
        title = f"{named}, layer by layer"
        tables.append(Table(title, STEP_LAYERS, layers, names=("step",), ruled=False))
    return tables
