"""What a regulated pass costs: a counted pass over a stream in which every batch moves the thresholds
of each channel, against the same pass with nothing that moves.
"""

from collections.abc import Iterator

import numpy as np
import torch
from networks import SHAPE, network
from pairs import Ratio, compare

from ahsar_eval.data import ImageSet, split_of
from ahsar_eval.recording.adaptation import Adaptation, measure_set_points, record_adapted
from ahsar_eval.recording.recorder import record

SAMPLES = 512


def adapting(pairs: int) -> Iterator[Ratio]:
    """Online regulation, predict then adapt, by channel and by layer; the whole recording of a set,
    with the check of what it regulates.
    """
    images = torch.rand(SAMPLES, *SHAPE, generator=torch.Generator().manual_seed(0))
    source = ImageSet(
        name="images",
        role="test",
        labels=np.zeros(SAMPLES, np.int64),
        classes=("0", "1"),
        identity="images",
        label_space="images",
        fetch=lambda indices: list(images[indices]),
        shape=SHAPE,
    )
    split = split_of(source, SHAPE)
    for backbone in ("vgg13", "resnet18"):
        net = network(backbone, 0.25, "m").eval()
        points = measure_set_points(net, split)
        for mode in ("channel", "layer"):
            way = Adaptation((mode,), points, protocol="online")
            yield compare(
                f"online by {mode} / plain, {backbone} width 0.25",
                lambda net=net, way=way: record_adapted(net, split, way, batch_size=32),
                lambda net=net: record(net, split, batch_size=32),
                max(5, pairs // 3),
            )
