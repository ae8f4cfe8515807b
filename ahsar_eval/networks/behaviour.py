"""How a network of anyone's is called, found by calling it on a few random samples, with what it
keeps between calls and whether chance is in it.

A convention is right where every sample's output is its own: the same alone, in another order and
beside others. Of those that are, one in which time makes a difference is taken, for a network whose
state is lost or mixed up between steps can give outputs of the right shape.
"""

import inspect
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.data.randomness import seeded
from ahsar_eval.errors import ModelError
from ahsar_eval.networks.calls import (
    BY_STEP,
    TAKES,
    Calls,
    given_at_once,
    outputs_in,
    step_mode_of,
    told_of,
)
from ahsar_eval.networks.kept import Kept
from ahsar_eval.networks.neurons import is_neuron

# Of the largest output: another sample's spikes are far above.
ROUNDING = 1e-5
_SEED = 20


@dataclass(frozen=True)
class Behaviour:
    """What was found of a network: its convention, how many time steps it makes of one image
    itself (None where it takes T or where it is not seen), the attributes in which it keeps state,
    as sentences and to be put back, and whether its forward draws random numbers.
    """

    calls: Calls
    inside: int | None = None
    keeps: tuple[str, ...] = ()
    kept: Kept | None = field(default=None, repr=False)
    chance: bool = False
    vector: bool = False  # it takes what one channel and one row hold


def behaviour_of(
    network: nn.Module, shape: tuple[int, ...], timesteps: int, classes: int, calls: str = ""
) -> Behaviour:
    """How `network`, in evaluation mode, is called with samples of `shape` [C, H, W].

    `calls` names what it takes (`TAKES`), or that and what it gives, where the user says it. Raises
    `ModelError` where no convention gives one output of `classes` numbers per sample and, if the
    network can, per time step that depends on that sample alone; it says what each came to.
    """
    check_inputs(network)
    asked = Calls.partly(calls) if calls else Calls("", "")
    if asked.gives:
        Calls.parse(calls)
    trial = _Trial(network, shape, timesteps, classes, asked.output)
    order = ["TN", "NT", "N", "step"]
    if step_mode_of(network) == "s":
        order = ["step", "N", "NT", "TN"]
    if _optional_inputs(network):
        order = ["state", *order]
    found = [trial.of(one) for one in ([asked.takes] if asked.takes else order)]
    clear = any((one.fault is None and one.in_time) or len(one.choices) > 1 for one in found)
    if not asked.takes and not clear:
        found.append(trial.of("flat"))
    fits = (one for one in found if asked.gives in ("", one.calls.gives))
    right = [one for one in fits if one.fault is None]
    # One output for all says that a network is silent, or that it is called wrongly.
    told = [one for one in right if not one.constant]
    if not told and any(one.depends for one in found):
        right = []
    if not right:
        for lost in (one for one in found if one.unsteady):
            raise ModelError(
                "the network gives another output when it is run again from the same seed and "
                f"state, by {lost.unsteady:.2g} of the largest; it keeps state that reset_net does "
                "not reach and that stands in no attribute of its modules (in a global, in modules "
                "of a plain list), or draws from a random generator of its own; keep state in "
                "attributes, modules in a ModuleList, and draw from torch's generator"
            )
        for several in (one for one in found if len(one.choices) > 1):
            if several.each_step:
                raise ModelError(
                    f"the network returns {several.returned}, one for each time step; expected one "
                    "tensor of logits; wrap it in a module that returns torch.stack of them"
                )
            raise ModelError(
                f"the network gives {len(several.choices)} outputs that may be its logits; say "
                f"which, by --calls {' or '.join(f':{name}' for name in several.choices)}"
            )
        for other in (one for one in found if one.returned):
            raise ModelError(
                f"the network returns {other.returned}; expected one tensor of logits, of "
                f"{classes} numbers a sample; wrap it in a module that returns that tensor alone"
            )
        faults: dict[str, list[str]] = {}
        for one in found:
            why = one.fault or "its output is the same for every sample"
            faults.setdefault(why, []).append(TAKES[one.takes])
        told_faults = "; ".join(f"{' or '.join(takes)}: {why}" for why, takes in faults.items())
        raise ModelError(
            f"the network cannot be called so that its output is one of {classes} numbers for each "
            f"sample, whatever runs beside it ({told_faults}); --calls says how it is called "
            f"({', '.join(TAKES)})"
        )
    rest = told or right
    if any(trial.kept.changed.values()):  # what keeps something is made for several calls
        rest = [*(one for one in rest if one.takes == "step"), *rest]
    best = next((one for one in told if one.in_time), rest[0])
    # What did not show in these few calls may in others.
    kept = trial.kept if any(trial.kept.changed.values()) else None
    return Behaviour(best.calls, best.inside, best.keeps, kept, best.chance)


def check_inputs(network: nn.Module) -> None:
    """Raise `ModelError` for a network that is called with anything but one input, and for one in
    which no layer can be seen.
    """
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what = f"its module {name!r}" if name else "it"
            raise ModelError(
                f"no layer of the network can be seen: {what} is TorchScript, which takes no "
                "hooks; give the Python module that was scripted or traced, with its weights"
            )
    needed = [p.name for p in _inputs(network) if p.default is p.empty]
    if len(needed) > 1:
        raise ModelError(
            f"the network takes {len(needed)} inputs ({', '.join(needed)}); expected one, images "
            "or frames; wrap it in a module that adds the rest"
        )


def _inputs(network: nn.Module) -> list[inspect.Parameter]:
    parameters = inspect.signature(network.forward).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _optional_inputs(network: nn.Module) -> int:
    """How many values beside its input the network can be given."""
    return sum(p.default is not p.empty for p in _inputs(network)[1:])


def uncompiled(network: nn.Module) -> nn.Module:
    """The network without what torch.compile put around it and its parts: hooks see all of it."""
    network = getattr(network, "_orig_mod", network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if hasattr(child, "_orig_mod"):
                setattr(parent, name, uncompiled(child))
    return network


@dataclass
class _Result:
    """What a convention came to: why it is none, or how the network behaves in it."""

    takes: str
    fault: str | None = None
    depends: bool = False  # a sample's output on those beside it
    constant: bool = True
    calls: Calls = Calls("TN", "TN")
    in_time: bool = False
    inside: int | None = None
    keeps: tuple[str, ...] = ()
    chance: bool = False
    unsteady: float = 0.0  # how far its output is from that of the same run
    choices: tuple[str, ...] = ()  # outputs that may be the logits
    each_step: bool = False  # they are as many as time steps
    returned: str = ""  # what is no tensor and holds no logits


class _Trial:
    """Calls of a network with a few random samples, some of them beyond what images hold, so that
    its neurons fire.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        timesteps: int,
        classes: int,
        output: str = "",
    ) -> None:
        functional.reset_net(network)
        self.network, self.timesteps, self.classes = network, timesteps, classes
        self.output = output
        kinds = (p.dtype for p in network.parameters() if p.is_floating_point())
        dtype = next(kinds, torch.float32)
        self.tolerance = max(ROUNDING, 16 * torch.finfo(dtype).eps)
        # A number that no other axis has.
        self.samples = next(n for n in (3, 4, 5, 6, 7, 8) if n not in (timesteps, classes, *shape))
        draw = torch.Generator().manual_seed(_SEED)
        sizes = (timesteps, self.samples, *shape)
        uniform, normal = torch.rand(sizes, generator=draw), torch.randn(sizes, generator=draw)
        self.probes = [uniform.to(dtype), (8 * normal).to(dtype)]
        self.kept = Kept(network)

    def fresh(self) -> None:
        """As before the first call."""
        functional.reset_net(self.network)
        self.kept.put_back()

    def of(self, takes: str) -> _Result:
        """Try one convention."""
        result = _Result(takes)
        try:
            with torch.no_grad(), seeded(_SEED):
                self._look(result)
        except Exception as error:
            reason = " ".join(str(error).split()) or "no reason"
            result.fault = f"{type(error).__name__}, {reason[:120]}"
        finally:
            self.fresh()
        return result

    def _look(self, result: _Result) -> None:
        takes = result.takes
        probes = [x if takes != "N" else x[:1].expand_as(x) for x in self.probes]
        self.fresh()
        with _Watched(self.network) as watch:
            out = self.network(given_at_once(takes, probes[0]))
        self.kept.look()
        inside = watch.steps([m for m, names in self.kept.changed.items() if names])
        if fault := self._outputs(result, out):
            result.fault = fault
            return
        if takes in BY_STEP and inside is not None:
            result.fault = f"its neurons run {inside} times in one call"
            return
        calls = result.calls
        if takes == "N":
            given = calls.picked(out)
            result.inside = inside if calls.gives == "N" else given.shape[calls.gives == "NT"]
        self._between_calls(result, probes[0][:, :1] if calls.alone else probes[0])
        if result.fault:
            return
        by_place = []
        for x in probes:
            whole = self._run(calls, x)
            result.constant &= _apart(whole, whole[:, :1].expand_as(whole)) <= self.tolerance
            if result.chance or calls.alone:
                continue
            apart, of_copies = self._beside_copies(calls, x, whole)
            if apart > self.tolerance:
                result.depends, share = True, f"{apart:.2g} of the largest"
                result.fault = f"a sample's output depends on those beside it, by {share}"
                return
            by_place.append(of_copies > self.tolerance)
        result.chance |= by_place[:1] == [True]
        if takes == "N":
            # Equal outputs of a network that keeps something need not be a beginning anew.
            keeps = any(map(is_neuron, self.network.modules())) or any(self.kept.changed.values())
            anew = not keeps and all(self._begins_anew(calls, x) for x in probes)
            result.in_time = anew if result.inside is None else result.inside > 1
        else:
            result.in_time = any(self._in_time(calls, x) for x in probes)
        if takes in ("state", "flat") and not result.in_time:
            result.fault = "its steps do not depend on one another"

    def _outputs(self, result: _Result, out: Any) -> str | None:
        """Find in what a call gives the logits and their axes; why there are none."""
        parts, takes = outputs_in(out), result.takes
        if takes == "state":
            if not (isinstance(out, tuple) and 1 < len(out) <= 1 + _optional_inputs(self.network)):
                return "it gives no state that it can be given"
            parts = {self.output or "0": out[int(self.output or 0)]}
        elif self.output:
            parts = {name: one for name, one in parts.items() if name == self.output}
        tensors = {name: one for name, one in parts.items() if isinstance(one, Tensor)}
        axes = {name: self._gives(takes, one) for name, one in tensors.items()}
        result.choices = tuple(name for name, gives in axes.items() if gives is not None)
        if len(result.choices) != 1:
            if not isinstance(out, Tensor):
                result.returned = told_of(out)
                result.each_step = takes not in BY_STEP and (
                    [axes.get(str(t)) for t in range(self.timesteps)] == ["N"] * len(parts)
                )
                return f"it gives {result.returned}"
            return f"it gives {tuple(out.shape)}"
        (name,) = result.choices
        said = "" if (takes, name) == ("state", "0") else name
        result.calls = Calls(takes, str(axes[name]), said)
        return None

    def _gives(self, takes: str, out: Tensor) -> str | None:
        """Which axes an output has."""
        n, k = self.samples, self.classes
        if out.shape[-1:] != (k,):
            return None
        if takes == "flat":
            return (
                "flat" if out.shape == (self.timesteps, k) else "N" if out.shape == (1, k) else None
            )
        if out.shape == (n, k):
            return "N"
        if takes in BY_STEP or out.dim() != 3:
            return None
        lengths = {self.timesteps} if takes != "N" else {s for s in out.shape[:2] if s != n}
        if out.shape[1] == n and out.shape[0] in lengths:
            return "TN"
        return "NT" if out.shape[0] == n and out.shape[1] in lengths else None

    def _run(self, calls: Calls, x: Tensor, seed: int = _SEED) -> Tensor:
        runs = []
        for part in torch.split(x, 1, dim=1) if calls.alone else [x]:
            self.fresh()
            with seeded(seed):
                runs.append(calls.run(self.network, part).double())
        return torch.cat(runs, 1)

    def _between_calls(self, result: _Result, x: Tensor) -> None:
        """Find what `reset_net` does not reach, and chance."""
        calls = result.calls
        first, names = self._run(calls, x), self.kept.look()
        functional.reset_net(self.network)
        with seeded(_SEED):
            again = calls.run(self.network, x).double()
        if _apart(first, again) > self.tolerance:
            result.keeps = tuple(names)
        unsteady = _apart(first, self._run(calls, x))
        if unsteady > self.tolerance:
            result.unsteady, result.fault = unsteady, "its output is not the same again"
            return
        result.chance = _apart(first, self._run(calls, x, _SEED + 1)) > self.tolerance

    def _beside_copies(self, calls: Calls, x: Tensor, whole: Tensor) -> tuple[float, float]:
        """How far outputs of samples beside others, `whole`, are at most from those beside copies
        of their own, at the same place of a batch of the same size, so that nothing is rounded
        otherwise; and how far the copies are at least from one another, which depend on their place
        where a network sets a seed itself (rounding tips single spikes over).
        """
        copies = [self._run(calls, x[:, i : i + 1].expand_as(x)) for i in range(self.samples)]
        beside = max(_apart(whole[:, i], out[:, i]) for i, out in enumerate(copies))
        return beside, min(_apart(out[:, 0], out[:, 1]) for out in copies)

    def _begins_anew(self, calls: Calls, x: Tensor) -> bool:
        """Whether the network's output does not depend on what it was called with before."""
        first = self._run(calls, x)
        with seeded(_SEED):
            again = calls.run(self.network, x).double()
        return _apart(first, again) <= self.tolerance

    def _in_time(self, calls: Calls, x: Tensor) -> bool:
        """Whether a step's output depends on other steps'."""
        order = [*range(1, len(x)), 0]
        here, turned = self._run(calls, x), self._run(calls, x[order])
        return _apart(here[order] if len(here) > 1 else here, turned) > self.tolerance


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    if a.shape != b.shape:
        return float("inf")
    largest = max(float(a.abs().max()), float(b.abs().max()), 1e-30)
    return float((a - b).abs().max()) / largest


class _Watched:
    """Counts, in the block, how many steps each module runs."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.ran: Counter[nn.Module] = Counter()

    def __enter__(self) -> "_Watched":
        modules = [*self.network.modules()][1:]
        self.handles = [m.register_forward_pre_hook(self._runs) for m in modules]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _runs(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        several = is_neuron(module) and getattr(module, "step_mode", "s") == "m"
        self.ran[module] += len(inputs[0]) if several and inputs else 1

    def steps(self, stateful: Collection[nn.Module]) -> int | None:
        """The most steps that a module with state runs; None where that is one."""
        held = [n for module, n in self.ran.items() if is_neuron(module) or module in stateful]
        most = max(held, default=1)
        return most if most > 1 else None
