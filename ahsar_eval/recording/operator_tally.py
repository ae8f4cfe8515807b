"""What additions of spikes and products between spikes meet, measured in every call; everything
else of an operation is its shape.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahsar_eval.networks import SpikingNet
from ahsar_eval.recording.operators import FunctionCalls, Operator, as_steps
from ahsar_eval.recording.values import Received, SeenTally, Store, seen_spikes
from ahsar_eval.recording.wiring import Wiring
from ahsar_eval.recording.work import MATMUL, OperatorActivity, Seen


class OperatorTally:
    """Operands of one recording's measured operations, filled batch by batch. Where there is none,
    nothing is watched.
    """

    def __init__(self, net: SpikingNet, wiring: Wiring, count: int) -> None:
        self.net, self.operators = net, wiring.operators
        self.steps = net.spec.timesteps
        columns = self.steps if net.spec.step_mode == "s" else 1
        measured = [operator for operator in wiring.operators if operator.shapes]
        self.pools = {
            operator.found.name: operator.shapes[0]
            for operator in measured
            if operator.place is None
        }
        self.by_place: dict[int, Operator] = {
            operator.place: operator for operator in measured if operator.place is not None
        }
        self.columns = columns
        self.scratch: dict[tuple[torch.Size, torch.dtype], Tensor] = {}
        self.seen = {
            operator.found.name: [
                SeenTally(count, columns, self.steps * torch.Size(shape).numel())
                for shape in operator.shapes
            ]
            for operator in measured
        }
        self.coincidences: dict[str, NDArray[np.int64]] = {
            operator.found.name: np.zeros((count, columns), np.int64)
            for operator in measured
            if operator.found.kind == MATMUL
        }
        self.functions = FunctionCalls(self._on_call, self.by_place)
        self.begin_batch(0, 0)

    def begin_batch(self, real: int, padded: int) -> None:
        """A batch of `real` samples, which run as `padded` rows."""
        self.real, self.padded, self.call = real, padded, -1
        self.found: list[Store] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See the function calls of the forward pass that runs in the block."""
        if not self.by_place:
            yield
            return
        self.functions.inside = (
            1  # until the network itself begins: what normalises its input is not counted
        )
        with self.functions:
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in the block is the recording's own."""
        with self.functions.paused():
            yield

    def on_pass(self, module: nn.Module, inputs: Any) -> None:
        """The hook before the network's forward: function calls are numbered from here."""
        self.call += 1
        self.functions.place = self.functions.inside = 0

    def on_neuron(self, module: nn.Module, inputs: Any) -> None:
        """The first hook before a spiking layer's call."""
        self.functions.inside += 1

    def on_neuron_done(self, module: nn.Module, inputs: Any, out: Any) -> None:
        """The last hook behind it."""
        self.functions.inside -= 1

    def on_pool(self, name: str) -> Callable[..., None]:
        """The hook before a max pooling whose input is measured."""
        tally = self.seen[name][0]

        def measure(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            with self.paused():
                steps = as_steps(inputs[0], self.net, self.padded, self.pools[name])
                self.found += tally.measured(
                    Received(steps, self.real, self.scratch), self.call % self.columns, len(steps)
                )

        return measure

    def _on_call(self, name: str, place: int, args: tuple[Any, ...], out: Any) -> None:
        operator = self.by_place[place]
        tensors = [value for value in args if isinstance(value, Tensor)]
        received = []
        for value, shape, tally, reached in zip(
            tensors, operator.shapes, self.seen[operator.found.name], operator.reached, strict=True
        ):
            steps = as_steps(value, self.net, self.padded, shape)
            received.append(Received(steps, self.real, self.scratch))
            self.found += tally.measured(
                received[-1], self.call % self.columns, len(steps), float(reached)
            )
        if operator.found.kind != MATMUL:
            return
        both = received[0].binary[0] & received[1].binary[0]  # [real]
        if bool(both.any()):
            # Zeros and ones alone: the product's elements count where both operands spike.
            met = as_steps(
                out, self.net, self.padded, tuple(out.shape[out.dim() - len(operator.shapes[0]) :])
            )[:, : self.real]
            counted = met.double().sum(0).flatten(1).sum(1) * both
            self.found.append(
                (self.coincidences[operator.found.name], self.call % self.columns, counted)
            )

    def activities(self, spikes: Mapping[str, NDArray[np.int64]]) -> tuple[OperatorActivity, ...]:
        """Every operation, in the order they ran. `spikes` [N] by spiking layer."""
        return tuple(self._activity(operator, spikes) for operator in self.operators)

    def _activity(
        self, operator: Operator, spikes: Mapping[str, NDArray[np.int64]]
    ) -> OperatorActivity:
        found = operator.found
        if operator.spikes_of is not None:
            fed = spikes[operator.spikes_of]
            return replace(
                found,
                operand_kinds=("spikes",),
                operands=(seen_spikes(found.inputs * found.steps, fed, 0 * fed, None),),
            )
        if not operator.shapes:
            return found
        operands = tuple(tally.seen() for tally in self.seen[operator.found.name])
        return replace(
            operator.found,
            operands=operands,
            operand_kinds=tuple(map(_kind_of, operands)),
            coincidences=self.coincidences.get(operator.found.name),
        )


def _kind_of(operand: Seen) -> str:
    """The widest kind over all samples and calls."""
    return (
        "spikes" if operand.binary.all() else "integer spikes" if operand.whole.all() else "analog"
    )
