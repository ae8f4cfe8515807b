"""What a spiking layer does: its spikes, how long nothing came into it, its equation by type, and
what a counter of framework calls sees of it, by trying a copy.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis.sensing import counted_spikes
from ahsar_eval.networks import (
    Shape,
    emits_binary_spikes,
    emits_whole_spikes,
    loop_constants,
    neuron_equation,
)
from ahsar_eval.recording.activity import LayerActivity, NeuronModel
from ahsar_eval.recording.counting import MOST_SPIKES, Counts, Pass, in_memory_order
from ahsar_eval.recording.op_tracer import kind_by_value

_GLANCE = 16  # elements that show most inputs not to be zero


class NeuronCounter:
    """Spikes of one spiking layer whose neurons have `shape`, filled batch by batch."""

    def __init__(self, shared: Pass, name: str, module: nn.Module, shape: Shape) -> None:
        self.shared, self.name, self.module, self.shape = shared, name, module, shape
        self.binary, self.whole = emits_binary_spikes(module), emits_whole_spikes(module)
        self.spikes = shared.zeros()
        self.map = torch.zeros(shape, dtype=torch.float64, device=shared.device)
        self.silence = Silence(shared)
        self.begin_batch()

    def begin_batch(self, traced: Sequence[int] = ()) -> None:
        """Forget the batch before; all spikes of the rows `traced` are kept."""
        self.calls = 0
        self.traced: dict[int, list[NDArray[Any]]] = {row: [] for row in traced}
        self.silence.begin_batch()

    def emitted(self, out: Tensor) -> Counts | None:
        """Note what one call gave. Spikes over all T steps, [real, *shape], once the last step has
        been seen; None before.
        """
        steps = out.reshape(-1, self.shared.padded, *self.shape)
        by_type = self.binary or self.whole
        if not by_type and kind_by_value(out) != "spikes":
            raise RecordingError(
                f"spiking layer {self.name!r} now emits values other than 0 and 1; its spikes "
                "cannot be counted"
            )
        kind = torch.int64 if self.whole else torch.bool
        for row, kept in self.traced.items():
            kept.extend(steps[:, row].to(kind).cpu().numpy())
        done = self._over_steps(out, steps)
        if done is None:
            return None
        if self.whole and not bool((done < MOST_SPIKES).all()):
            raise RecordingError(
                f"spiking layer {self.name!r} emits more spikes than can be counted; its "
                "thresholds are too small for its input"
            )
        counts = Counts(done, float("inf") if self.whole else self.shared.spec.timesteps)
        self.shared.stores.append((self.spikes, 0, counts.per_sample()))
        self.map += counts.over_samples()
        return counts

    def activity(self) -> LayerActivity:
        """What the layer did, when every sample has passed."""
        return LayerActivity(
            self.name,
            self.shape,
            self.spikes[:, 0],
            (self.map / (self.shared.count * self.shared.spec.timesteps)).cpu().numpy(),
            neuron_model(self.module, self.shape),
            self.silence.steps[:, 0],
        )

    def _over_steps(self, out: Tensor, steps: Tensor) -> Tensor | None:
        """Spikes over all T steps, [real, *shape], once the last step has been seen; None before.

        Buffers outlive the batch: fresh memory for every layer and batch costs more than the sums.
        In multi-step mode one buffer serves all layers of a shape in turn, since what is counted is
        used before the next layer runs.
        """
        real, multi_step = self.shared.real, self.shared.spec.step_mode == "m"
        sums = counted_spikes(self.module, out) if multi_step else out
        if multi_step and sums is not out:
            return sums[:real]
        dtype = out.dtype if out.is_floating_point() else torch.int32  # true + true is not two
        name = "" if multi_step else self.name
        total = self.shared.buffer(name, steps[0], torch.float64 if self.whole else dtype)
        if multi_step:
            return torch.sum(steps, 0, dtype=total.dtype, out=total)[:real]
        self.calls += 1
        total = total.copy_(steps[0]) if self.calls == 1 else total.add_(steps[0])
        return total[:real] if self.calls == self.shared.calls else None


class Silence:
    """Steps, from the first, in which all that comes into one spiking layer is zero, `steps`
    [N, 1]: a counter of framework calls sees fewer additions while potentials are still zero.
    """

    def __init__(self, shared: Pass) -> None:
        self.shared, self.steps = shared, shared.zeros()
        self.begin_batch()

    def begin_batch(self) -> None:
        """Forget the batch before."""
        self.is_over = False  # no sample is silent any longer
        self.waiting: Tensor | None = None  # [real] which samples are silent still

    def look(self, x: Tensor) -> None:
        """See what comes into a call of the layer."""
        if self.is_over:
            return
        shared = self.shared
        leading = (shared.spec.timesteps // shared.calls, shared.padded)
        laid = in_memory_order(x, 2 if x.shape[:2] == leading else 1)
        steps = laid.reshape(*leading, -1)[:, : shared.real]
        if self.waiting is None:
            self.waiting = torch.ones(shared.real, dtype=torch.bool, device=x.device)
            self.silent = torch.zeros(shared.real, dtype=torch.int64, device=x.device)
            shared.stores.append((self.steps, 0, self.silent))
        stride = max(1, steps.shape[2] // _GLANCE)
        for step in steps:
            active = (step[:, ::stride] != 0).any(1)
            if bool((self.waiting & ~active).any()):
                active = (step != 0).any(1)
            self.waiting = self.waiting & ~active
            if not bool(self.waiting.any()):
                self.is_over = True
                return
            self.silent += self.waiting


def neuron_model(module: nn.Module, shape: Shape) -> NeuronModel:
    """The model of a neuron layer whose neurons have `shape`, found on a copy of it; `module` keeps
    its state.
    """
    equation = neuron_equation(module)
    leaky, reset = equation or (False, "")
    constants = loop_constants(module)
    if constants is None or "forward" in vars(module):
        additions = _framework_additions(module, shape)
    else:  # tried once for all plain layers of one equation and shape
        key = (type(module), constants, module.v_threshold, module.step_mode, shape)
        if key not in _TRIED:
            _TRIED[key] = _framework_additions(module, shape)
        additions = _TRIED[key]
    return NeuronModel(type(module).__name__, leaky, reset, equation is not None, additions)


_TRIED: dict[tuple[Any, ...], tuple[int, int, int]] = {}
_aten = torch.ops.aten
_ADDITIONS = {
    getattr(getattr(_aten, name), overload)
    for name in ("add", "add_", "sub", "sub_", "rsub")
    for overload in ("Tensor", "Scalar")
    if hasattr(getattr(_aten, name), overload)
}


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
    values = spread.reshape(1, 1, *shape) * float(getattr(module, "v_threshold", 1.0))

    def seen(x: Tensor) -> int:
        probe.reset()
        with torch.no_grad(), _Additions() as additions:
            for part in (x,) if multi_step else x:
                probe(part)
        return additions.elements // neurons

    quiet, first = seen(torch.zeros_like(values)), seen(values)
    both = seen(torch.cat([values, values * 1.01]))
    return quiet, first, both - first
