"""Which trainings are compared: the same combination of settings, another method, the same seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ahsar_eval.errors import DataError
from ahsar_eval.study.paper import BACKBONES, PARADIGMS
from ahsar_eval.study.results import CellResult

BASELINE = "baseline"
AHSAR = "ahsar"
FROZEN = "frozen"
CONTROLLED = ("ahsar", "ahsar-no-rt", "ahsar-no-dh", "ahsar-no-gain")
TITLES = {
    "baseline": "baseline",
    "ahsar": "AHSAR",
    "ahsar-no-rt": "AHSAR(no RT)",
    "ahsar-no-dh": "AHSAR(no DH)",
    "ahsar-no-gain": "AHSAR(no gain)",
}
# What a method decides; everything else in a request must agree with the baseline's.
_OF_THE_METHOD = ("method", "seed", "controller", "sensing")
_NAMED = ("data", "backbone", "paradigm", "step_mode", "timesteps")


@dataclass(frozen=True)
class Combination:
    """All settings but method and seed; `rest` holds those without a field of their own as JSON."""

    data: str
    modality: str
    paradigm: str
    step_mode: str
    backbone: str
    timesteps: int
    rest: str

    @property
    def place(self) -> tuple[Any, ...]:
        """Sorts combinations as the paper's tables do."""
        known = list(PARADIGMS), list(BACKBONES)
        paradigm, backbone = (
            names.index(name) if name in names else len(names)
            for names, name in zip(known, (self.paradigm, self.backbone), strict=True)
        )
        step_mode = ("s", "m").index(self.step_mode) if self.step_mode in ("s", "m") else 2
        return (
            self.data,
            paradigm,
            step_mode,
            backbone,
            self.timesteps,
            self.paradigm,
            self.backbone,
            self.rest,
        )


@dataclass(frozen=True)
class Matched:
    """Results by combination, method and seed. A method's name carries the controller's settings
    where the study has several.
    """

    cells: Mapping[Combination, Mapping[str, Mapping[int, CellResult]]]
    settings: Mapping[
        str, Mapping[str, Any]
    ]  # controller settings of each method's name that has a controller
    bases: Mapping[str, str]  # method's name without settings

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Every method's name: the baseline, AHSAR, its ablations, frozen, fixed factors rising."""
        return tuple(
            sorted({name for methods in self.cells.values() for name in methods}, key=_method_place)
        )

    @cached_property
    def combinations(self) -> tuple[Combination, ...]:
        """In the order of the paper's tables."""
        return tuple(sorted(self.cells, key=lambda one: one.place))

    def seeds(self, combination: Combination, method: str) -> Mapping[int, CellResult]:
        """Results of a method by seed, rising; empty where there are none."""
        return dict(sorted(self.cells[combination].get(method, {}).items()))

    def pairs(
        self, combination: Combination, method: str, against: str = BASELINE
    ) -> dict[int, tuple[CellResult, CellResult]]:
        """Results of two methods at matched seeds, rising."""
        ours, theirs = self.seeds(combination, method), self.seeds(combination, against)
        return {seed: (ours[seed], theirs[seed]) for seed in ours if seed in theirs}


def matched(results: Sequence[CellResult]) -> Matched:
    """Group results for comparison. Raises `DataError` where two are of one combination, method and
    seed.
    """
    distinct = {
        json.dumps(_settings(result), sort_keys=True)
        for result in results
        if _base(result) in CONTROLLED
    }
    cells: dict[Combination, dict[str, dict[int, CellResult]]] = {}
    named: dict[str, Mapping[str, Any]] = {}
    bases: dict[str, str] = {}
    for result in results:
        base = _base(result)
        own = _settings(result) if base in CONTROLLED else None
        name = f"{base} {_said(own)}" if own and len(distinct) > 1 else base
        if own is not None:
            named[name] = own
        bases[name] = base
        seeds = cells.setdefault(_combination(result), {}).setdefault(name, {})
        if result.seed in seeds:
            raise DataError(
                f"cells {seeds[result.seed].key} and {result.key} are the same training ({name}, "
                f"seed {result.seed}) made twice, "
                "by two versions perhaps; remove one of their folders"
            )
        seeds[result.seed] = result
    return Matched(cells, named, bases)


def factor_of(method: str) -> float | None:
    """The constant factor on every threshold: S of fixed:S, 1 for the baseline, None for any other
    method.
    """
    if method == BASELINE:
        return 1.0
    return float(method.removeprefix("fixed:")) if method.startswith("fixed:") else None


def title_of(method: str) -> str:
    """A method's name for a table: AHSAR(no RT) for ahsar-no-rt, the settings behind it."""
    base, space, settings = method.partition(" ")
    return TITLES.get(base, base) + space + settings


def names_of(combinations: Sequence[Combination], *, short: bool = False) -> dict[Combination, str]:
    """One line for each combination, with what tells it from others of the same set; `short` leaves
    out a set and T they all share.
    """
    further = further_settings(combinations)
    one_set, one_time = (
        short and len({getattr(one, name) for one in combinations}) == 1
        for name in ("data", "timesteps")
    )
    found = {}
    for one in combinations:
        parts = [] if one_set else [one.data]
        parts += [
            one.paradigm.replace("bptt", "BPTT"),
            one.step_mode,
            BACKBONES.get(one.backbone, one.backbone),
        ]
        parts += [] if one_time else [f"T={one.timesteps}"]
        found[one] = ", ".join([*parts, *further[one]])
    return found


def further_settings(combinations: Sequence[Combination]) -> dict[Combination, tuple[str, ...]]:
    """Settings beyond set, paradigm, step mode, backbone and T, where several combinations agree in
    those and differ in them.
    """
    alike: dict[Combination, list[dict[str, Any]]] = {}
    for one in combinations:
        alike.setdefault(replace(one, rest=""), []).append(json.loads(one.rest))
    differing = sorted(
        {
            name
            for rests in alike.values()
            for name in set().union(*rests)
            if len({json.dumps(rest.get(name)) for rest in rests}) > 1
        }
    )
    return {
        one: tuple(f"{name}={json.loads(one.rest).get(name)}" for name in differing)
        for one in combinations
    }


def _combination(result: CellResult) -> Combination:
    request = result.request
    rest = {
        name: value for name, value in request.items() if name not in (*_OF_THE_METHOD, *_NAMED)
    } | {"threads": result.threads}
    return Combination(
        request["data"],
        result.modality,
        request["paradigm"],
        request["step_mode"],
        request["backbone"],
        request["timesteps"],
        json.dumps(rest, sort_keys=True),
    )


def _base(result: CellResult) -> str:
    """The method without a path: frozen scales are AHSAR's own unless they are named as another
    method's.
    """
    if not result.method.startswith("frozen"):
        return result.method
    source = result.method.partition(":")[2]
    return f"{FROZEN}:{source}" if source in CONTROLLED[1:] else FROZEN


def _settings(result: CellResult) -> dict[str, Any]:
    sensing = result.request.get("sensing", "spikes")
    return {
        **(result.request.get("controller") or {}),
        **({} if sensing == "spikes" else {"sensing": sensing}),
    }


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(settings.items())
    )


def _method_place(name: str) -> tuple[Any, ...]:
    base = name.partition(" ")[0]
    order = [BASELINE, *CONTROLLED, FROZEN]
    factor = factor_of(base)
    return (
        order.index(base) if base in order else len(order),
        factor if factor is not None else 0.0,
        name,
    )
