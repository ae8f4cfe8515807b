"""Operations outside spiking layers and layers with weights: found once, and the few whose work
depends on values measured in every call.

Normalisations and poolings are modules or functions; additions, products, matmuls and means are
functions that a module's forward calls, seen by a torch function mode. A function is recognised
again by its place among all such calls of a forward pass. What they are is found by
`operator_watch`, what they meet is measured by `operator_tally`.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet
from ahsar_eval.recording.work import (
    ADDITION,
    AVERAGE_POOL,
    MATMUL,
    MAX_POOL,
    MEAN,
    PRODUCT,
    OperatorActivity,
)

NORMALISATIONS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)
MAX_POOLS = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)
# Torch function → the kind of operation it is.
FUNCTIONS = {
    **dict.fromkeys(("add", "add_", "sub", "sub_", "rsub", "__rsub__", "subtract"), ADDITION),
    **dict.fromkeys(("mul", "mul_", "multiply", "div", "div_", "__rdiv__", "true_divide"), PRODUCT),
    **dict.fromkeys(("matmul", "mm", "bmm"), MATMUL),
    **dict.fromkeys(("mean", "sum"), MEAN),
    **{
        f"{prefix}avg_pool{axes}d": AVERAGE_POOL
        for prefix in ("", "adaptive_")
        for axes in (1, 2, 3)
    },
    **{f"{prefix}max_pool{axes}d": MAX_POOL for prefix in ("", "adaptive_") for axes in (1, 2, 3)},
}
# Functions that move, copy, cut or join values and compute none. Views share memory with what they
# view and need no name here.
_FREE = frozenset(
    (
        *(
            "clone",
            "contiguous",
            "detach",
            "to",
            "type",
            "type_as",
            "float",
            "double",
            "half",
            "bfloat16",
            "cpu",
            "cuda",
            "copy_",
        ),
        *(
            "reshape",
            "flatten",
            "permute",
            "expand",
            "expand_as",
            "broadcast_to",
            "repeat",
            "repeat_interleave",
            "tile",
            "pad",
        ),
        *(
            "cat",
            "concat",
            "concatenate",
            "stack",
            "hstack",
            "vstack",
            "dstack",
            "__getitem__",
            "__setitem__",
            "index_select",
            "gather",
        ),
        *(
            "take",
            "take_along_dim",
            "masked_select",
            "masked_fill",
            "masked_fill_",
            "roll",
            "flip",
            "rot90",
            "unfold",
            "fold",
        ),
        *(
            "pixel_shuffle",
            "pixel_unshuffle",
            "zeros_like",
            "ones_like",
            "empty_like",
            "full_like",
            "rand_like",
            "randn_like",
        ),
        *(
            "new_zeros",
            "new_ones",
            "new_empty",
            "new_full",
            "zero_",
            "fill_",
            "dropout",
            "dropout2d",
            "requires_grad_",
            "__get__",
        ),
    )
)
# Of these, those that give the whole in another shape, whether that takes a copy or not.
_LAID_OUT = frozenset(
    (
        "contiguous",
        "flatten",
        "reshape",
        "to",
        "unflatten",
        "view",
        "permute",
        "transpose",
        "squeeze",
        "unsqueeze",
    )
)


@dataclass(frozen=True)
class Operator:
    """An operation of the pinned structure.

    `place` numbers the function calls of a pass whose operands are measured; None for others.
    `spikes_of` is the spiking layer that feeds a max pooling directly; one that meets other whole
    numbers is measured where it meets them (`shapes`, and no place).
    """

    found: OperatorActivity
    place: int | None = None
    spikes_of: str | None = None
    shapes: tuple[tuple[int, ...], ...] = ()  # of the operands, one sample and step

    @property
    def reached(self) -> tuple[int, ...]:
        """Of a matmul: how many outputs each element of an operand reaches."""
        if self.found.kind != MATMUL:
            return (0,) * len(self.shapes)
        left, right = self.shapes
        return right[-1], left[-2]


def per_sample(x: Tensor, net: SpikingNet, samples: int) -> tuple[int, tuple[int, ...]] | None:
    """Time steps a tensor of one call holds, and its shape for one sample and step; None where it
    has no axis of samples.
    """
    steps = net.spec.timesteps
    if net.spec.step_mode == "s":
        return (1, tuple(x.shape[1:])) if x.dim() > 1 and x.shape[0] == samples else None
    if x.dim() > 2 and tuple(x.shape[:2]) == (steps, samples):
        return steps, tuple(x.shape[2:])
    if x.dim() > 1 and x.shape[0] == steps * samples:
        return steps, tuple(x.shape[1:])
    return (1, tuple(x.shape[1:])) if x.dim() > 1 and x.shape[0] == samples else None


def as_steps(x: Tensor, net: SpikingNet, samples: int, shape: tuple[int, ...]) -> Tensor:
    """A measured operand as [S, N, *shape]. Raises `RecordingError` where it has another shape than
    was found.
    """
    steps = net.spec.timesteps if net.spec.step_mode == "m" else 1
    for leading in ((steps, samples), (steps * samples,), (samples,)):
        if tuple(x.shape) == (*leading, *shape):
            return x.reshape(-1, samples, *shape)
    raise RecordingError(
        f"an operand of shape {tuple(x.shape)} was not seen before; the network does something "
        "else for other samples"
    )


def computes(name: str, values: Sequence[Any], out: Any) -> bool:
    """Whether a function without a rule makes new numbers: not where it moves them, shows them
    another way, or compares.
    """
    if name in _FREE or not isinstance(out, Tensor) or not out.is_floating_point():
        return False
    taken = [value for value in values if isinstance(value, Tensor)]
    storage = out.untyped_storage().data_ptr()
    in_place = name.endswith("_") and not name.endswith("__")
    return bool(taken) and (
        in_place or all(value.untyped_storage().data_ptr() != storage for value in taken)
    )


def copied(name: str, values: Sequence[Any], out: Any) -> list[Tensor]:
    """The tensors among `values` whose numbers, all or some, a function that computes none gives
    on: not where it shows the whole another way, makes another tensor of its shape, or compares.
    """
    given = [
        one
        for one in (out if isinstance(out, (tuple, list)) else (out,))
        if isinstance(one, Tensor) and one.is_floating_point()
    ]
    if not given or name in _LAID_OUT or name.startswith("new_") or name.endswith("_like"):
        return []
    flat = [
        one
        for value in values
        for one in (value if isinstance(value, (tuple, list)) else (value,))
        if isinstance(one, Tensor)
    ]
    whole = {(one.untyped_storage().data_ptr(), one.numel()) for one in given}
    return [
        value for value in flat if (value.untyped_storage().data_ptr(), value.numel()) not in whole
    ]


class FunctionCalls(TorchFunctionMode):
    """Sees the functions that modules call, outside whatever is marked as inside; `handle(name,
    place, values, out)` is told of each.

    `values` are its arguments, those by keyword behind the others, and `keywords` their names.
    `place` numbers calls that have a rule; with `wanted` it is told of those places alone.
    """

    def __init__(
        self,
        handle: Callable[[str, int, tuple[Any, ...], Any], None],
        wanted: Container[int] | None = None,
    ) -> None:
        super().__init__()
        self.handle, self.wanted = handle, wanted
        self.inside = 0  # above 0 within a spiking layer, or within a hook of the recording itself
        self.place = 0
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
        self.place += ruled
        if not name or (self.wanted is not None and not (ruled and self.place in self.wanted)):
            return func(*args, **keywords)
        # Operands as they are before the call: it may write its result into one of them. The mode
        # itself is off in here.
        values = (*args, *keywords.values())
        writes = ruled and name.endswith("_")
        before = tuple(
            value.clone() if writes and isinstance(value, Tensor) else value for value in values
        )
        out = func(*args, **keywords)
        self.keywords = tuple(keywords)
        self.handle(name, self.place, before, out)
        return out

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What runs in the block is not the network's."""
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
