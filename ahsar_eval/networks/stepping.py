"""A backbone with its time axis: the only place where a static image is repeated and where step
modes and paradigms differ.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.errors import AhsarError, ModelError
from ahsar_eval.networks.rate_pass import Passes
from ahsar_eval.networks.spec import ModelSpec


class SpikingNet(nn.Module):
    """A spiking backbone under one call, [T, N, C, H, W] → logits [T, N, K], whatever its step mode
    and paradigm.

    Input with T = 1 is a static image, shown at every one of `spec.timesteps` steps; any other T
    must equal `spec.timesteps`. Images in [0, 1] are normalised with the specification's mean and
    std. In training mode with gradients on, a specification of the paradigm "rate" runs rate-based
    backpropagation; everywhere else a network spikes. Raises `ModelError` when input or logits have
    another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.backbone = backbone
        self.spec = spec
        self.register_buffer("mean", torch.tensor(spec.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(-1, 1, 1), persistent=False)

    def reset(self) -> None:
        """Forget membrane potentials: to be called before every batch."""
        functional.reset_net(self.backbone)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights; float32 where it has none."""
        kinds = (weight.dtype for weight in self.parameters() if weight.is_floating_point())
        return next(kinds, torch.float32)

    @contextmanager
    def evaluating(self, device: str) -> Iterator[None]:
        """In evaluation mode on `device` while the block runs; its state is forgotten before and
        after.
        """
        were_training = {module: module.training for module in self.modules()}
        self.reset()
        try:
            self.eval().to(device)
            yield
        finally:
            self.reset()
            for module, training in were_training.items():
                module.training = training

    def units(self) -> dict[str, tuple[str, ...]] | None:
        """The units a controller regulates: blocks in multi-step mode, layers (None) in single-step
        mode.
        """
        blocks = getattr(self.backbone, "units", None)
        return blocks() if self.spec.step_mode == "m" and callable(blocks) else None

    def _spiking(self, x: Tensor) -> Tensor:
        """Logits of all time steps as the backbone gives them, [T, N, K] or [N, K]."""
        if self.spec.step_mode == "m":
            return self._called(self.backbone, x.expand(self.spec.timesteps, *x.shape[1:]))
        return torch.stack(
            [
                self._called(self.backbone, x[step if len(x) > 1 else 0])
                for step in range(self.spec.timesteps)
            ]
        )

    def _rate_based(self, x: Tensor) -> Tensor:
        """The same values, whose gradient is that of one pass over rates (rate-based
        backpropagation, docs/method.md).
        """
        passes = Passes(self.backbone, 1 if self.spec.step_mode == "m" else self.spec.timesteps)
        with passes.spikes(), torch.no_grad():
            logits = self._spiking(x)
        with passes.rates():
            # Not `backbone(…)`: hooks on the network, such as a controller's, count steps, and this
            # is no further one. In single-step
            # mode the step just past has left its potentials and its input: the rate pass takes the
            # latter.
            mean = self._called(
                self.backbone.forward,
                x.mean(0, keepdim=True) if self.spec.step_mode == "m" else x[-1],
            )
        return logits + (mean - mean.detach())

    def _called(self, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if not self.spec.is_user_network:
            return call(x)
        try:
            logits = call(x)
        except (AhsarError, MemoryError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(
                f"{self.spec.backbone} failed on an input of shape {tuple(x.shape)} in step mode "
                f"{self.spec.step_mode}: {reason}; "
                "it is called with [T, N, C, H, W] in multi-step and [N, C, H, W] in single-step "
                "mode"
            ) from error
        if not isinstance(logits, Tensor):
            raise ModelError(
                f"{self.spec.backbone} returned {type(logits).__name__}; expected a tensor of "
                "logits"
            )
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits [T, N, K]; a multi-step backbone that averages over time itself gives T = 1."""
        spec = self.spec
        if (
            x.dim() != 5
            or tuple(x.shape[2:]) != tuple(spec.input_shape)
            or x.shape[0] not in (1, spec.timesteps)
        ):
            raise ModelError(
                f"the input has shape {tuple(x.shape)}; expected [T, N, C, H, W] = [1 or "
                f"{spec.timesteps}, N, "
                f"{', '.join(map(str, spec.input_shape))}]"
            )
        x = (x - self.mean) / self.std
        rate_based = spec.paradigm == "rate" and self.training and torch.is_grad_enabled()
        logits = self._rate_based(x) if rate_based else self._spiking(x)
        logits = logits[None] if logits.dim() == 2 else logits
        if logits.dim() != 3 or logits.shape[1:] != (x.shape[1], spec.classes):
            raise ModelError(
                f"the network's output has shape {tuple(logits.shape)}; expected logits [T, N, K] "
                "= "
                f"[{spec.timesteps}, {x.shape[1]}, {spec.classes}]"
            )
        return logits
