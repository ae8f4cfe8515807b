"""How a network of anyone's is called: the axes it takes and gives, found by calling it on a few
random samples, what it keeps between calls, and whether chance is in it.

A convention is right where every sample's output is its own: the same alone, in another order and
beside others. Of those that are, one in which time makes a difference is taken, for a network whose
state is lost or mixed up between steps can give outputs of the right shape.
"""

import copy
import inspect
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks.neurons import is_neuron

# What a call takes and gives; K classes. N alone: one image, and time is inside the network.
TAKES = {
    "TN": "[T, N, C, H, W]",
    "NT": "[N, T, C, H, W]",
    "N": "[N, C, H, W], all time inside",
    "step": "[N, C, H, W] of one time step",
    "state": "[N, C, H, W] of one time step, with the state that the step before gave",
    "flat": "[T, C, H, W] of one sample",
}
GIVES = {"TN": "[T, N, K]", "NT": "[N, T, K]", "N": "[N, K]", "flat": "[T, K]"}
_BY_STEP = ("step", "state")
# Their submodules run step by step, whatever the network does.
_STEP_BY_STEP = (
    layer.MultiStepContainer,
    layer.SeqToANNContainer,
    layer.StepModeContainer,
    layer.TLastMultiStepContainer,
    layer.TLastSeqToANNContainer,
    layer.ElementWiseRecurrentContainer,
    layer.LinearRecurrentContainer,
)
# Of the largest output: another sample's spikes are far above.
ROUNDING = 1e-5
_SEED = 20
_TOLD = 3  # parts of an output that is no tensor


def own_step_modes(network: nn.Module) -> set[str]:
    """Step modes, 's' and 'm', of the spiking layers that take what the network is called with:
    not of those in containers that run them step by step.
    """
    found, waiting = set(), [network]
    while waiting:
        module = waiting.pop()
        if is_neuron(module):
            found.add(str(module.step_mode))
        if isinstance(module, _STEP_BY_STEP):
            found.add(str(getattr(module, "step_mode", "m")))
        else:
            waiting += module.children()
    return found


def step_mode_of(network: nn.Module) -> str:
    """'s' where those layers all run step by step, else 'm'."""
    return "s" if own_step_modes(network) == {"s"} else "m"


@dataclass(frozen=True)
class Calls:
    """A convention: what a call `takes` (`TAKES`) and `gives` (`GIVES`); where it gives several
    things, `output` is the number or the name of the logits.
    """

    takes: str
    gives: str
    output: str = ""

    @classmethod
    def parse(cls, text: str) -> "Calls":
        """Of a text such as NT/TN or NT/TN:0. Raises `ModelError`."""
        found = cls.partly(text)
        fits = {"step": ("N",), "state": ("N",), "flat": ("flat", "N")}.get(
            found.takes, ("TN", "NT", "N")
        )
        if found.gives not in fits:
            raise ModelError(
                f"the calling convention is {text!r}; {found.takes} gives one of {', '.join(fits)},"
                f" such as {found.takes}/{fits[0]}"
            )
        return found

    @classmethod
    def partly(cls, text: str) -> "Calls":
        """Of a text that may leave out what is to be found. Raises `ModelError`."""
        axes, _, output = text.partition(":")
        takes, _, gives = axes.partition("/")
        if takes not in (TAKES if gives or not output else ("", *TAKES)) or gives not in (
            "",
            *GIVES,
        ):
            raise ModelError(
                f"the calling convention is {text!r}; expected one of {', '.join(TAKES)}, a slash "
                f"and one of {', '.join(GIVES)}, such as NT/NT, and where the network gives "
                "several outputs a colon and the number of the logits, such as NT/NT:0"
            )
        return cls(takes, gives, output)

    def __str__(self) -> str:
        return f"{self.takes}/{self.gives}" + (f":{self.output}" if self.output else "")

    @property
    def by_step(self) -> bool:
        """Whether a call is one time step."""
        return self.takes in _BY_STEP

    @property
    def alone(self) -> bool:
        """Whether samples run one by one, since one axis holds all their steps."""
        return self.takes == "flat"

    def told(self) -> str:
        """For a reader."""
        what = f" (output {self.output} of several)" if self.output else ""
        return f"{TAKES[self.takes]} → {GIVES[self.gives]}{what}"

    def run(self, network: Callable[..., Any], steps: Tensor) -> Tensor:
        """Logits [T, N, K], or [1, N, K] of a network that sums or averages over time itself, of
        `steps` [T, N, C, H, W], which are all the same for a network with time inside; N is 1 where
        samples run alone. Raises `ModelError` for an output without the logits.
        """
        if self.by_step:
            state: tuple[Any, ...] = ()
            logits = []
            for step in steps:
                out = network(step, *state)
                logits.append(self.picked(out))
                state = tuple(out[1:]) if self.takes == "state" else ()
            return torch.stack(logits)
        out = self.picked(network(_given(self.takes, steps)))
        if self.gives == "N":
            return out[None]
        if self.gives == "flat":
            return out[:, None]
        return out.transpose(0, 1) if self.gives == "NT" else out

    def picked(self, out: Any) -> Tensor:
        """The logits in what a call gives. Raises `ModelError`."""
        parts = outputs_in(out)
        found = parts.get(self.output or next(iter(parts), ""))
        if isinstance(found, Tensor):
            return found
        raise ModelError(
            f"the network returns {_told(out)}, and no tensor of logits as output "
            f"{self.output or 0}; expected a tensor, or say which of several it is, such as "
            "--calls TN/TN:0"
        )


def _told(out: Any) -> str:
    """What is no tensor, for a reader."""
    kind, parts = type(out).__name__, [*outputs_in(out).values()]
    if not parts:
        return f"a {kind}"
    shapes = [
        f"shape {list(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
        for part in parts[:_TOLD]
    ]
    more = [f"{len(parts) - _TOLD} more"] if len(parts) > _TOLD else []
    return f"a {kind} of {len(parts)} ({', '.join([*shapes, *more])})"


def outputs_in(out: Any) -> dict[str, Any]:
    """What a call gives by number or name; "" where that is one tensor."""
    if isinstance(out, Tensor):
        return {"": out}
    if isinstance(out, Mapping):
        return {str(name): value for name, value in out.items()}
    return {str(i): v for i, v in enumerate(out)} if isinstance(out, (tuple, list)) else {}


class Kept:
    """What modules keep in plain attributes and buffers, as it is now, to be put back: state that
    SpikingJelly's `reset_net` does not reach.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.before = {m: _held(m) for m in network.modules()}
        self.changed: dict[nn.Module, set[str]] = {}

    def look(self) -> list[str]:
        """Note what is other than it was; "class 'name': attribute" of each."""
        told = []
        for name, module in self.network.named_modules():
            held, before = _held(module), self.before.get(module, {})
            other = {n for n in held.keys() | before.keys() if not _same(held, before, n)}
            self.changed.setdefault(module, set()).update(other)
            told += [f"{type(module).__name__} {name!r}: {one}" for one in sorted(other)]
        return told

    def of(self, network: nn.Module) -> "Kept":
        """The same of another copy of the network, as it is now."""
        other = Kept(network)
        pairs = zip(self.network.modules(), network.modules(), strict=True)
        other.changed = {theirs: {*self.changed.get(own, ())} for own, theirs in pairs}
        return other

    def put_back(self) -> None:
        """What was noted is as it was."""
        for module, names in self.changed.items():
            for name in names:
                place = module._buffers if name in module._buffers else vars(module)
                if name in self.before[module]:
                    place[name] = _copied(self.before[module][name])
                else:
                    place.pop(name, None)


_NOT_STATE = {*vars(nn.Module()), "_memories", "_memories_rv", "_step_mode", "_backend"}


def _held(module: nn.Module) -> dict[str, Any]:
    """Copies of a module's own plain values."""
    own = {n: v for n, v in vars(module).items() if n not in _NOT_STATE and _is_plain(v)}
    return {n: _copied(v) for n, v in {**own, **module._buffers}.items()}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, Tensor, np.ndarray))


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _same(held: dict[str, Any], before: dict[str, Any], name: str) -> bool:
    if name not in held or name not in before:
        return False
    one, other = held[name], before[name]
    if isinstance(one, (Tensor, np.ndarray)) and isinstance(other, type(one)):
        return one.shape == other.shape and bool(np.all(np.asarray(one == other)))
    try:
        return type(one) is type(other) and bool(one == other)
    except (RuntimeError, ValueError):  # lists of tensors
        return False


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


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All that a forward pass may draw from begins at `seed` in the block, and goes on afterwards
    as if it had not run.
    """
    states = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count())
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


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
    if not asked.takes and not any(one.fault is None and one.in_time for one in found):
        found.append(trial.of("flat"))
    fits = (one for one in found if asked.gives in ("", one.calls.gives))
    right = [one for one in fits if one.fault is None]
    # One output for all says that a network is silent, or that it is called wrongly.
    told = [one for one in right if not one.constant]
    if not told and any(one.depends for one in found):
        right = []
    if not right:
        for several in (one for one in found if len(one.choices) > 1):
            raise ModelError(
                f"the network gives {len(several.choices)} outputs that may be its logits; say "
                f"which, by --calls {' or '.join(f':{name}' for name in several.choices)}"
            )
        for other in (one for one in found if one.returned):
            raise ModelError(
                f"the network returns {other.returned}; expected one tensor of logits, of "
                f"{classes} numbers a sample; wrap it in a module that returns that tensor alone"
            )
        same = "its output is the same for every sample"
        faults = "; ".join(f"{TAKES[one.takes]}: {one.fault or same}" for one in found)
        raise ModelError(
            f"the network cannot be called so that its output is one of {classes} numbers for each "
            f"sample, whatever runs beside it ({faults}); --calls says how it is called "
            f"({', '.join(TAKES)})"
        )
    best = next((one for one in told if one.in_time), (told or right)[0])
    kept = trial.kept if best.keeps else None
    return Behaviour(best.calls, best.inside, best.keeps, kept, best.chance)


def check_inputs(network: nn.Module) -> None:
    """Raise `ModelError` for a network that is called with anything but one input."""
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
    choices: tuple[str, ...] = ()  # outputs that may be the logits
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
            out = self.network(_given(takes, probes[0]))
        self.kept.look()
        inside = watch.steps([m for m, names in self.kept.changed.items() if names])
        if fault := self._outputs(result, out):
            result.fault = fault
            return
        if takes in _BY_STEP and inside is not None:
            result.fault = f"its neurons run {inside} times in one call"
            return
        calls = result.calls
        if takes == "N":
            given = calls.picked(out)
            result.inside = inside if calls.gives == "N" else given.shape[calls.gives == "NT"]
        self._between_calls(result, probes[0][:, :1] if calls.alone else probes[0])
        for x in probes:
            whole = self._run(calls, x)
            result.constant &= _apart(whole, whole[:, :1].expand_as(whole)) <= self.tolerance
            untold = result.chance or calls.alone
            apart = 0.0 if untold else self._beside_others(calls, x, whole)
            if apart > self.tolerance:
                result.depends, share = True, f"{apart:.2g} of the largest"
                result.fault = f"a sample's output depends on those beside it, by {share}"
                return
        if takes == "N":
            anew = result.inside is None and all(self._begins_anew(calls, x) for x in probes)
            result.in_time = anew or (result.inside or 1) > 1
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
                result.returned = _told(out)
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
        if takes in _BY_STEP or out.dim() != 3:
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
        result.chance = _apart(first, self._run(calls, x, _SEED + 1)) > self.tolerance

    def _beside_others(self, calls: Calls, x: Tensor, whole: Tensor) -> float:
        """How far outputs of samples beside others, `whole`, are from those beside copies of their
        own, at the same place of a batch of the same size, so that nothing is rounded otherwise.
        """
        return max(
            _apart(whole[:, i], self._run(calls, x[:, i : i + 1].expand_as(x))[:, i])
            for i in range(self.samples)
        )

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


def _given(takes: str, steps: Tensor) -> Tensor:
    """What the first call of a pass over `steps` [T, N, …] is given."""
    if takes == "flat":
        return steps[:, 0]
    if takes == "NT":
        return steps.transpose(0, 1).contiguous()
    return steps if takes == "TN" else steps[0]


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
