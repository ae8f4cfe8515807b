"""How long nothing has come into a spiking layer: a counter of framework calls sees fewer additions
while potentials are still zero.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahsar_eval.recording.counting import in_memory_order
from ahsar_eval.recording.values import Store

_GLANCE = 16  # elements that show most inputs not to be zero


class SilenceTally:
    """Steps, from the first, in which all that comes into a spiking layer is zero: per layer and
    sample.
    """

    def __init__(self, layers: Iterable[str], count: int, steps_per_call: int) -> None:
        self.steps_per_call = steps_per_call
        self.stored: dict[str, NDArray[np.int64]] = {
            name: np.zeros((count, 1), np.int64) for name in layers
        }
        self.begin_batch(0, 0)

    def begin_batch(self, real: int, padded: int) -> None:
        """A batch of `real` samples, which run as `padded` rows."""
        self.real, self.padded = real, padded
        self.silent: dict[str, Tensor] = {}  # [real] steps so far
        self.waiting: dict[
            str, Tensor | None
        ] = {}  # [real] which samples are silent still; None once none is

    def on_neuron(self, name: str) -> Callable[..., None]:
        """The hook before a spiking layer's call."""

        def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if name not in self.waiting or self.waiting[name] is not None:
                x = in_memory_order(
                    inputs[0], 2 if inputs[0].shape[:2] == (self.steps_per_call, self.padded) else 1
                )
                self._look(name, x.reshape(self.steps_per_call, self.padded, -1)[:, : self.real])

        return look

    def _look(self, name: str, x: Tensor) -> None:
        waiting = self.waiting.get(name)
        if waiting is None:
            waiting = torch.ones(self.real, dtype=torch.bool, device=x.device)
            self.silent[name] = torch.zeros(self.real, dtype=torch.int64, device=x.device)
        silent = self.silent[name]
        stride = max(1, x.shape[2] // _GLANCE)
        for step in x:
            active = (step[:, ::stride] != 0).any(1)
            if bool((waiting & ~active).any()):
                active = (step != 0).any(1)
            waiting = waiting & ~active
            if not bool(waiting.any()):
                self.waiting[name] = None
                return
            silent += waiting
        self.waiting[name] = waiting

    def found(self) -> list[Store]:
        """What the batch adds: to be written where its samples belong."""
        return [(self.stored[name], 0, silent) for name, silent in self.silent.items()]

    def steps(self, name: str) -> NDArray[np.int64]:
        """[N] of a layer."""
        return self.stored[name][:, 0]
