"""What a forward pass of anyone's network leaves behind: state that `reset_net` does not
reach, put back.
"""

import copy
from typing import Any

import numpy as np
from torch import Tensor, nn


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
