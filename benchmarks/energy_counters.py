"""What an energy account costs: a set recorded and accounted for against the bare forward passes,
beside two peers' counters.

Multi-step networks, batches of 32. Ours is the whole of `record` (finding the structure, counting,
what conventions need) and `estimate` over sets of 128 images (width 1) and 768 (width 0.25);
NeuroBench's is its SynapticOperations, SpikingJelly's its MAC, AC and SynOp counters, each over one
batch.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from networks import SHAPE, TIMESTEPS, network
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import TorchModel
from pairs import Ratio, compare
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.op_counter import (
    ACCounter,
    DispatchCounterMode,
    MACCounter,
    SynOpCounter,
)
from torch import nn

from ahsar_eval.data import ImageSet, Split, split_of
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.profiles import profile_of
from ahsar_eval.networks import SpikingNet
from ahsar_eval.recording import record

BATCH = 32
BATCHES = {
    1.0: 4,
    0.25: 24,
}  # of a set; finding the structure costs a tenth of a second, whatever the set's size


def random_split(count: int) -> Split:
    """A set of random images in memory."""
    images = torch.rand(count, *SHAPE)
    labels = np.zeros(count, dtype=np.int64)
    return split_of(
        ImageSet(
            "random",
            "all",
            labels,
            (),
            "random",
            "random",
            lambda indices: list(images[indices]),
            SHAPE,
        ),
        SHAPE,
    )


def energy_counters(pairs: int) -> Iterator[Ratio]:
    """The full account and both peers against the bare forward, on the same network and images."""
    for backbone in ("vgg13", "resnet18"):
        for width, batches in BATCHES.items():
            split = random_split(BATCH * batches)
            images = split.tensors(np.arange(BATCH))[0]
            net = network(backbone, width, "m").eval()
            inside = net.backbone
            repeated = images.expand(TIMESTEPS, BATCH, *SHAPE)

            def bare(inside: nn.Module = inside, repeated: torch.Tensor = repeated) -> None:
                with torch.no_grad():
                    functional.reset_net(inside)
                    inside(repeated)

            def bare_set(bare: Callable[[], None] = bare, batches: int = batches) -> None:
                for _ in range(batches):
                    bare()

            def ours(net: SpikingNet = net, split: Split = split) -> None:
                estimate(
                    record(net, split, batch_size=BATCH),
                    profile_of("45nm-fp32"),
                    checkpoint="bench",
                )

            def spikingjelly(inside: nn.Module = inside, repeated: torch.Tensor = repeated) -> None:
                functional.reset_net(inside)
                with (
                    torch.no_grad(),
                    DispatchCounterMode([MACCounter(), ACCounter(), SynOpCounter()]),
                ):
                    inside(repeated)

            model = TorchModel(inside)
            model.register_hooks()

            def neurobench(
                model: TorchModel = model,
                repeated: torch.Tensor = repeated,
                inside: nn.Module = inside,
            ) -> None:
                functional.reset_net(inside)
                with torch.no_grad():
                    predicted = model(repeated)
                    SynapticOperations()(model, predicted, (repeated[0], None))
                model.reset_hooks()

            name = f"{backbone} width {width:g}"
            fewer = max(3, pairs // 6)
            yield compare(f"NeuroBench / bare forward, {name}", neurobench, bare, fewer, warmup=1)
            model.cleanup_hooks()
            yield compare(
                f"SpikingJelly counters / bare forward, {name}", spikingjelly, bare, fewer, warmup=1
            )
            yield compare(
                f"full account / bare forward, {name}", ours, bare_set, max(5, pairs // 2), warmup=1
            )
