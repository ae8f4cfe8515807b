"""The grid: a study and the cells it stands for, each a training with what it is evaluated on,
under a name that says what decides it.

A cell is one value of every axis. Its key is a hash of everything that decides its numbers and of
nothing else: the study's name, the order of axes and of evaluated sets, where data lie and how many
cells run at once are not in it.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ahsar_eval.data import DataOptions
from ahsar_eval.data.corruptions.weather import photographs_identity
from ahsar_eval.errors import AhsarError, UsageError
from ahsar_eval.files import sha256_of
from ahsar_eval.provenance import versions
from ahsar_eval.training.request import TrainingRequest, check_method

Rule = Mapping[str, tuple[Any, ...]]
Point = dict[str, Any]
_KEY_DIGITS = 16
# Fields without effect on a method that has no controller.
_OF_CONTROLLERS: Point = {"controller": {}, "sensing": "spikes"}
_VERSIONS = ("ahsar-eval", "torch", "spikingjelly", "numpy")


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation. `request` names frozen:NAME by method; `source` is then the
    key of the cell that gives the scales.

    `ood` are the sets it is evaluated on beside its own; `threads` is torch's number of threads,
    which changes the bits.
    """

    key: str
    request: TrainingRequest
    threads: int
    ood: tuple[str, ...] = ()
    source: str | None = None

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        request = self.request
        names = [request.data, request.paradigm, request.step_mode, request.backbone]
        controller = [f"{name}={value}" for name, value in request.controller.items()]
        last = [f"T={request.timesteps}", f"seed {request.seed}"]
        return " ".join([*names, request.method, *controller, *last])


@dataclass(frozen=True)
class Study:
    """A study's file as a value. `training` is shared by all cells, `axes` are crossed, `overrides`
    and `evaluated` are by data set.
    """

    name: str
    text: str
    training: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    left_out: tuple[Rule, ...] = ()
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    evaluated: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    threads: int = 1

    def cells(
        self, data: DataOptions | None = None, *, device: str | None = None
    ) -> tuple[Cell, ...]:
        """Every cell, the first seed's before the next, so that a study stopped early has something
        of everything.

        A method without a controller stands once, whatever the axes of controllers and sensing say.
        Raises `UsageError` for two equal cells, a `leave_out` that leaves out nothing, and
        frozen:NAME without the one cell that it names.
        """
        data = data or DataOptions()
        known = versions()
        shared = {
            "threads": self.threads,
            "split_seed": data.split_seed,
            "frost": None if data.frost is None else photographs_identity(data.frost),
            "versions": {name: known[name] for name in _VERSIONS},
        }
        cells: dict[str, Cell] = {}
        points: dict[str, Point] = {}
        for point in self._points(device):
            cell = self._cell(point, shared)
            cells.setdefault(cell.key, cell)
            first = points.setdefault(cell.key, point)
            differing = [name for name in point if point[name] != first[name]]
            if {*differing} - {*_OF_CONTROLLERS} or (differing and check_method(point["method"])):
                shown = [f"{name} {first[name]!r} and {point[name]!r}" for name in differing]
                raise UsageError(
                    f"two cells of the grid are equal ({', '.join(shown)} mean the same); leave "
                    "one of them out"
                )
        _check_sources(cells)
        return tuple(sorted(cells.values(), key=lambda cell: cell.request.seed))

    def _points(self, device: str | None) -> list[Point]:
        """A value for every field of a training, for every combination of the axes that is not left
        out.
        """
        points = []
        for values in itertools.product(*self.axes.values()):
            own = dict(zip(self.axes, values, strict=True))
            point = {**vars(TrainingRequest()), **self.training, **own}
            point |= self.overrides.get(point["data"], {})
            points.append(point if device is None else point | {"device": device})
        for rule in self.left_out:
            for name, values in rule.items():
                for value in values:
                    if value not in [point[name] for point in points]:
                        raise UsageError(
                            f"[[leave_out]] {name} names {value!r}, which no cell has; mend or "
                            "remove it"
                        )
            if not any(_matches(point, rule) for point in points):
                shown = ", ".join(
                    f"{name} = {list(values) if len(values) > 1 else values[0]!r}"
                    for name, values in rule.items()
                )
                raise UsageError(
                    f"[[leave_out]] {shown} matches no cell of the grid; mend or remove it"
                )
        kept = [one for one in points if not any(_matches(one, rule) for rule in self.left_out)]
        if not kept:
            raise UsageError("[[leave_out]] leaves out every cell of the grid; keep at least one")
        return kept

    def _cell(self, point: Point, shared: Mapping[str, Any]) -> Cell:
        ood = self.evaluated.get(point["data"], ())
        method, source = point["method"], None
        controlled = check_method(method)
        try:
            request = TrainingRequest(**(point if controlled else point | _OF_CONTROLLERS))
        except AhsarError as error:
            raise UsageError(f"a cell of the grid cannot be trained: {error}") from error
        kind, _, named = method.partition(":")
        if kind == "frozen":
            if not _has_controller(named):
                raise UsageError(
                    f"method {method!r} names no method with a controller; expected frozen: and "
                    "one, such as frozen:ahsar"
                )
            source = self._cell(point | {"method": named}, shared).key
            method = f"frozen:{source}"
        elif kind == "fixed":
            method = f"fixed:{float(named)!r}"
        # All parameters of a controller, not those named alone: a new default makes a new cell.
        params = request.params.to_dict() if controlled else None
        asked = {**request.to_dict(), "method": method, "controller": params}
        identity = json.dumps({**shared, "request": asked, "ood": sorted(ood)}, sort_keys=True)
        return Cell(sha256_of(identity)[:_KEY_DIGITS], request, self.threads, ood, source)


def _has_controller(method: str) -> bool:
    try:
        return check_method(method)
    except UsageError:
        return False


def _check_sources(cells: Mapping[str, Cell]) -> None:
    """That every frozen:NAME has its cell, and only one. Raises `UsageError`."""
    seen: list[TrainingRequest] = []
    for cell in cells.values():
        if cell.source is None:
            continue
        method = cell.request.method
        if cell.source not in cells:
            named = method.partition(":")[2]
            raise UsageError(
                f"method {method!r} takes the scales of the cell that has method {named!r} and all "
                f"else the same as {cell}, and the grid has none; add that method to the grid, or "
                f"leave {method} out"
            )
        if cell.request in seen:
            raise UsageError(
                f"method {method!r} could take the scales of several controllers; keep one of them "
                "for it with [[leave_out]]"
            )
        seen.append(cell.request)


def _matches(point: Point, rule: Rule) -> bool:
    return all(point[name] in values for name, values in rule.items())
