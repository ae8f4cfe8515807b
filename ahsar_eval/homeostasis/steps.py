"""Which calls of a network make an optimisation step, and whether its ticks are time steps or
units: found from what its spiking layers did in one call, never from names.

| in one call every layer ran | a call is | a tick is |
|---|---|---|
| several steps at once (multi-step mode) | an optimisation step | a unit |
| one step | a time step; T calls are an optimisation step | a time step |
| T steps, all layers in each before the next | an optimisation step | a time step |
| T steps, a layer all of its own before the next (containers) | an optimisation step | a unit |
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ahsar_eval.errors import HomeostasisError


@dataclass(frozen=True)
class Run:
    """One run of a spiking layer: how many time steps it took, and whether in multi-step mode."""

    layer: str
    steps: int
    multi_step: bool


@dataclass(frozen=True)
class Form:
    """`step_mode` 's' where a tick is a time step, of `timesteps`; 'm' where it is a unit. Inside:
    a call of the network holds all time steps.
    """

    step_mode: str
    timesteps: int | None = None
    inside: bool = True

    def told(self) -> str:
        """For a reader."""
        if self.step_mode == "m":
            return "layer by layer"
        return f"{self.timesteps} time steps one by one" if self.inside else "one time step"


def form_of(runs: Sequence[Run], timesteps: int | None) -> Form:
    """The form of a network whose layers made these `runs`, in this order, in one call; `timesteps`
    is T where the user gave it. Raises `HomeostasisError` where it is not what ran, or is needed,
    or where no form fits.
    """
    steps: Counter[str] = Counter()
    for run in runs:
        steps[run.layer] += run.steps
    several = {run.layer for run in runs if run.multi_step}
    least, most = min(steps.values()), max(steps.values())
    looped = [layer for layer, n in steps.items() if n == most]
    by_time = not several.intersection(looped) and _in_turns(runs, looped)
    if several.issuperset(steps):
        for layer, n in steps.items():
            _check_steps(layer, n, timesteps, timesteps is None or n % timesteps == 0)
        return Form("m")
    if most == 1:
        return _one_step(timesteps)
    if least == most:
        _check_steps(looped[0], most, timesteps, timesteps in (None, most))
        return Form("s", most) if by_time else Form("m")
    if by_time and len(looped) > 1 and _once_before(runs, looped):  # an encoder before the loop
        _check_steps(looped[0], most, timesteps, timesteps in (None, most))
        return Form("s", most)
    if timesteps is not None and not several and _shared(runs, steps):
        return _one_step(timesteps)
    fewest = next(layer for layer, n in steps.items() if n == least)
    raise HomeostasisError(
        f"in one call of the network layer {looped[0]!r} ran {most} time steps and {fewest!r} "
        f"{least}; what a time step is cannot be told; select layers that run alike (select=…)"
    )


def _one_step(timesteps: int | None) -> Form:
    if timesteps is None:
        raise HomeostasisError(
            "timesteps is None; in single-step mode the controller needs T, the number of calls "
            "that make one optimisation step"
        )
    return Form("s", timesteps, inside=False)


def _check_steps(layer: str, ran: int, timesteps: int | None, right: bool) -> None:
    if not right:
        raise HomeostasisError(
            f"layer {layer!r} ran {ran} time steps in one call of the network, and timesteps is "
            f"{timesteps}; give the controller the timesteps of an optimisation step, which that "
            "call holds"
        )


def _in_turns(runs: Sequence[Run], layers: Collection[str]) -> bool:
    """Whether each of these layers has run once before any of them runs again."""
    order, size = [run.layer for run in runs if run.layer in layers], len(layers)
    return all(len(set(order[i : i + size])) == size for i in range(0, len(order), size))


def _once_before(runs: Sequence[Run], looped: Collection[str]) -> bool:
    """Whether the other layers ran once each, before the first of these."""
    first = next(i for i, run in enumerate(runs) if run.layer in looped)
    before = [run.layer for run in runs[:first]]
    after = {run.layer for run in runs[first:]}
    return len(set(before)) == len(before) and after == set(looped)


def _shared(runs: Sequence[Run], steps: Counter[str]) -> bool:
    """Whether layers that ran several times did so at several places of the network, with others
    between.
    """
    return min(steps.values()) == 1 and all(a.layer != b.layer for a, b in pairwise(runs))
