"""What the template of the page asks: numbers of the JSON that say where they stand, where rows and
means of a network are, and the lines of charts and tables.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ahsar_eval import __version__
from ahsar_eval.evaluation.compare import SIGNIFICANT
from ahsar_eval.evaluation.ood_tables import title_of
from ahsar_eval.ood.bootstrap import least_p
from ahsar_eval.report import charts
from ahsar_eval.report.content import shift_of
from ahsar_eval.report.verdict import tested_of
from ahsar_eval.results.table import NONE, signed

FOLDER = Path(__file__).parent

# How a number is written; page.js has those that it writes itself.
FORMATS: Mapping[str, Callable[[float], str]] = {
    "fraction": lambda value: f"{value:.3f}",
    "whole": lambda value: f"{value:,.0f}",
    "difference": lambda value: signed(f"{value:+.3f}"),
    "p": lambda value: "< 0.001" if value < 0.001 else f"{value:.3f}",
    "nanojoule": lambda value: f"{value / 1e3:,.2f}",
    "threshold": lambda value: f"{value:.4g}",
}
# Metrics of a cell: key of a set's row and of the ID set's, title, the values that a cell is
# coloured between, and whether more is better.
METRICS = (
    ("accuracy_ood", "accuracy", "accuracy", 0.0, 1.0),
    ("auroc", None, "AUROC", 0.5, 1.0),
    ("ece", "ece", "ECE", 0.0, 0.5),
)
BESIDE = (
    ("auroc", "AUROC"),
    ("fpr_at_tpr", "FPR"),
    ("accuracy_ood", "accuracy"),
    ("ece", "ECE"),
    ("nll", "NLL"),
    ("brier", "Brier score"),
    ("mean_rate_ood", "mean rate"),
)


def at(facts: Any, path: str) -> Any:
    """The value at a path of keys and places, such as "ood.rows.3.auroc"; a key that holds a dot is
    the rest of the path. None for a last key that is not there.
    """
    part, _, rest = path.partition(".")
    if isinstance(facts, Sequence):
        inner = facts[int(part)]
    elif path in facts or not rest or part not in facts:
        return facts.get(path)
    else:
        inner = facts[part]
    return at(inner, rest) if rest else inner


def number(facts: Any, path: str, form: str = "fraction") -> Markup:
    """A number of the JSON, which says where it stands; None is a dash."""
    value = at(facts, path)
    text = NONE if value is None else FORMATS[form](value)
    said = "" if form == "fraction" else Markup(' data-f="{}"').format(form)
    return Markup('<span data-v="{}"{}>{}</span>').format(path, said, text)


def interval(facts: Any, path: str, form: str = "fraction") -> Markup:
    """The ends of the interval of a number, or of a record that has one alone ("low" and "high");
    nothing where there is none.
    """
    between = "." if isinstance(at(facts, path), Mapping) else "_"
    if at(facts, f"{path}{between}low") is None:
        return Markup("")
    ends = [number(facts, f"{path}{between}{end}", form) for end in ("low", "high")]
    between = " … " if form == "difference" else "–"
    return Markup('<span class="ci">{}{}{}</span>').format(ends[0], between, ends[1])


def short(facts: Mapping[str, Any], name: str) -> str:
    """A set's name; that of a shift of the ID set without the set."""
    own = facts["id"]["set"]
    for between in (":", ", "):
        if name.startswith(f"{own}{between}"):
            return name.removeprefix(f"{own}{between}")
    return name


def _named(name: str, label: str, most: int = 36) -> str:
    """A set and a network that fit beside a line of a plot: of what is long the end."""
    if not label:
        return _cut(name, most)
    kept = _cut(name, max(most // 2, most - 3 - len(label)))
    return f"{kept} · {_cut(label, most - 3 - len(kept))}"


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"…{name[1 - most :]}"


def functions(facts: Mapping[str, Any], palette: Mapping[str, str]) -> dict[str, Any]:
    """What the template calls, each for these facts; `palette` has the colour of each network."""
    first = facts["score"]
    rows = {
        (row["label"], row["ood"]): f"ood.rows.{i}"
        for i, row in enumerate(facts["ood"]["rows"])
        if row["kind"] == "set" and row["score"] == first
    }
    known = {
        row["label"]: f"ood.id.{i}"
        for i, row in enumerate(facts["ood"]["id"])
        if row["score"] == first
    }
    means = {
        (row["label"], shift_of(row["set"], row["shift"], facts["id"]["set"])): f"ood.means.{i}"
        for i, row in enumerate(facts["ood"]["means"])
        if row["score"] == first and row["shift"] is not None
    }
    shifts = list(dict.fromkeys(one["shift"] for one in facts["sets"] if one["shift"]))
    return {
        "at": functools.partial(at, facts),
        "number": functools.partial(number, facts),
        "interval": functools.partial(interval, facts),
        "row": lambda label, name: rows.get((label, name)),
        "known": known.get,
        "mean": lambda label, shift: means.get((label, shift)),
        "shifts": shifts,
        "short": functools.partial(short, facts),
        "others": [one for one in facts["sets"] if not one["shift"]],
        "grid": functools.partial(_grid, facts),
        "share": lambda value, low, high: max(0.0, min(1.0, (value - low) / (high - low))),
        "curves": functools.partial(_curves, facts, rows, known),
        "forest_lines": functools.partial(_forest, facts),
        "layers": functools.partial(_layers, facts),
        "by_part": functools.partial(_by_part, facts),
        "splits": _splits(facts),
        "labels": [one["label"] for one in facts["networks"]],
        "points": _points(facts, palette),
        "bibtex": _citation(facts),
        "palette": palette,
        "title_of": title_of,
        "significant": SIGNIFICANT,
        "charts": charts,
        "where": functools.partial(_where, facts),
        "tested": tested_of(facts["comparison"]),
        "least_p": least_p,
    }


def _grid(facts: Mapping[str, Any], shift: str) -> dict[int, int]:
    """The place among the sets of each severity of a shift."""
    return {one["severity"]: i for i, one in enumerate(facts["sets"]) if one["shift"] == shift}


def _where(facts: Mapping[str, Any], kind: str, label: str, name: str = "") -> str | None:
    """Where in a list of the JSON a network's entry, or one of its sets, stands."""
    for i, one in enumerate(facts[kind]):
        if one["label"] == label and name in ("", one.get("ood")):
            return f"{kind}.{i}"
    return None


def _curves(
    facts: Mapping[str, Any],
    rows: Mapping[Any, str],
    known: Mapping[str, str],
    shift: str,
    key: str,
    clean: str | None,
    palette: Sequence[str],
) -> list[tuple[str, str, bool, list[dict[str, Any]]]]:
    """A metric of every network over the severities of a shift, the clean set first."""
    found = []
    for network, colour in zip(facts["networks"], palette, strict=True):
        label = network["label"]
        places = [(0, f"{known[label]}.{clean}")] if clean and label in known else []
        for severity, i in sorted(_grid(facts, shift).items()):
            where = rows.get((label, facts["sets"][i]["name"]))
            places += [(severity, f"{where}.{key}")] if where else []
        points = [
            {
                "severity": severity,
                "value": at(facts, where),
                "low": at(facts, f"{where}_low"),
                "high": at(facts, f"{where}_high"),
                "path": where,
            }
            for severity, where in places
            if at(facts, where) is not None
        ]
        if points:
            found.append((label, colour, network["adaptation"] is not None, points))
    return found


def _forest(
    facts: Mapping[str, Any], metric: str, palette: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The lines of the forest plot of a metric. AUROC on a shift that keeps the labels is left out:
    neither sign is better there.
    """
    several = len({one["label"] for one in facts["comparison"]}) > 1
    return [
        {
            "name": _named(short(facts, one["ood"]), one["label"] if several else ""),
            "value": one["difference"],
            "low": one["low"],
            "high": one["high"],
            "sure": one["p_holm"] is not None and one["p_holm"] < SIGNIFICANT,
            "colour": palette[one["label"]],
            "path": f"comparison.{i}.difference",
        }
        for i, one in enumerate(facts["comparison"])
        if one["metric"] == metric and not (metric == "auroc" and one["labels_preserved"])
    ]


def _points(facts: Mapping[str, Any], palette: Mapping[str, str]) -> list[dict[str, Any]]:
    """The points of accuracy against energy, with colours and where their numbers stand."""
    return [
        {**one, "colour": palette[one["label"]], "path": f"energy.points.{i}.accuracy"}
        for i, one in enumerate(facts["energy"]["points"])
    ]


def _layers(facts: Mapping[str, Any], network: int) -> list[dict[str, Any]]:
    """Energy of each layer by part at the chosen profile, pJ, in the order of the network."""
    own = facts["energy"]["networks"][network]
    prices = own["prices"][facts["energy"]["profile"]]
    layers: dict[str, dict[str, float]] = {}
    for line, price in zip(own["lines"], prices, strict=True):
        parts = layers.setdefault(
            line["layer"], dict.fromkeys(("synapses", "neurons", "rest"), 0.0)
        )
        part = line["part"] if line["part"] in parts else "rest"
        parts[part] += line["count"] * (price or 0.0)
    top = max((sum(parts.values()) for parts in layers.values()), default=0.0) or 1.0
    return [
        {
            "name": name,
            "total": sum(parts.values()),
            "shares": {part: value / top for part, value in parts.items()},
        }
        for name, parts in layers.items()
    ]


def _by_part(facts: Mapping[str, Any], network: int) -> list[tuple[Any, ...]]:
    """Operations of a network over all layers: part, operation, detail, count, and pJ at the chosen
    profile, None without a price.
    """
    own = facts["energy"]["networks"][network]
    prices = own["prices"][facts["energy"]["profile"]]
    found: dict[tuple[str, str, str], tuple[float, float | None]] = {}
    for line, price in zip(own["lines"], prices, strict=True):
        key = line["part"], line["operation"], line["detail"]
        count, pj = found.get(key, (0.0, None))
        if price is not None:
            pj = (pj or 0.0) + line["count"] * price
        found[key] = count + line["count"], pj
    return [(*key, *told) for key, told in found.items()]


def _citation(facts: Mapping[str, Any]) -> str:
    """BibTeX of this version of the program, and of the paper where its method is used."""
    text = (FOLDER / "cite.bib").read_text(encoding="utf-8").strip()
    program, paper = text.replace("VERSION", __version__).split("\n\n")
    of_paper = [one["method"] not in (None, "", "baseline") for one in facts["networks"]]
    adapts = any(one["adaptation"] for one in facts["networks"])
    return f"{program}\n\n{paper}" if any(of_paper) or adapts else program


def _splits(facts: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Role and identity of every split that a network saw, by its name."""
    return {
        split["name"]: (split["role"], split["identity"])
        for one in facts["provenance"]["checkpoints"]
        for split in (one["id"], *one["ood"], *one["fitted_on"])
    }
