"""The gate: what is required of networks in one line each ("accuracy(contrast:3)>=0.6"), and which
of it they meet (docs/gate.md).

A requirement is decided on the end of the 95 % interval that speaks against it: the lower one for
>= and >, the upper one for <= and <. Where there is no number or no interval it is not met.
"""

import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ahsar_eval.data import group_of
from ahsar_eval.data.shifts import ALIASES
from ahsar_eval.energy.result import network_of
from ahsar_eval.energy.shift import half_width
from ahsar_eval.errors import UsageError, close_to
from ahsar_eval.evaluation.requests import Gated, check_once
from ahsar_eval.ood import SEPARATION
from ahsar_eval.results.table import Row

if TYPE_CHECKING:
    from ahsar_eval.evaluation.inputs import Plan
    from ahsar_eval.results.results import Results

INTERVAL, ESTIMATE = "interval", "estimate"
COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
UNITS = {"pJ": 1.0, "nJ": 1e3, "µJ": 1e6, "mJ": 1e9, "J": 1e12}  # in pJ
_MICRO = {"uJ": "µJ", "μJ": "µJ"}  # typed plainly, and with the Greek letter
_SHAPE = re.compile(
    r"""\s* (?P<metric>\w[\w-]*) \s* (?:\((?P<set>.*)\))? \s*
    (?P<comparison>>=|<=|≥|≤|>|<) \s*
    (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?) \s* (?P<unit>[^\W\d]+|%)?
    (?:\s+on\s+(?P<on>\S+))? \s*""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Metric:
    """What can be required: under which `keys` its number stands in the records of each kind of
    results, the kind that decides first.

    A `fraction` lies in [0, 1]. One that is `of_pairs` separates a set from the ID set. `spread` is
    the key of its standard deviation over samples in energy's records, from which its interval is
    made; records of `ood` hold the ends themselves, `has_interval` says whether ever.
    """

    keys: Mapping[str, str]
    fraction: bool = True
    of_pairs: bool = False
    has_interval: bool = True
    spread: str = ""


METRICS = {
    "accuracy": Metric({"ood": "accuracy"}),
    **{name.replace("_at_tpr", ""): Metric({"ood": name}, of_pairs=True) for name in SEPARATION},
    "nll": Metric({"ood": "nll"}, fraction=False),
    "brier": Metric({"ood": "brier"}, fraction=False),
    # Calibration errors are biased, and no resampling tells their interval (docs/ood.md).
    "ece": Metric({"ood": "ece"}, has_interval=False),
    "ece_equal_mass": Metric({"ood": "ece_equal_mass"}, has_interval=False),
    "misclassification_auroc": Metric({"ood": "misclassification_auroc"}),
    "aurc": Metric({"ood": "aurc"}),
    "rate": Metric({"ood": "mean_rate", "energy": "mean_rate"}, fraction=False, spread="rate_std"),
    "energy": Metric({"energy": "total_energy_pj"}, fraction=False, spread="energy_std_pj"),
    "synops": Metric({"energy": "total_acs"}, fraction=False, spread="synops_std"),
    # The number of MACs is the same for every sample, unless zeros are left out (--macs).
    "macs": Metric({"energy": "total_macs"}, fraction=False, has_interval=False),
}


# As records have it: fpr_at_tpr is fpr, mean_rate is rate.
_IN_RECORDS = {key: name for name, metric in METRICS.items() for key in metric.keys.values()}


@dataclass(frozen=True)
class Requirement:
    """`metric` of a set (`of`; "" is the ID set) on one side of a `number`, an energy's with its
    `unit`; `on` is "interval", "estimate", or "" where the request says it for all.
    """

    metric: str
    of: str
    comparison: str
    number: float
    unit: str = ""
    on: str = ""

    def __str__(self) -> str:
        of = f"({self.of})" if self.of else ""
        number = repr(self.number).removesuffix(".0")
        on = f" on {self.on}" if self.on else ""
        return f"{self.metric}{of}{self.comparison}{number}{self.unit}{on}"

    @property
    def is_lower_bound(self) -> bool:
        """Whether the value must lie above the number."""
        return self.comparison.startswith(">")


def parse(text: str) -> Requirement:
    """Read "METRIC[(SET)] COMPARISON NUMBER [UNIT] [on interval|estimate]". Raises `UsageError`."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        quotes = "" if any(sign in text for sign in "<>≤≥") else " in quotes, for a shell takes > "
        quotes += "for a file" if quotes else ""
        raise UsageError(
            f"the requirement {text!r} cannot be read; expected METRIC(SET) or METRIC alone, one "
            f"of >=, <=, > and <, and a number, such as 'accuracy(contrast:3)>=0.6'{quotes}"
        )
    name, on = found["metric"], found["on"] or ""
    name = _IN_RECORDS.get(name, name)
    if name not in METRICS:
        raise UsageError(
            f"unknown metric {name!r} in the requirement {text!r}{close_to(name, METRICS)}; known "
            f"are {', '.join(METRICS)}"
        )
    if on not in ("", INTERVAL, ESTIMATE):
        raise UsageError(
            f"the requirement {text!r} is to be decided on {on!r}; expected {INTERVAL} or "
            f"{ESTIMATE}"
        )
    comparison = found["comparison"].replace("≥", ">=").replace("≤", "<=")
    number, of = float(found["number"]), (found["set"] or "").strip()
    unit = _unit(text, name, number, found["unit"] or "")
    if found["set"] is not None and not of:
        raise UsageError(f"the requirement {text!r} names no set between its brackets; name one")
    if METRICS[name].of_pairs and not of:
        raise UsageError(
            f"the requirement {text!r} names no set, and {name} tells one from the ID set; write "
            f"{name}(SET), such as {name}(photo-patches)"
        )
    return Requirement(name, of, comparison, number, unit, on)


def _unit(text: str, name: str, number: float, unit: str) -> str:
    """The unit of an energy; none of a fraction or a count. Raises `UsageError`."""
    if name == "energy":
        unit = _MICRO.get(unit, unit)
        if unit not in UNITS:
            what = f"the unit {unit!r}{close_to(unit, UNITS)}" if unit else "no unit"
            raise UsageError(
                f"the requirement {text!r} has {what}; expected one of {', '.join(UNITS)} (or uJ)"
            )
    elif unit:
        plain = f"a fraction, such as {number / 100:g}" if unit == "%" else "a number without one"
        raise UsageError(f"the requirement {text!r} gives {name} the unit {unit!r}; write {plain}")
    if not math.isfinite(number) or number < 0 or (METRICS[name].fraction and number > 1):
        kind = "a fraction from 0 to 1" if METRICS[name].fraction else "a finite number from 0"
        raise UsageError(f"{number:g} in the requirement {text!r} is no {name}; expected {kind}")
    return unit


# Why a metric has no number.
_NO_LABELS = "no label is known that means what the ID set's do"
_UNDEFINED = {
    "rate": "no layer is known to spike",
    "misclassification_auroc": "not some predictions are right and some wrong, or none is judged",
}


# --- before the first pass


def checked(request: Gated, kinds: Sequence[str]) -> tuple[Requirement, ...]:
    """The requirements of a request whose results are of these `kinds` ("ood", "energy"), each
    with what it is decided on. Raises `UsageError` for one that can never be decided there.
    """
    if not request.require and request.on != INTERVAL:
        raise UsageError(
            f"--on {request.on} says how requirements are decided, and there are none; add "
            "--require, or leave it out"
        )
    asked = [replace(one, on=one.on or request.on) for one in map(parse, request.require)]
    check_once(map(str, asked), "requirement")
    for one, text in zip(asked, request.require, strict=True):
        metric = METRICS[one.metric]
        if not set(metric.keys) & set(kinds):
            known = [name for name, it in METRICS.items() if set(it.keys) & set(kinds)]
            raise UsageError(
                f"the requirement {text!r} is decided by ahsar-eval {' or '.join(metric.keys)}; "
                f"known here are {', '.join(known)}"
            )
        if one.on == INTERVAL and not metric.has_interval:
            raise UsageError(
                f"the requirement {text!r} cannot be decided on an interval, for {one.metric} has "
                f"none; write '{replace(one, on=ESTIMATE)}'"
            )
    return tuple(asked)


def check_sets(requirements: Iterable[Requirement], plan: "Plan", id_space: str = "") -> None:
    """That every set that is required something of is the ID set of `plan` or one beside it.
    Raises `UsageError`.
    """
    own, source = plan.id_split, plan.id_split.source
    others = [
        {
            "name": split.name,
            "set": split.source.name,
            "shift": split.shift,
            "severity": split.severity,
            "group": group_of(split.source.name, id_space) if split.shift is None else "",
        }
        for split in plan.others
    ]
    for one in requirements:
        of_own = one.of == own.name
        if of_own and METRICS[one.metric].of_pairs:
            raise UsageError(
                f"the requirement '{one}' is of {one.of}, the ID set, and {one.metric} tells "
                "another set from it; name one of the others"
            )
        if one.of and not of_own and not called(one.of, source.name, others):
            named = [own.name, *(str(other["name"]) for other in others)]
            shown = ", ".join(named[:7]) + (f" and {len(named) - 7} more" if named[7:] else "")
            raise UsageError(
                f"the requirement '{one}' is of {one.of}, which is not evaluated"
                f"{close_to(one.of, named)}; evaluated are {shown}"
            )


def called(name: str, own: str, sets: Sequence[Row]) -> list[Row]:
    """Those of `sets` that a user calls `name`: one by its name ("digits:contrast:3"), all
    severities of a shift ("digits:contrast"), all shifts of a set ("digits:all"), near or far;
    without the set before the colon those of the set `own`.
    """

    def names(one: Row) -> list[str]:
        found = [one["name"], one.get("group")]
        if one["shift"] is not None:
            shift, severity = one["shift"], one["severity"]
            short = [f"{shift}:{severity}", shift, "all"]
            found += [f"{one['set']}:{tail}" for tail in short]
            found += short if one["set"] == own else []
        return [text for text in found if text]

    def plain(text: str) -> str:
        return ":".join(ALIASES.get(part, part) for part in text.replace("-", "_").split(":"))

    exact = [one for one in sets if name in names(one)]
    return exact or [one for one in sets if plain(name) in map(plain, names(one))]


# --- afterwards


def gated(results: "Results", request: Gated) -> "Results":
    """`results` of `ood` or `energy` with the records "requirements", where anything was required
    of them (`decided`).
    """
    if not request.require:
        return results
    kind = results.kind.name
    found = decided(checked(request, [kind]), {kind: results})
    return replace(results, records={**results.records, "requirements": found})


def decided(
    requirements: Sequence[Requirement], results: Mapping[str, "Results"], on: str = INTERVAL
) -> list[dict[str, Any]]:
    """A flat record for each requirement and network (for an energy each profile, too), from
    `results` by kind, "ood" and "energy"; decided `on` where a requirement does not say it.

    `value`, `low`, `high` and `bound` (the number that decides) are in the unit of `needed`;
    `passed` is False, too, where nothing can be decided, and `why` says why not.
    """
    found = []
    for one in requirements:
        asked, keys = replace(one, on=one.on or on), METRICS[one.metric].keys
        kind = next((kind for kind in keys if kind in results), None)
        if kind is None:
            raise UsageError(f"the requirement '{one}' needs results of {' or '.join(keys)}")
        measured = _of_ood if kind == "ood" else _of_energy
        found += [_judged(asked, row) for row in measured(asked, results[kind])]
    return found


def _judged(asked: Requirement, row: Row) -> dict[str, Any]:
    """The record of one requirement of one network, from what was measured."""
    value, why = row["value"], row["why"]
    ends = row["low"], row["high"]
    end = ends[0] if asked.is_lower_bound else ends[1]
    bound = value if asked.on == ESTIMATE else end
    if value is None:
        why = why or f"on {row['set']} {_UNDEFINED.get(asked.metric, _NO_LABELS)}"
    elif bound is None:
        why = "the data give no interval: nothing varies, or there are too few samples"
    divide = UNITS.get(asked.unit, 1.0)
    value, low, high, bound = (None if x is None else x / divide for x in (value, *ends, bound))
    met = bound is not None and COMPARISONS[asked.comparison](bound, asked.number)
    return {
        "requirement": str(replace(asked, on="")),
        **{name: row[name] for name in ("label", "checkpoint", "thresholds")},
        "metric": asked.metric,
        "comparison": asked.comparison,
        **{name: row[name] for name in ("set", "score", "profile", "n")},
        **{"value": value, "low": low, "high": high, "decided_on": asked.on, "bound": bound},
        **{"needed": asked.number, "unit": asked.unit, "passed": bool(met), "why": why},
    }


def _of_ood(asked: Requirement, results: "Results") -> list[dict[str, Any]]:
    """What `ood` measured of each network: of separation and doubts, by the first score asked."""
    score = results.facts["scores"][0]
    found = []
    for label in dict.fromkeys(row["label"] for row in results.records["id"]):
        own, sets, means = (
            [row for row in results.records[name] if row["label"] == label]
            for name in ("id", "rows", "means")
        )
        scored = [row for row in own if row["score"] == score]
        if not scored:
            why = f"{label} has no score {score}, which was left out"
            found.append(_measured(own[0], label, asked.of or own[0]["id"], score=score, why=why))
            continue
        own = scored
        sets = [row for row in sets if row["score"] == score and row["kind"] == "set"]
        means = [row for row in means if row["score"] == score]
        row = _row_of(asked, own[0], own[0]["id"], "ood", sets, means)
        key = METRICS[asked.metric].keys["ood"]
        both = key in ("accuracy", "mean_rate") and row["kind"] != "id"
        key = f"{key}_ood" if both else key
        ends = {"low": row.get(f"{key}_low"), "high": row.get(f"{key}_high")}
        told = {"value": row.get(key), **ends, "n": row["n_ood"] or row["n_id"], "score": score}
        found.append(_measured(row, label, row["ood"], **told))
    return found


def _of_energy(asked: Requirement, results: "Results") -> list[dict[str, Any]]:
    """What `energy` measured of each network under each profile."""
    found = []
    shifts = results.records.get("shift", ())
    for clean, result in zip(results.records["total"], results.records["result"], strict=True):
        alike = [row for row in shifts if all(row[key] == clean[key] for key in _NETWORK)]
        sets, means = ([row for row in alike if row["kind"] == kind] for kind in ("set", "mean"))
        own = {**clean, "set": alike[0]["set"] if alike else clean["data"], "kind": "id"}
        row = _row_of(asked, own, clean["data"], "data", sets, means)
        metric = METRICS[asked.metric]
        value, n = row[metric.keys["energy"]], row["n"]
        half = _half_width(row.get(metric.spread), n)
        ends = {} if half is None else {"low": value - half, "high": value + half}
        told = {"value": value, **ends, "n": n, "profile": clean["profile"]}
        if asked.metric == "energy":
            told |= _unpriced(result)
        found.append(_measured(row, network_of(clean), row["data"], **told))
    return found


_NETWORK = ("checkpoint", "thresholds", "profile")


def _unpriced(result: Row) -> dict[str, Any]:
    """That nothing of an energy is priced, or which parts its sum leaves out; empty where it is
    whole.
    """
    if not result["totals_by_part"]:
        return {"value": None, "why": f"{result['profile']} prices nothing that the network does"}
    parts = [one["name"] for one in result["uncounted"]]
    parts += [
        f"{one['part']} ({one['operation']})"
        for one in result["unpriced"]
        if one["reason"].startswith("the profile has no price")
    ]
    return {"why": f"the sum leaves out {', '.join(dict.fromkeys(parts))}"} if parts else {}


def _half_width(spread: float | None, n: int) -> float | None:
    """Half the 95 % interval of a mean over `n` samples with the standard deviation `spread`, by
    Student's t; None from one sample, or where nothing varies, which would claim certainty.
    """
    return half_width(spread, n) if spread and n > 1 else None


def _row_of(
    asked: Requirement, own: Row, own_name: str, key: str, sets: Sequence[Row], means: Sequence[Row]
) -> Row:
    """The record that a requirement is of: the set itself, one beside it, or the mean over several;
    `key` is that of a set's name.
    """
    if asked.of in ("", own_name):
        return own
    some = called(asked.of, own["set"], [{**row, "name": row[key]} for row in sets])
    if len(some) == 1:
        return some[0]
    shifts, where = {row["shift"] for row in some}, {row["set"] for row in some}
    for mean in means:
        of_shifts = mean["set"] in where and mean["shift"] == (
            next(iter(shifts)) if len(shifts) == 1 else None
        )
        of_group = mean.get("group") == asked.of
        whole = mean["members"] == len(some) and mean.get("corruption_error") is None
        if whole and (of_group or of_shifts):
            return mean
    named = ", ".join(str(row[key]) for row in some) or "nothing that was evaluated"
    raise UsageError(f"the requirement '{asked}' is of {named}, of which there is no mean")


def _measured(row: Row, label: str, name: str, **told: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("value", "low", "high", "score", "profile", "n"))
    found = {**empty, "why": "", **told}
    named = {"checkpoint": row["checkpoint"], "thresholds": row["thresholds"]}
    return {"label": label, **named, "set": name, **found}
