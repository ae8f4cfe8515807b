"""Splits of given tensors."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from ahsar_eval.data import ImageSet, Split, split_of


@pytest.fixture
def split_from() -> Callable[[Tensor], Split]:
    """A split of images [N, C, H, W]."""

    def made(images: Tensor) -> Split:
        shape = (images.shape[1], images.shape[2], images.shape[3])
        labels = np.zeros(len(images), dtype=np.int64)
        return split_of(
            ImageSet(
                "given",
                "all",
                labels,
                (),
                "given",
                "given",
                lambda indices: list(images[indices]),
                shape,
            ),
            shape,
        )

    return made


@pytest.fixture
def split_from_frames(split_from: Callable[[Tensor], Split]) -> Callable[[Tensor], Split]:
    """A split of inputs that change from step to step, [T, N, C, H, W]."""
    return lambda frames: replace(split_from(frames[0]), load=lambda indices: frames[:, indices])
