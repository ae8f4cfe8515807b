"""What one layer does, counted batch by batch: the spikes of a spiking layer, how long nothing came
into it, its equation by type, and what a counter of framework calls sees of it; operations of a
layer with weights, the values it meets, events to replay.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ahsar_eval.errors import RecordingError
from ahsar_eval.homeostasis import counted_spikes
from ahsar_eval.networks import (
    Shape,
    SpikingNet,
    emits_binary_spikes,
    emits_whole_spikes,
    loop_constants,
    neuron_equation,
)
from ahsar_eval.recording.activity import LayerActivity, NeuronModel, SynapseActivity
from ahsar_eval.recording.counting import (
    MOST_SPIKES,
    Counts,
    FanOut,
    Pass,
    Received,
    in_memory_order,
    nothing_seen,
    seen_spikes,
)
from ahsar_eval.recording.graph import INPUT, MEASURED, Synapse
from ahsar_eval.recording.op_counter import sample_shape
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


class SynapseCounter:
    """Operations of one layer with weights, and what it received.

    A layer that meets the zeros and ones of one spiking layer is counted from that layer's spikes
    (`fed`); every other one is measured where it meets its input (`met`).
    """

    def __init__(self, shared: Pass, net: SpikingNet, synapse: Synapse) -> None:
        self.shared, self.synapse, self.kind = shared, synapse, synapse.kind
        self.is_fed = synapse.source not in (MEASURED, INPUT)
        # 0 and 1 alone in every call, by what feeds it: nothing need be measured.
        meets_plain_spikes = (
            self.is_fed
            and not synapse.path
            and emits_binary_spikes(net.backbone.get_submodule(synapse.source))
        )
        self.fan_out = FanOut(synapse.fan_out, shared.device)
        self.own_fan_out = self.fan_out
        if synapse.path:
            self.own_fan_out = FanOut(synapse.own_fan_out, shared.device)
        self.nonzero_fan_out = None
        if synapse.nonzero_fan_out is not None:
            self.nonzero_fan_out = FanOut(synapse.nonzero_fan_out, shared.device)
        self.steps = shared.spec.timesteps
        self.elements = self.steps * synapse.geometry.input_elements
        self.at_once = shared.calls == 1 or synapse.static  # all of a pass in one call
        self.operations = shared.zeros()
        self.nonzero_operations = shared.zeros()
        self.replayed = shared.zeros() if self.kind == "analog" and not synapse.static else None
        self.seen = None
        if not meets_plain_spikes:
            columns = 1 if self.at_once else shared.calls
            pruned = self.nonzero_fan_out is not None
            self.seen = nothing_seen(shared.count, columns, self.elements, pruned=pruned)
        self.kept: Tensor | None = None  # inputs of all steps in single-step mode
        self.begin_batch()

    def begin_batch(self) -> None:
        """Forget the batch before."""
        self.calls = 0
        self.first_input: Tensor | None = None

    def fed(self, counts: Counts) -> None:
        """Count the layer from the spikes over all steps of the spiking layer that feeds it."""
        stores = self.shared.stores
        stores.append((self.operations, 0, counts.weighted(self.fan_out)))
        if self.seen is None and self.nonzero_fan_out is not None:
            stores.append((self.nonzero_operations, 0, counts.weighted(self.nonzero_fan_out)))

    def met(self, x: Tensor) -> None:
        """Measure what the layer meets in one call, and count its operations where nothing else
        does.
        """
        shape = sample_shape(x, self.shared.spec, self.shared.padded)
        if shape is None:
            raise RecordingError(
                f"layer {self.synapse.name!r} receives an input of shape {tuple(x.shape)} that was "
                "not seen before"
            )
        steps = x.reshape(-1, self.shared.padded, *shape)
        if self.seen is None or (self.synapse.static and self._is_repeated(steps)):
            return
        received = self._received(steps[:1] if self.synapse.static else steps)
        if received is None:
            return
        if not self.is_fed and self.kind != "analog":
            self._check_spikes(received)
        operations = received.note(
            self.seen,
            0,
            self.own_fan_out,
            self.nonzero_fan_out,
            repeats=self.steps if self.synapse.static else 1,
        )
        if self.replayed is not None and bool(received.whole.all()):
            self.shared.stores.append((self.replayed, 0, received.weighted(self.own_fan_out)))
        else:
            self.replayed = None
        if not self.is_fed:
            if self.kind != "analog" and not received.all_binary:
                operations = received.weighted(self.own_fan_out)
            self.shared.stores.append((self.operations, 0, operations))

    def activity(self, spikes: Mapping[str, NDArray[np.int64]]) -> SynapseActivity:
        """Work of the layer. `spikes` [N, 1] by spiking layer."""
        synapse, seen = self.synapse, self.seen
        if seen is None:
            through = None if self.nonzero_fan_out is None else self.nonzero_operations
            seen = seen_spikes(self.elements, spikes[synapse.source], self.operations, through)
        return SynapseActivity(
            name=synapse.name,
            kind=self.kind,
            source=synapse.source,
            operations=self.operations[:, 0],
            dense_operations=synapse.dense_operations,
            charged_steps=1 if synapse.static else self.steps,
            geometry=synapse.geometry,
            seen=seen,
            replayed=None if self.replayed is None else self.replayed[:, 0],
        )

    def _is_repeated(self, steps: Tensor) -> bool:
        """Whether a static input was counted in an earlier call. Raises `RecordingError` where it
        is no longer the same at every step.
        """
        earlier = self.first_input
        self.first_input = steps[0] if earlier is None else earlier
        if self.synapse.source == MEASURED and not bool((steps == self.first_input).all()):
            name = self.synapse.name
            raise RecordingError(
                f"layer {name!r} was found to receive the same values at every time step and now "
                f"does not; declare its input kind (input_kinds={{{name!r}: …}}, --input-kind "
                f"{name}=…)"
            )
        return earlier is not None

    def _received(self, steps: Tensor) -> Received | None:
        """All that the layer receives in a pass: at once in multi-step mode, with the last step in
        single-step mode; None before.
        """
        if self.at_once:
            return Received(steps, self.shared)
        shape = (self.steps, *steps.shape[1:])
        if self.kept is None or self.kept.shape != shape or self.kept.dtype != steps.dtype:
            self.kept = steps.new_empty(shape)
        # A copy: what comes later may be written into the same tensor.
        self.kept[self.calls] = steps[0]
        self.calls += 1
        if self.calls < self.steps:
            return None
        return Received(self.kept, self.shared, each_step=True)

    def _check_spikes(self, received: Received) -> None:
        if not bool(received.whole.all()):
            name = self.synapse.name
            raise RecordingError(
                f"layer {name!r} was found to receive {self.synapse.kind} and now receives other "
                f"values; declare its input kind (input_kinds={{{name!r}: 'analog'}}, "
                f"--input-kind {name}=analog)"
            )
        if self.kind == "spikes" and not received.all_binary:
            self.kind = "integer spikes"


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
