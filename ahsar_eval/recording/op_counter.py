"""Operations outside spiking layers and layers with weights whose work depends on values: measured
in every call.

Normalisations and poolings are modules or functions; additions, products, matmuls and means are
functions that a module's forward calls, seen by a torch function mode. A function is recognised
again by its number among all such calls of a forward pass. `op_tracer` finds what they are; here
is measured what additions of spikes, products between spikes and max poolings meet. Everything else
of an operation is its shape.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Size, Tensor
from torch.overrides import TorchFunctionMode

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, Shape
from ahsar_eval.recording.activity import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    PRODUCT,
    OperatorActivity,
    Seen,
)
from ahsar_eval.recording.counting import Pass, Received, nothing_seen, seen_spikes

# Torch function → the kind of operation it is.
FUNCTIONS = {
    **dict.fromkeys("add add_ sub sub_ rsub __rsub__ subtract".split(), ADDITION),
    **dict.fromkeys("mul mul_ multiply div div_ __rdiv__ true_divide".split(), PRODUCT),
    **dict.fromkeys(("matmul", "mm", "bmm"), MATMUL),
    **dict.fromkeys(("mean", "sum"), MEAN),
    **{
        f"{prefix}{name}_pool{axes}d": kind
        for prefix in ("", "adaptive_")
        for name, kind in (("avg", AVERAGE_POOL), ("max", MAX_POOL))
        for axes in (1, 2, 3)
    },
}


@dataclass(frozen=True)
class Operator:
    """An operation of the pinned structure.

    `call` numbers the function calls of a pass whose operands are measured; None for others.
    `spikes_of` is the spiking layer that feeds a max pooling directly; one that meets other whole
    numbers is measured where it meets them (`shapes`, and no call).
    """

    activity: OperatorActivity
    call: int | None = None
    spikes_of: str | None = None
    shapes: tuple[Shape, ...] = ()  # of the operands, one sample and step

    @property
    def fan_out(self) -> Shape:
        """Of a matmul: how many outputs each element of an operand reaches."""
        if self.activity.kind != MATMUL:
            return (0,) * len(self.shapes)
        left, right = self.shapes
        return right[-1], left[-2]


def per_sample(x: Tensor, spec: ModelSpec, samples: int) -> tuple[int, Shape] | None:
    """Time steps a tensor of one call holds, and its shape for one sample and step; None where it
    has no axis of samples.
    """
    steps, shape = spec.timesteps, tuple(x.shape)
    if spec.step_mode == "m" and len(shape) > 2 and shape[:2] == (steps, samples):
        return steps, shape[2:]
    if spec.step_mode == "m" and len(shape) > 1 and shape[0] == steps * samples:
        return steps, shape[1:]
    return (1, shape[1:]) if len(shape) > 1 and shape[0] == samples else None


def sample_shape(x: Tensor, spec: ModelSpec, samples: int) -> Shape | None:
    """One sample's shape in one time step: what follows [T, N, …], [T·N, …] or, step by step, [N,
    …]; None for anything else.
    """
    found = per_sample(x, spec, samples)
    all_steps = 1 if spec.step_mode == "s" else spec.timesteps
    return found[1] if found is not None and found[0] == all_steps else None


def _as_steps(x: Tensor, shared: Pass, shape: Shape) -> Tensor:
    """A measured operand as [S, P, *shape]. Raises `RecordingError` where it has another shape than
    was found.
    """
    steps = shared.spec.timesteps if shared.spec.step_mode == "m" else 1
    for leading in ((steps, shared.padded), (steps * shared.padded,), (shared.padded,)):
        if tuple(x.shape) == (*leading, *shape):
            return x.reshape(-1, shared.padded, *shape)
    raise RecordingError(
        f"an operand of shape {tuple(x.shape)} was not seen before; the network does something "
        "else for other samples"
    )


class FunctionCalls(TorchFunctionMode):
    """Sees the functions that modules call, outside whatever is marked as inside; `handle(name,
    call, values, out)` is told of each.

    `values` are its arguments, those by keyword behind the others, and `keywords` their names.
    `call` numbers calls that have a rule; with `wanted` it is told of those alone.
    """

    def __init__(
        self,
        handle: Callable[[str, int, tuple[Any, ...], Any], None],
        wanted: Container[int] | None = None,
    ) -> None:
        super().__init__()
        self.handle, self.wanted = handle, wanted
        self.inside = 0  # above 0 within a spiking layer, or within a hook of the recording itself
        self.call = 0
        self.keywords: tuple[str, ...] = ()

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        name = "" if self.inside else getattr(func, "__name__", "")
        ruled = name in FUNCTIONS
        self.call += ruled
        if not name or (self.wanted is not None and not (ruled and self.call in self.wanted)):
            return func(*args, **keywords)
        # Operands as they are before the call: it may write its result into one of them. The mode
        # itself is off in here.
        values = (*args, *keywords.values())
        if ruled and name.endswith("_"):
            values = tuple(v.clone() if isinstance(v, Tensor) else v for v in values)
        out = func(*args, **keywords)
        self.keywords = tuple(keywords)
        self.handle(name, self.call, values, out)
        return out

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in the block is not the network's."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


class OpCounter:
    """Operands of one recording's measured operations, filled batch by batch. Where there is none,
    nothing is watched.
    """

    def __init__(self, shared: Pass, operators: Sequence[Operator]) -> None:
        self.shared, self.operators = shared, operators
        measured = [operator for operator in operators if operator.shapes]
        self.by_call = {o.call: o for o in measured if o.call is not None}
        self.pools = {o.activity.name: o for o in measured if o.call is None}
        self.seen = {
            operator.activity.name: [
                nothing_seen(
                    shared.count, shared.calls, shared.spec.timesteps * Size(shape).numel()
                )
                for shape in operator.shapes
            ]
            for operator in measured
        }
        self.coincidences = {
            operator.activity.name: shared.zeros(shared.calls)
            for operator in measured
            if operator.activity.kind == MATMUL
        }
        self.functions = FunctionCalls(self._on_call, self.by_call)
        self.begin_batch()

    def begin_batch(self) -> None:
        """Count the batch's calls of the network anew."""
        self.passes = -1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See the function calls of the forward pass that runs in the block."""
        if not self.by_call:
            yield
            return
        # Until the network itself begins: what normalises its input is not counted.
        self.functions.inside = 1
        with self.functions:
            yield

    def on_pass(self, x: Tensor) -> None:
        """Before the network's forward: function calls are numbered from here."""
        self.passes += 1
        self.functions.call = self.functions.inside = 0

    def on_neuron(self, x: Tensor) -> None:
        """The first before a spiking layer's call."""
        self.functions.inside += 1

    def on_neuron_done(self, x: Tensor, out: Tensor) -> None:
        """The last behind it."""
        self.functions.inside -= 1

    def on_pool(self, operator: Operator, x: Tensor) -> None:
        """Before a max pooling whose input is measured."""
        with self.functions.paused():
            self._measure(operator, (x,))

    def _on_call(self, name: str, call: int, values: tuple[Any, ...], out: Any) -> None:
        operator = self.by_call[call]
        met = self._measure(operator, [value for value in values if isinstance(value, Tensor)])
        if operator.activity.kind != MATMUL:
            return
        both = met[0].binary[0] & met[1].binary[0]  # [real]
        if bool(both.any()):
            # Zeros and ones alone: the product's elements count where both operands spike.
            shape = tuple(out.shape[out.dim() - len(operator.shapes[0]) :])
            products = _as_steps(out, self.shared, shape)[:, : self.shared.real]
            counted = products.double().sum(0).flatten(1).sum(1) * both
            array = self.coincidences[operator.activity.name]
            self.shared.stores.append((array, self.passes % self.shared.calls, counted))

    def _measure(self, operator: Operator, operands: Sequence[Tensor]) -> list[Received]:
        met = [
            Received(_as_steps(x, self.shared, shape), self.shared)
            for x, shape in zip(operands, operator.shapes, strict=True)
        ]
        seen = self.seen[operator.activity.name]
        for received, held, fan_out in zip(met, seen, operator.fan_out, strict=True):
            received.note(held, self.passes % self.shared.calls, float(fan_out))
        return met

    def activities(self, spikes: Mapping[str, NDArray[np.int64]]) -> tuple[OperatorActivity, ...]:
        """Every operation, in the order they ran. `spikes` [N, 1] by spiking layer."""
        return tuple(self._activity(operator, spikes) for operator in self.operators)

    def _activity(
        self, operator: Operator, spikes: Mapping[str, NDArray[np.int64]]
    ) -> OperatorActivity:
        activity = operator.activity
        operands: tuple[Seen, ...] = tuple(self.seen.get(activity.name, ()))
        if operator.spikes_of is not None:
            fed = spikes[operator.spikes_of]
            operands = (seen_spikes(activity.inputs * activity.steps, fed, 0 * fed, None),)
        if not operands:
            return activity
        return replace(
            activity,
            operands=operands,
            operand_kinds=tuple(map(_kind_of, operands)),
            coincidences=self.coincidences.get(activity.name),
        )


def _kind_of(operand: Seen) -> str:
    """The widest kind over all samples and calls."""
    if operand.binary.all():
        return "spikes"
    return "integer spikes" if operand.whole.all() else "analog"
