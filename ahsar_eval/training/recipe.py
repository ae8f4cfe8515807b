"""What one training is, apart from network and data."""

import math
from dataclasses import dataclass

import torch

from ahsar_eval.data.augment import AUGMENTATIONS
from ahsar_eval.errors import UsageError
from ahsar_eval.recording.execution import warn_of_slow_bf16
from ahsar_eval.training.methods import Method
from ahsar_eval.training.precision import PRECISIONS


@dataclass(frozen=True)
class Recipe:
    """What one training is, apart from network and data. Raises `UsageError` for a value that
    cannot work.
    """

    method: Method
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    seed: int = 0
    device: str = "cpu"
    augment: str = "none"  # of `data.augment.AUGMENTATIONS`
    precision: str = (
        "fp32"  # of the forward and backward passes; weights, thresholds and validation are fp32
    )
    sensing: str = "spikes"  # how the controller senses rates

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise UsageError(
                f"epochs = {self.epochs}, batch size = {self.batch_size}; expected at least 1 "
                "epoch and a batch of at least 2"
            )
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise UsageError(
                f"learning rate {self.learning_rate} or weight decay {self.weight_decay} is "
                "unusable; expected 1e-3 and 5e-4 or the like"
            )
        if not 0 <= self.seed < 2**31:
            raise UsageError(
                f"the seed is {self.seed}; expected a whole number from 0 to 2147483647"
            )
        if self.augment not in ("none", *AUGMENTATIONS):
            raise UsageError(
                f"no augmentation {self.augment!r}; known are none, {', '.join(AUGMENTATIONS)}"
            )
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision is {self.precision!r}; expected one of {', '.join(PRECISIONS)}"
            )
        if self.precision == "fp16" and torch.device(self.device).type != "cuda":
            raise UsageError(
                f"precision fp16 needs a GPU and the device is {self.device}; use bf16, or "
                "--device cuda"
            )
        warn_of_slow_bf16(self.precision, self.device)
