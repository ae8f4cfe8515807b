"""The loop closed through real training: misplaced thresholds, and what the controller does about
them within ten epochs.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional
from torch.nn import functional as F

from ahsar_eval.data import open_set
from ahsar_eval.homeostasis import Ahsar, HomeostaticParams, named_neurons
from ahsar_eval.networks import ModelSpec, build

T, SAMPLES, BATCH, EPOCHS = 4, 120, 24, 10
SENSE_ONLY = HomeostaticParams(beta=0.0, use_gain=False)  # every scale stays at exactly 1


@dataclass
class Course:
    """What a training left: std over layers of log r by epoch, scales [steps, L], the last epoch's
    loss and rates.
    """

    spread: np.ndarray
    scales: np.ndarray
    loss: float
    rates: np.ndarray


def course(step_mode: str, params: HomeostaticParams) -> Course:
    """Train VGG-13 at width 1/16 on digits by the project's recipe, one layer's threshold halved
    and another's doubled.
    """
    torch.manual_seed(0)
    net = build(
        ModelSpec("vgg13", (1, 16, 16), 10, width=1 / 16, step_mode=step_mode, timesteps=T)
    ).backbone
    nodes = named_neurons(net)
    nodes["features.lif2_1"].v_threshold = 0.5  # type: ignore[assignment]
    nodes["features.lif4_1"].v_threshold = 2.0  # type: ignore[assignment]
    digits = open_set("digits", "train")
    x = torch.stack(list(digits.fetch(np.arange(SAMPLES)))) * 2 - 1
    y = torch.from_numpy(digits.labels[:SAMPLES])
    optimizer = torch.optim.Adam(net.parameters(), weight_decay=5e-4)
    counts = dict.fromkeys(nodes, 0.0)
    sizes = dict.fromkeys(nodes, 0)

    def counter(name: str):
        def count(module, inputs, output):
            counts[name] += float(output.detach().sum(dtype=torch.float64))
            sizes[name] += output.numel()

        return count

    for name, node in nodes.items():
        node.register_forward_hook(counter(name))
    spread, scales = [], []
    with Ahsar(net, timesteps=T, params=params) as ahsar:
        for epoch in range(EPOCHS):
            counts.update(dict.fromkeys(nodes, 0.0))
            sizes.update(dict.fromkeys(nodes, 0))
            optimizer.param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
            losses = []
            for batch in torch.randperm(
                SAMPLES, generator=torch.Generator().manual_seed(epoch)
            ).split(BATCH):
                functional.reset_net(net)
                images = x[batch]
                logits = (
                    net(images.expand(T, *images.shape))
                    if step_mode == "m"
                    else torch.stack([net(images) for _ in range(T)])
                )
                loss = F.cross_entropy(logits.mean(0), y[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(float(loss.detach()))
                scales.append(list(ahsar.scales.values()))
            rates = np.array([counts[name] / sizes[name] for name in nodes])
            spread.append(np.log(rates).std())
    return Course(np.array(spread), np.array(scales), float(np.mean(losses)), rates)


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_controller_evens_rates_and_comes_to_rest(step_mode):
    regulated, plain = course(step_mode, HomeostaticParams()), course(step_mode, SENSE_ONLY)
    assert (plain.scales == 1).all(), "the comparison must run at its base thresholds"
    assert plain.rates.argmax() == 2, "the layer with the halved threshold is the most active"
    assert plain.rates.argmin() == 6, "the layer with the doubled threshold is the least active"

    assert regulated.scales[-1].argmax() == 2
    assert regulated.scales[-1].argmin() == 6
    ratio = regulated.spread / plain.spread
    shown = (
        f"std of log r by epoch: {np.round(regulated.spread, 3)} with, "
        f"{np.round(plain.spread, 3)} "
        "without the controller"
    )
    assert ratio.min() <= 0.6, shown
    assert ratio[-1] <= 0.75, (
        f"the weights of the plain network even its rates too, and still: {shown}"
    )
    moves = np.abs(np.diff(regulated.scales, axis=0)).max(axis=1)
    assert moves[-5:].max() < 0.02, (
        f"largest change of a scale in each of the last steps: {np.round(moves[-5:], 4)}"
    )
    assert moves.max() > 0.02, "the scales did move before they came to rest"
    assert regulated.loss < 1.1 * plain.loss, (
        f"loss {regulated.loss:.3f} with, {plain.loss:.3f} without the controller"
    )
