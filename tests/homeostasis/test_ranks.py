"""Two ranks that see a part of every batch each hold the controller that one process with the whole
batches holds.
"""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from foreign_nets import Does
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

from ahsar_eval.homeostasis import Ahsar, HomeostaticParams

T, STEPS, BATCH = 3, 4, 8
PARAMS = HomeostaticParams(rate_momentum=0.4)


def dyadic_net(step_mode: str) -> nn.Sequential:
    """No batch norm, and weights that are multiples of 1/8: the sums of the linear layers are exact
    whatever the batch they stand in.
    """
    net = nn.Sequential()
    generator = torch.Generator().manual_seed(5)
    for index, (before, after) in enumerate(((6, 16), (16, 12), (12, 4))):
        linear = layer.Linear(before, after, bias=False, step_mode=step_mode)
        with torch.no_grad():
            linear.weight.copy_(torch.randint(-4, 8, linear.weight.shape, generator=generator) / 8)
        net.add_module(f"linear{index}", linear)
        net.add_module(
            f"spike{index}",
            neuron.LIFNode(tau=2.0, v_threshold=1.0, v_reset=None, step_mode=step_mode),
        )
    return net


def batch(step: int) -> Tensor:
    return torch.randint(0, 3, (T, BATCH, 6), generator=torch.Generator().manual_seed(step)).float()


def controller_after(step_mode: str, sensing: str, samples: slice) -> str:
    """Train steps on the given samples of every batch, one epoch's end between them; the state as
    text.
    """
    net: nn.Module = dyadic_net("m" if step_mode == "m" else "s")
    if step_mode == "loop":  # in the network's own forward
        net = Does(net, lambda inner, x: torch.stack([inner(now) for now in x]))
    ahsar = Ahsar(net, timesteps=T, params=PARAMS, sensing=sensing)
    for step in range(STEPS):
        functional.reset_net(net)
        x = batch(step)[:, samples]
        if step_mode != "s":
            net(x)
        else:
            for now in x:
                net(now)
        if step == STEPS // 2:
            ahsar.epoch_end(1.0)
    return json.dumps(ahsar.state_dict(), sort_keys=True)


STEP_MODES = ("s", "m", "loop")
CUTS = (4, 3)  # rank 0 sees the samples before the cut, rank 1 those behind it


def one_rank(rank: int, folder: str) -> None:
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        for step_mode in STEP_MODES:
            for cut in CUTS:
                samples = slice(0, cut) if rank == 0 else slice(cut, BATCH)
                found = controller_after(step_mode, "spikes", samples)
                Path(folder, f"spikes-{step_mode}-{cut}-{rank}.json").write_text(found)
        found = controller_after("m", "surrogate", slice(4 * rank, 4 * rank + 4))
        Path(folder, f"surrogate-m-4-{rank}.json").write_text(found)
    finally:
        distributed.destroy_process_group()


def second_rank(_: int, folder: str) -> None:
    torch.set_num_threads(1)
    one_rank(1, folder)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """Everything in one pair of processes: this one is rank 0."""
    folder = tmp_path_factory.mktemp("ranks")
    second = spawn(second_rank, args=(str(folder),), nprocs=1, join=False)
    one_rank(0, str(folder))
    second.join()
    return folder


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("step_mode", STEP_MODES)
def test_two_ranks_equal_one_process_exactly(two_ranks, step_mode, cut):
    whole = controller_after(step_mode, "spikes", slice(None))
    for rank in (0, 1):
        assert (two_ranks / f"spikes-{step_mode}-{cut}-{rank}.json").read_text() == whole, (
            f"rank {rank}, parts of {cut} and {BATCH - cut}"
        )
    for alone in (slice(0, cut), slice(cut, None)):
        assert controller_after(step_mode, "spikes", alone) != whole, (
            "a part of the batch alone must show another rate"
        )


def test_surrogate_sensing_over_two_ranks(two_ranks):
    whole = json.loads(controller_after("m", "surrogate", slice(None)))
    found = [json.loads((two_ranks / f"surrogate-m-4-{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0] == found[1], "the ranks hold one controller"
    for name in ("state", "smoothed_rate", "ema_scale"):
        assert found[0][name] == pytest.approx(whole[name], rel=1e-6), name
