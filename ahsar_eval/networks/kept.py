"""What a forward pass of anyone's network leaves behind: state that `reset_net` does not reach, put
back.
"""

from collections import deque
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
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
            both = held.keys() & before.keys()
            other = (held.keys() | before.keys()) - {n for n in both if held[n].equals(before[n])}
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
                if name not in self.before[module]:
                    place.pop(name, None)
                    continue
                value = self.before[module][name].put_back()
                now = module._buffers.get(name)
                if isinstance(now, Tensor) and isinstance(value, Tensor):
                    value = value.to(now.device)
                place[name] = value


_NOT_STATE = {*vars(nn.Module()), "_memories", "_memories_rv", "_step_mode", "_backend"}
_DEEPEST = 4  # of values within values
_CLOSED = (nn.Module, type, FunctionType, MethodType, ModuleType)
_NUMBERS = (bool, int, float, complex, str, bytes, type(None))


@dataclass
class _Value:
    """A value as it was: `own` itself, which others may hold, too, and `inside` a copy of the
    tensor or array that it is, or the values that a list, a record or an object held.
    """

    own: Any
    inside: Any = None

    def equals(self, before: "_Value") -> bool:
        """Whether it is what it was."""
        one, other = self.inside, before.inside
        if type(self.own) is not type(before.own) or type(one) is not type(other):
            return False
        if isinstance(one, (Tensor, np.ndarray)):
            return bool(one.shape == other.shape and (one == other).all())
        if isinstance(one, dict):
            return list(one) == list(other) and all(one[n].equals(other[n]) for n in one)
        return self.own is before.own or (
            isinstance(self.own, _NUMBERS) and bool(self.own == before.own)
        )

    def put_back(self) -> Any:
        """The value as it was; a list, a record or an object is the same one, and holds that."""
        own, inside = self.own, self.inside
        if isinstance(inside, Tensor):
            return inside.clone()
        if isinstance(inside, np.ndarray):
            return inside.copy()
        if inside is None:
            return own
        values = {name: value.put_back() for name, value in inside.items()}
        if isinstance(own, tuple):
            return (
                own._make(values.values()) if hasattr(own, "_make") else type(own)(values.values())
            )
        held = own if isinstance(own, (list, deque, dict)) else vars(own)
        held.clear()
        if isinstance(held, dict):
            held.update(values)
        else:
            held.extend(values.values())
        return own


def _held(module: nn.Module) -> dict[str, _Value]:
    """A module's own values as they are."""
    own = {n: v for n, v in vars(module).items() if n not in _NOT_STATE}
    seen: set[int] = set()
    return {n: _noted(v, seen) for n, v in {**own, **module._buffers}.items()}


def _noted(value: Any, seen: set[int], deeper: int = _DEEPEST) -> _Value:
    if isinstance(value, Tensor):
        return _Value(value, value.detach().clone())
    if isinstance(value, np.ndarray):
        return _Value(value, value.copy())
    inside: dict[Any, Any] | None = None
    if not deeper or id(value) in seen or isinstance(value, _CLOSED):
        pass
    elif isinstance(value, dict):
        inside = value
    elif isinstance(value, (list, tuple, deque)):
        inside = dict(enumerate(value))
    else:
        inside = getattr(value, "__dict__", None)
    if inside is None:
        return _Value(value)
    seen.add(id(value))
    return _Value(value, {n: _noted(v, seen, deeper - 1) for n, v in inside.items()})
