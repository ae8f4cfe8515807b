"""A backbone with its time axis: the only place where a static image is repeated and where step modes differ."""

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.errors import AhsarError, ModelError
from ahsar_eval.models.spec import ModelSpec


class SpikingNet(nn.Module):
    """A spiking backbone under one call, [T, N, C, H, W] → logits [T, N, K], whatever its step mode.

    Input with T = 1 is a static image, shown at every one of `spec.timesteps` steps; any other T must equal `spec.timesteps`. Images in
    [0, 1] are normalised with the specification's mean and std. Raises `ModelError` when input or logits have another shape.
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

    def units(self) -> dict[str, tuple[str, ...]] | None:
        """The units a controller regulates: blocks in multi-step mode, layers (None) in single-step mode."""
        blocks = getattr(self.backbone, "units", None)
        return blocks() if self.spec.step_mode == "m" and callable(blocks) else None

    def _called(self, x: Tensor) -> Tensor:
        if not self.spec.is_user_network:
            return self.backbone(x)
        try:
            logits = self.backbone(x)
        except (AhsarError, MemoryError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(
                f"{self.spec.backbone} failed on an input of shape {tuple(x.shape)} in step mode {self.spec.step_mode}: {reason}; "
                "it is called with [T, N, C, H, W] in multi-step and [N, C, H, W] in single-step mode"
            ) from error
        if not isinstance(logits, Tensor):
            raise ModelError(f"{self.spec.backbone} returned {type(logits).__name__}; expected a tensor of logits")
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Logits [T, N, K]; a multi-step backbone that averages over time itself gives T = 1."""
        spec = self.spec
        if x.dim() != 5 or tuple(x.shape[2:]) != tuple(spec.input_shape) or x.shape[0] not in (1, spec.timesteps):
            raise ModelError(
                f"the input has shape {tuple(x.shape)}; expected [T, N, C, H, W] = [1 or {spec.timesteps}, N, "
                f"{', '.join(map(str, spec.input_shape))}]"
            )
        x = (x - self.mean) / self.std
        if spec.step_mode == "m":
            logits = self._called(x.expand(spec.timesteps, *x.shape[1:]))
            logits = logits[None] if logits.dim() == 2 else logits
        else:
            logits = torch.stack([self._called(x[step if len(x) > 1 else 0]) for step in range(spec.timesteps)])
        if logits.dim() != 3 or logits.shape[1:] != (x.shape[1], spec.classes):
            raise ModelError(
                f"the network's output has shape {tuple(logits.shape)}; expected logits [T, N, K] = "
                f"[{spec.timesteps}, {x.shape[1]}, {spec.classes}]"
            )
        return logits
