"""Which trainings are compared: the same combination of settings, another method, the same seed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.study.cell_results import CellResult
from ahsar_eval.study.endpoints import primary, target_accuracies

BASELINE, AHSAR, FROZEN, BEST = "baseline", "ahsar", "frozen", "best fixed"
CONTROLLED = (AHSAR, "ahsar-no-rt", "ahsar-no-dh", "ahsar-no-gain")
TITLES = {  # as the paper has them
    "ahsar": "AHSAR",
    "ahsar-no-rt": "AHSAR(no RT)",
    "ahsar-no-dh": "AHSAR(no DH)",
    "ahsar-no-gain": "AHSAR(no gain)",
    "bptt": "BPTT",
    "resnet18": "ResNet-18",
    "vgg13": "VGGNet-13",
}
# In the order of the paper's tables.
_ORDER = {"paradigm": ("bptt", "rate"), "step_mode": ("s", "m"), "backbone": ("resnet18", "vgg13")}
NAMED = ("data", *_ORDER, "timesteps")
# What a method decides; everything else in a request must agree with the baseline's.
_OF_THE_METHOD = ("method", "seed", "controller", "sensing")


@dataclass(frozen=True)
class Combination:
    """All settings but method and seed; `settings` holds those without a field of their own as
    JSON.
    """

    data: str
    modality: str
    paradigm: str
    step_mode: str
    backbone: str
    timesteps: int
    settings: str

    @property
    def place(self) -> tuple[Any, ...]:
        """Sorts combinations as the paper's tables do."""
        ranks = [_rank(getattr(self, part), known) for part, known in _ORDER.items()]
        return self.data, *ranks, self.timesteps, self.paradigm, self.backbone, self.settings


@dataclass(frozen=True)
class Arm:
    """A method in one combination: its results by seed, rising, and those of the baseline."""

    combination: Combination
    method: str
    results: Mapping[int, CellResult]
    baseline: Mapping[int, CellResult]

    @property
    def row(self) -> dict[str, Any]:
        """What it is, as a row begins."""
        return {**asdict(self.combination), "method": self.method}

    @property
    def pairs(self) -> list[tuple[CellResult, CellResult]]:
        """Its results and the baseline's at matched seeds."""
        found = self.results.items()
        return [(one, self.baseline[seed]) for seed, one in found if seed in self.baseline]

    @cached_property
    def endpoints(self) -> dict[int, dict[str, float | None]]:
        """The primary endpoints by seed."""
        last = {seed: one.history[-1] for seed, one in self.baseline.items()}
        targets = target_accuracies({seed: last[seed]["validation_accuracy"] for seed in last})
        return {seed: primary(one, targets.get(seed)) for seed, one in self.results.items()}

    @property
    def mean_area(self) -> float:
        """Area under the validation NLL, its mean over seeds."""
        return float(np.mean([one["validation_area"] or 0.0 for one in self.endpoints.values()]))


@dataclass(frozen=True)
class Matched:
    """Results by combination and method, each in order; under `BEST` the best constant factor. A
    method's name carries the controller's settings where the study has several; `settings` are
    those of each name that has a controller.
    """

    arms: Mapping[Combination, Mapping[str, Arm]]
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def every(self) -> list[Arm]:
        """Every arm once, combination by combination."""
        by_name = [pair for arms in self.arms.values() for pair in arms.items()]
        return [arm for name, arm in by_name if name == arm.method]

    @property
    def methods(self) -> list[str]:
        """Every method's name: the baseline, AHSAR, its ablations, frozen, fixed factors rising."""
        return sorted({arm.method for arm in self.every}, key=rank_of)


def matched(results: Sequence[CellResult]) -> Matched:
    """Group results for comparison. Raises `DataError` where two are of one combination, method and
    seed.
    """
    controllers = [_settings(result) for result in results if _base(result) in CONTROLLED]
    several = any(one != controllers[0] for one in controllers)
    cells: dict[Combination, dict[str, dict[int, CellResult]]] = {}
    settings: dict[str, Mapping[str, Any]] = {}
    for result in results:
        name = _base(result)
        if name in CONTROLLED:
            own = _settings(result)
            name += f" {_said(own)}" if own and several else ""
            settings[name] = own
        seeds = cells.setdefault(_combination(result), {}).setdefault(name, {})
        if result.seed in seeds:
            raise DataError(
                f"cells {seeds[result.seed].key} and {result.key} are the same training ({name}, "
                f"seed {result.seed}) made twice, "
                "by two versions perhaps; remove one of their folders"
            )
        seeds[result.seed] = result
    arms: dict[Combination, dict[str, Arm]] = {}
    for one in sorted(cells, key=lambda one: one.place):
        ordered = {name: dict(sorted(cells[one][name].items())) for name in cells[one]}
        baseline = ordered.get(BASELINE, {})
        arms[one] = {
            name: Arm(one, name, ordered[name], baseline) for name in sorted(ordered, key=rank_of)
        }
        fixed = [arm for name, arm in arms[one].items() if factor_of(name) is not None]
        if any(arm.method != BASELINE for arm in fixed):
            arms[one][BEST] = best_fixed(fixed)
    return Matched(arms, settings)


def best_fixed(arms: Sequence[Arm]) -> Arm:
    """The constant factor with the lowest area under the validation NLL, its mean over seeds; the
    baseline is the factor 1.

    Only factors with as many seeds as any of them are compared. Nothing of a test set is read.
    """
    most = max(len(arm.results) for arm in arms)
    whole = [arm for arm in arms if len(arm.results) == most]
    return min(whole, key=lambda arm: arm.mean_area)


def base_of(name: str) -> str:
    """A method's name without the settings of its controller."""
    return name.partition(" ")[0]


def factor_of(name: str) -> float | None:
    """The constant factor on every threshold: S of fixed:S, 1 for the baseline, None for any other
    method.
    """
    if name == BASELINE:
        return 1.0
    return float(name.removeprefix("fixed:")) if name.startswith("fixed:") else None


def title_of(name: str) -> str:
    """A method's name for a table: AHSAR(no RT) for ahsar-no-rt, the settings behind it."""
    base = base_of(name)
    return TITLES.get(base, base) + name.removeprefix(base)


def rank_of(name: str) -> tuple[Any, ...]:
    """Sorts methods' names."""
    return _rank(base_of(name), (BASELINE, *CONTROLLED, FROZEN)), factor_of(name) or 0.0, name


def _rank(name: str, known: Sequence[str]) -> int:
    return [*known, name].index(name)


def names_of(
    combinations: Collection[Combination], parts: Sequence[str] = NAMED
) -> dict[Combination, str]:
    """One line for each combination, of `parts` and of further settings, where several combinations
    agree in all `NAMED` parts and differ in them.
    """
    settings = {one: json.loads(one.settings) for one in combinations}
    alike: dict[Combination, list[dict[str, Any]]] = {}
    for one, own in settings.items():
        alike.setdefault(replace(one, settings=""), []).append(own)
    differing = sorted(
        {
            name
            for those in alike.values()
            for name in set().union(*those)
            if any(own.get(name) != those[0].get(name) for own in those)
        }
    )
    found = {}
    for one, own in settings.items():
        values = {part: getattr(one, part) for part in parts}
        texts = [
            f"T={v}" if part == "timesteps" else TITLES.get(v, v) for part, v in values.items()
        ]
        found[one] = ", ".join([*texts, *(f"{name}={own.get(name)}" for name in differing)])
    return found


def _combination(result: CellResult) -> Combination:
    request = result.request
    rest = {name: request[name] for name in request if name not in (*_OF_THE_METHOD, *NAMED)}
    settings = json.dumps({**rest, "threads": result.threads}, sort_keys=True)
    named = {name: request[name] for name in NAMED}
    return Combination(modality=result.modality, settings=settings, **named)


def _base(result: CellResult) -> str:
    """The method without a path: frozen scales are AHSAR's own unless they are named as another
    method's.
    """
    if not result.method.startswith(FROZEN):
        return result.method
    source = result.method.partition(":")[2]
    return FROZEN if source == AHSAR or source not in CONTROLLED else result.method


def _settings(result: CellResult) -> dict[str, Any]:
    sensing = result.request.get("sensing", "spikes")
    own = {} if sensing == "spikes" else {"sensing": sensing}
    return {**(result.request.get("controller") or {}), **own}


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(settings.items())
    )
