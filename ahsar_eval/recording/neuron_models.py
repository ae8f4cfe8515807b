"""What a spiking layer computes: its equation by type, and what a counter of framework calls sees
of it, by trying a copy.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ahsar_eval.networks import loop_constants, neuron_equation
from ahsar_eval.recording.work import NeuronModel

_aten = torch.ops.aten
_ADDITIONS = {
    getattr(getattr(_aten, name), overload)
    for name in ("add", "add_", "sub", "sub_", "rsub")
    for overload in ("Tensor", "Scalar")
    if hasattr(getattr(_aten, name), overload)
}


def neuron_model(module: nn.Module, shape: tuple[int, ...]) -> NeuronModel:
    """The model of a neuron layer whose neurons have `shape`, found on a copy of it; `module` keeps
    its state.
    """
    equation = neuron_equation(module)
    leaky, reset = equation or (False, "")
    return NeuronModel(
        type(module).__name__, leaky, reset, equation is not None, _tried_once(module, shape)
    )


_OF_PLAIN_LAYERS: dict[tuple[Any, ...], tuple[int, int, int]] = {}


def _tried_once(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`_framework_additions`, tried once for all plain layers of one equation and shape."""
    constants = loop_constants(module)
    if constants is None or "forward" in vars(module):
        return _framework_additions(module, shape)
    key = (type(module), constants, module.v_threshold, module.step_mode, shape)
    if key not in _OF_PLAIN_LAYERS:
        _OF_PLAIN_LAYERS[key] = _framework_additions(module, shape)
    return _OF_PLAIN_LAYERS[key]


class _Additions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts elements of additions and subtractions as SpikingJelly's ACCounter does: those of two
    binary tensors by their ones.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _ADDITIONS:
            tensors = [value for value in args[:2] if isinstance(value, Tensor)]
            if len(tensors) == 2 and all(
                bool(((value == 0) | (value == 1)).all()) for value in tensors
            ):
                self.elements += sum(int(value.count_nonzero()) for value in tensors)
            else:
                self.elements += out.numel()
        return out


def _framework_additions(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Per neuron and step, before anything came in, at the first step with a value, and later."""
    probe: Any = copy.deepcopy(module).to("cpu")
    multi_step = getattr(probe, "step_mode", "s") == "m"
    neurons = max(1, torch.Size(shape).numel())
    dtype = next(
        (value.dtype for value in probe.state_dict().values() if value.is_floating_point()),
        torch.float32,
    )
    # Around the threshold, so that some neurons fire and some do not; a neuron alone stays below
    # it.
    threshold = float(getattr(module, "v_threshold", 1.0))
    values = (
        torch.linspace(0.37, -0.61 if neurons == 1 else 1.61, neurons, dtype=dtype).reshape(
            1, 1, *shape
        )
        * threshold
    )

    def seen(x: Tensor) -> int:
        probe.reset()
        with torch.no_grad(), _Additions() as additions:
            for part in (x,) if multi_step else x:
                probe(part)
        return additions.elements // neurons

    quiet, first, both = (
        seen(torch.zeros_like(values)),
        seen(values),
        seen(torch.cat([values, values * 1.01])),
    )
    return quiet, first, both - first
