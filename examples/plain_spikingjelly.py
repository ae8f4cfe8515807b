"""AHSAR in a plain SpikingJelly training script: the lines marked with # AHSAR are all that it
takes.

    python examples/plain_spikingjelly.py [--epochs 5]

The network, the data and the loop are those of any SpikingJelly tutorial; nothing else of
ahsar-eval is used.
"""

import argparse
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn
from torch.nn import functional as F

from ahsar_eval.homeostasis import Ahsar  # AHSAR

T = 6


def make_network() -> nn.Module:
    def lif() -> nn.Module:
        return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), detach_reset=True)

    net = nn.Sequential(
        layer.Conv2d(1, 16, 3, padding=1, bias=False),
        layer.BatchNorm2d(16),
        lif(),
        layer.MaxPool2d(2),
        layer.Conv2d(16, 32, 3, padding=1, bias=False),
        layer.BatchNorm2d(32),
        lif(),
        layer.Flatten(),
        layer.Linear(32 * 4 * 4, 10),
    )
    functional.set_step_mode(net, "m")
    return net


def accuracy_of(
    net: nn.Module, run: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, y: torch.Tensor
) -> float:
    with torch.no_grad():
        logits = run(x)
    functional.reset_net(net)
    return float((logits.argmax(1) == y).float().mean())


def main() -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    epochs = parser.parse_args().epochs

    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)
    train, held_out = train_test_split(
        torch.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels
    )

    torch.manual_seed(0)
    net = make_network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    ahsar = Ahsar(net)  # AHSAR: where T calls are a step Ahsar(net, timesteps=T)
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        net.train()
        for batch in torch.randperm(len(train)).split(64):
            x, y = images[train[batch]], labels[train[batch]]
            loss = F.cross_entropy(net(x.expand(T, *x.shape)).mean(0), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            functional.reset_net(net)

        net.eval()  # evaluation forwards run with base x EMA scale, by themselves
        with torch.no_grad():
            x, y = images[held_out], labels[held_out]
            logits = net(x.expand(T, *x.shape)).mean(0)
            functional.reset_net(net)
        validation_loss = float(F.cross_entropy(logits, y))
        ahsar.epoch_end(validation_loss)  # AHSAR: the slow global gain
        accuracy = float((logits.argmax(1) == y).float().mean())
        scales = ", ".join(f"{name} {scale:.3f}" for name, scale in ahsar.scales.items())
        print(
            f"epoch {epoch}  hold-out loss {validation_loss:.3f}  accuracy {accuracy:.3f}  gain "
            f"{ahsar.gain:.3f}  scales: {scales}"
        )

    # AHSAR at test time: images that are too dark, and thresholds by which rates return
    def run(x: torch.Tensor) -> torch.Tensor:
        return net(x.expand(T, *x.shape)).mean(0)

    dark = images[held_out] / 4
    points = ahsar.measure(images[held_out].split(64), forward=run)  # on data that it knows
    before = accuracy_of(net, run, dark[128:], labels[held_out][128:])
    found = ahsar.adapt([dark[:128]], points, forward=run)  # no labels, no gradients
    after = accuracy_of(net, run, dark[128:], labels[held_out][128:])
    print(
        f"dark images: accuracy {before:.3f}, adapted to 128 others {after:.3f} "
        f"(effort {found.effort:.2f})"
    )

    saved = {
        "net": net.state_dict(),
        "ahsar": ahsar.state_dict(),
        "adaptation": ahsar.adaptation_state(),
    }  # AHSAR: beside the weights, plain lists and numbers
    ahsar.detach()  # AHSAR: the network is as it was, thresholds included
    assert saved["ahsar"]["step_mode"] == "m"
    return accuracy


if __name__ == "__main__":
    main()
