"""A network that computes the same in less time while a block runs; hooks, names, thresholds and
state stay where they are.

Only what modules' forwards do is exchanged, on the modules themselves, and put back afterwards:
whoever watches them sees the same calls with the same tensors, but for convolutions that have
applied the norm behind them. A convolution applies the batch norm that alone takes its output
(`convolutions`), the norm passes that on, and spiking layers run in loops (`neurons`); everything
else runs as it is. So any network can be compiled, in part at least: no graph is traced, and a
forward with branches of its own stays as it is.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ahsar_eval.errors import AhsarError
from ahsar_eval.networks import SpikingNet, exchanged, hooked, is_neuron, loop_constants
from ahsar_eval.recording.engine.convolutions import FP32, Convolution, joins, why_not
from ahsar_eval.recording.engine.neurons import looped_neurons


class NotAsPlannedError(AhsarError):
    """The batch norm `norm` was given something else than what its convolution had made for it: the
    compiled form does not hold.
    """

    def __init__(self, norm: str) -> None:
        super().__init__(
            f"batch norm {norm!r} took something else than the output of the convolution before it"
        )
        self.norm = norm


class Compiled:
    """A network, what of it is exchanged, and why the rest is not.

    `norms` names, by layer with weights, the normalisation that alone takes its output. `precision`
    is that of the products in convolutions.
    """

    def __init__(self, net: SpikingNet, norms: Mapping[str, str], precision: str = FP32) -> None:
        self.net = net
        self.convolutions: dict[str, Convolution] = {}
        self.passing: dict[str, str] = {}  # batch norm → the convolution that applies it
        self.left: dict[str, str] = {}  # module → why it runs as it is
        modules = dict(net.backbone.named_modules())
        for name, module in modules.items():
            if isinstance(module, nn.Conv2d):
                if reason := why_not(module, precision):
                    self.left[name] = reason
                    continue
                norm = modules.get(norms.get(name, ""))
                joined = norm if isinstance(norm, nn.BatchNorm2d) and joins(norm) else None
                if joined is not None:
                    self.passing[norms[name]] = name
                self.convolutions[name] = Convolution(module, joined, precision)
            elif is_neuron(module) and loop_constants(module) is None:
                self.left[name] = f"there is no loop for a {type(module).__name__} of its kind"

    @property
    def by_events(self) -> tuple[str, ...]:
        """Convolutions that visit what is not zero, and that alone."""
        return tuple(name for name, held in self.convolutions.items() if held.by_events)

    def leave(self, error: NotAsPlannedError) -> None:
        """Let a batch norm run as it is."""
        self.convolutions[self.passing.pop(error.norm)].norm = None
        self.left[error.norm] = str(error)

    def decide(self, densities: Mapping[str, float]) -> None:
        """Choose how each convolution runs by the share of its input that is not zero."""
        for name, convolution in self.convolutions.items():
            convolution.decide(densities.get(name, 1.0))

    def begin_batch(self) -> None:
        """Forget what belongs to the batch before: to be called before every batch."""
        for convolution in self.convolutions.values():
            convolution.forget()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The network computes this way while the block runs."""
        module_of = self.net.backbone.get_submodule
        forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {
            module_of(norm): _passing(norm, self.convolutions[source])
            for norm, source in self.passing.items()
        }
        forwards |= {convolution.module: convolution for convolution in self.convolutions.values()}
        try:
            with exchanged(forwards), looped_neurons(self.net.backbone):
                yield
        finally:
            self.begin_batch()


def _passing(name: str, source: Convolution) -> Callable[[Tensor], Tensor]:
    def passed(x: Tensor) -> Tensor:
        if not source.gave(x):
            raise NotAsPlannedError(name)
        return x

    return passed


def densities(compiled: Compiled, run: Callable[[], object]) -> dict[str, float]:
    """The share of each convolution's input that is not zero while `run` runs."""
    counts: dict[str, tuple[int, int]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found, size = counts.get(name, (0, 0))
            counts[name] = found + int(torch.count_nonzero(inputs[0])), size + inputs[0].numel()

        return count

    with hooked(
        convolution.module.register_forward_pre_hook(watch(name))
        for name, convolution in compiled.convolutions.items()
    ):
        run()
    return {name: found / max(1, size) for name, (found, size) in counts.items()}
