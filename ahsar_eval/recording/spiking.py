"""The spiking layers of anyone's network: found by what they give, and what the neurons of one
cost, found by trying a copy of them.
"""

import copy
import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from ahsar_eval.homeostasis import threshold_of
from ahsar_eval.networks import (
    Shape,
    SpikingNet,
    hooked,
    is_neuron,
    loop_constants,
    neuron_equation,
    spikes_in,
    spiking_found,
)
from ahsar_eval.recording.activity import NeuronModel
from ahsar_eval.recording.counting import kind_by_value
from ahsar_eval.recording.operations import kind_of

STRONG = 8.0  # times an input


def watched(net: SpikingNet, x: Tensor, hooks: Iterable[RemovableHandle]) -> None:
    """Run `x` through a network under `hooks`; its state is forgotten before and after."""
    with hooked(hooks), torch.no_grad():
        net.reset()
        net(x)
        net.reset()


def find_neurons(net: SpikingNet, x: Tensor) -> None:
    """Note the modules of a user's network that emit spikes: those that give 0 and 1 alone, or
    whole numbers, of values that are not. Of modules in one another that do, the outermost without
    layers with weights, norms or neurons inside, else the innermost, such as recurrent neurons that
    hold their weights.
    """
    if not net.spec.is_user_network:
        return
    parts = dict(net.backbone.named_modules())
    inside = tuple(f"{name}." for name, module in parts.items() if is_neuron(module))
    given: dict[str, set[str]] = {
        name: set()
        for name, module in parts.items()
        if name and _may_spike(module) and not name.startswith(inside)
    }

    def look(name: str, module: nn.Module, inputs: tuple[Any, ...], out: Any) -> None:
        taken, out = inputs[0] if inputs else None, spikes_in(out)
        if not isinstance(taken, Tensor) or not isinstance(out, Tensor):
            given[name].add("other")
            return
        kinds = kind_by_value(taken), kind_by_value(out)
        if not out.is_floating_point() or kinds[1] == "analog":
            given[name].add("other")
        elif kinds[1] == "spikes" != kinds[0]:
            given[name].add("spikes" if bool(out.any()) else "silence")
        elif kinds == ("analog", "integer spikes"):
            given[name].add("several")

    # Strong inputs, too: they make neurons that can fire several times in a step do so.
    fire = [*given]
    for shown in (x, STRONG * x):
        if fire:
            watched(net, shown, (parts[n].register_forward_hook(partial(look, n)) for n in fire))
        fire = [name for name in fire if given[name] and "other" not in given[name]]
    fire = [name for name in fire if given[name] != {"silence"}]
    plain = [name for name in fire if not any(map(kind_of, parts[name].modules()))]
    found = [name for name in plain if not any(name.startswith(f"{other}.") for other in plain)]
    for name in sorted(set(fire) - set(plain), key=lambda name: -name.count(".")):
        if not any(other.startswith(f"{name}.") for other in found):
            found.append(name)
    spiking_found({parts[name]: "several" in given[name] for name in found})


def _may_spike(module: nn.Module) -> bool:
    """Not what has a rule of its own, holds known neurons or is a mere row of others."""
    container = isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
    encoder = type(module).__module__.startswith("spikingjelly.activation_based.encoding")
    holds = any(map(is_neuron, module.modules()))
    return not (container or encoder or holds or kind_of(module))


def neuron_model(module: nn.Module, shape: Shape) -> NeuronModel:
    """The model of a neuron layer whose neurons have `shape`, found on a copy of it; `module` keeps
    its state.
    """
    leaky, reset = neuron_equation(module) or (False, "")
    if not is_neuron(module):  # what it computes inside is its own
        return NeuronModel(type(module).__name__, leaky, reset, False, (0, 0, 0))
    constants = loop_constants(module)
    key = None  # tried once for all plain layers of one equation and shape
    if constants is not None and "forward" not in vars(module):
        key = (type(module), constants, module.v_threshold, module.step_mode, shape)
    additions = _TRIED.get(key) or _framework_additions(module, shape)
    if key is not None:
        _TRIED[key] = additions
    return NeuronModel(type(module).__name__, leaky, reset, bool(reset), additions)


_TRIED: dict[Any, tuple[int, int, int]] = {}


class _Additions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts elements of additions and subtractions as SpikingJelly's ACCounter does: those of two
    binary tensors by their ones.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__.rstrip("_") in ("add", "sub", "rsub"):
            tensors = [value for value in args[:2] if isinstance(value, Tensor)]
            if [kind_by_value(x) for x in tensors] == ["spikes", "spikes"]:
                self.elements += sum(int(x.count_nonzero()) for x in tensors)
            else:
                self.elements += out.numel()
        return out


def _framework_additions(module: nn.Module, shape: Shape) -> tuple[int, int, int]:
    """Per neuron and step, before anything came in, at the first step with a value, and later."""
    probe: Any = copy.deepcopy(module).to("cpu")
    multi_step = getattr(probe, "step_mode", "s") == "m"
    neurons = max(1, math.prod(shape))
    kinds = (value.dtype for value in probe.state_dict().values() if value.is_floating_point())
    # Around the threshold, so that some neurons fire and some do not; a neuron alone stays below
    # it.
    last = -0.61 if neurons == 1 else 1.61
    spread = torch.linspace(0.37, last, neurons, dtype=next(kinds, torch.float32))
    values = spread.reshape(1, 1, *shape) * (
        threshold_of(module) if hasattr(module, "v_threshold") else 1.0
    )

    def seen(x: Tensor) -> int:
        probe.reset()
        with torch.no_grad(), _Additions() as additions:
            for part in (x,) if multi_step else x:
                probe(part)
        return additions.elements // neurons

    quiet, first = seen(torch.zeros_like(values)), seen(values)
    both = seen(torch.cat([values, values * 1.01]))
    return quiet, first, both - first
