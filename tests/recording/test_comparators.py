"""batchnorm and tent in whole recordings, beside a network of plain tensors that is written out
here: statistics by hand, gradients by autograd, Adam by its equations.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from ahsar_eval.data import Split
from ahsar_eval.data.split import pooled
from ahsar_eval.errors import ModelError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording.adaptation import Adaptation, check_adaptation, record_adapted

T, K, SHAPE = 3, 4, (1, 6, 6)
HELD = ("running_mean", "running_var", "weight", "bias")


def network(mode: str) -> SpikingNet:
    """Two norms, before leaky neurons that subtract and before others that reset to 0."""
    torch.manual_seed(5)
    backbone: Any = nn.Sequential(
        layer.Conv2d(1, 3, 3, padding=1, bias=False),
        layer.BatchNorm2d(3),
        neuron.LIFNode(v_reset=None, decay_input=False, detach_reset=True, v_threshold=0.8),
        layer.Flatten(),
        layer.Linear(108, 8),
        layer.BatchNorm1d(8),
        neuron.IFNode(v_reset=0.0, detach_reset=True),
        layer.Linear(8, K),
    ).double()
    functional.set_step_mode(backbone, mode)
    for norm in (backbone[1], backbone[5]):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
        norm.weight.data.uniform_(1.0, 2.0)
    for weights in (backbone[0], backbone[4], backbone[7]):
        weights.weight.data *= 3
    net = SpikingNet(backbone, ModelSpec("own:net", SHAPE, K, timesteps=T, step_mode=mode))
    net.find_calls()
    return net.eval()


@pytest.fixture
def split(split_from: Callable[[Tensor], Split]) -> Split:
    draw = torch.Generator().manual_seed(2)
    return split_from(torch.rand((15, *SHAPE), generator=draw) * 2 - 0.4)


class Spike(torch.autograd.Function):
    """1 at 0 and above; the gradient of a sigmoid of slope 4."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v >= 0).to(v)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # type: ignore[override]
        s = torch.sigmoid(4 * ctx.saved_tensors[0])
        return slope * 4 * s * (1 - s)


class Plain:
    """The network of `network` in plain tensors. `norms` are its running statistics and factors."""

    def __init__(self, net: SpikingNet, mode: str) -> None:
        self.mode = mode
        back: Any = net.backbone
        self.weights = {n: p.detach().clone() for n, p in back.named_parameters()}
        self.norms = {
            str(i): {held: getattr(back[i], held).detach().clone() for held in HELD} for i in (1, 5)
        }
        self.moments: dict[Any, list[Tensor]] = {}
        self.steps = 0

    def normed(self, name: str, y: Tensor, by_batch: bool, seen: dict[str, Any]) -> Tensor:
        """y [T, N, C, …], all steps at once in multi-step mode and one by one in the other."""
        norm, out = self.norms[name], []
        shape = (1, -1, *[1] * (y.dim() - 3))
        for part in [y] if self.mode == "m" else y.split(1):
            rows = part.flatten(0, 1)
            axes = [i for i in range(rows.dim()) if i != 1]
            mean, var = norm["running_mean"], norm["running_var"]
            if by_batch:
                mean = rows.mean(axes)
                var = ((rows - mean.view(shape)) ** 2).mean(axes)
                count = rows.numel() / rows.shape[1]
                seen.setdefault(name, []).append(
                    (mean.detach(), var.detach() * count / (count - 1))
                )
            z = (rows - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
            z = z * norm["weight"].view(shape) + norm["bias"].view(shape)
            out.append(z.unflatten(0, part.shape[:2]))
        return torch.cat(out)

    def run(self, x: Tensor, by_batch: bool = False) -> tuple[Tensor, dict[str, Any]]:
        """Logits [T, N, K], and the statistics that each norm met."""
        seen: dict[str, Any] = {}
        w, n = self.weights, x.shape[1]
        x = x.double().expand(T, *x.shape[1:]).flatten(0, 1)
        y = F.conv2d(x, w["0.weight"], padding=1).unflatten(0, (T, n))
        y = self.normed("1", y, by_batch, seen)
        v, fired = torch.zeros_like(y[0]), []
        for step in y:
            v = 0.5 * v + step
            fired.append(Spike.apply(v - 0.8))
            v = v - 0.8 * fired[-1].detach()
        y = F.linear(torch.stack(fired).flatten(2), w["4.weight"], w["4.bias"])
        y = self.normed("5", y, by_batch, seen)
        v, fired = torch.zeros_like(y[0]), []
        for step in y:
            v = v + step
            fired.append(Spike.apply(v - 1))
            v = v * (1 - fired[-1].detach())
        return F.linear(torch.stack(fired), w["7.weight"], w["7.bias"]), seen

    def move(self, seen: dict[str, Any], momentum: float | None) -> None:
        """Running statistics towards the mean of those of a batch's calls; None: all the way."""
        part = 1.0 if momentum is None else momentum
        for name, calls in seen.items():
            norm = self.norms[name]
            for held, values in zip(HELD[:2], zip(*calls, strict=True), strict=True):
                norm[held] = (1 - part) * norm[held] + part * sum(values) / len(values)

    def tent(self, x: Tensor) -> None:
        """A step of Adam (1e-3) on factors and summands down the entropy of the time mean."""
        learnt = [(norm, held) for norm in self.norms.values() for held in HELD[2:]]
        for norm, held in learnt:
            norm[held] = norm[held].detach().requires_grad_()
        logits, seen = self.run(x, by_batch=True)
        p = logits.mean(0).softmax(1)
        entropy = -(p * p.log()).sum(1).mean()
        slopes = torch.autograd.grad(entropy, [norm[held] for norm, held in learnt])
        self.steps += 1
        for i, ((norm, held), g) in enumerate(zip(learnt, slopes, strict=True)):
            first, second = self.moments.get(i, [torch.zeros_like(g)] * 2)
            self.moments[i] = first, second = [0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2]
            m, v = first / (1 - 0.9**self.steps), second / (1 - 0.999**self.steps)
            norm[held] = (norm[held] - 1e-3 * m / (v.sqrt() + 1e-8)).detach()
        self.move(seen, 0.1)

    def take(self, x: Tensor) -> None:
        """The statistics of a batch in the place of its own."""
        self.move(self.run(x, by_batch=True)[1], None)

    def predict(self, x: Tensor) -> Any:
        with torch.no_grad():
            return self.run(x)[0].transpose(0, 1).numpy()


def same(found: Any, plain: Plain, logits: Any) -> None:
    np.testing.assert_allclose(found.logits, logits, rtol=0, atol=1e-9)
    state = found.provenance["adaptation"]["state"]["norms"]
    assert set(state) == {"1", "5"}
    for name, norm in plain.norms.items():
        for held, value in norm.items():
            np.testing.assert_allclose(state[name][held], value.tolist(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("comparator", ["batchnorm", "tent"])
@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("samples", [1, 6])
def test_an_episode(split: Split, mode: str, comparator: str, samples: int) -> None:
    net, of = network(mode), pooled(split, samples, seed=1)
    plain = Plain(net, mode)
    assert of.pool is not None
    pool = of.pool.tensors(np.arange(samples))
    pool = torch.cat([pool, pool], 1) if samples == 1 else pool  # one sample runs as two
    if comparator == "tent":
        for _ in range(10):
            plain.tent(pool)
    plain.take(pool)
    found = record_adapted(net, of, Adaptation((comparator,)), batch_size=4)
    same(found, plain, plain.predict(of.tensors(np.arange(len(of)))))
    assert found.provenance["adaptation"]["n"] == samples


@pytest.mark.parametrize("comparator", ["batchnorm", "tent"])
@pytest.mark.parametrize("mode", ["m", "s"])
@pytest.mark.parametrize("first", ["predict", "adapt"])
def test_a_stream(split: Split, mode: str, comparator: str, first: str) -> None:
    """Batches of 4, 4, 4 and 3 samples; Adam goes on from one to the next."""
    net, plain = network(mode), Plain(network(mode), mode)
    order = np.random.Generator(np.random.Philox(9)).permutation(15)
    logits = np.empty((15, T, K))
    for part in (order[:4], order[4:8], order[8:12], order[12:]):
        x = split.tensors(part)
        if first == "predict":
            logits[part] = plain.predict(x)
        if comparator == "tent":
            plain.tent(x)
        elif first == "predict":
            plain.move(plain.run(x, by_batch=True)[1], 0.1)
        if first == "adapt":
            plain.take(x)
            logits[part] = plain.predict(x)
    how = Adaptation((comparator,), protocol="online", batch=4, first=first, seed=9)
    found = record_adapted(net, split, how, batch_size=3)
    same(found, plain, logits)


def test_the_plain_network_is_the_network(split: Split) -> None:
    """Without adaptation, so that the two above compare what adapts."""
    for mode in "ms":
        net = network(mode)
        x = split.tensors(np.arange(15))
        with torch.no_grad():
            net.reset()
            out = net(x.double()).transpose(0, 1).numpy()
        np.testing.assert_allclose(Plain(net, mode).predict(x), out, rtol=0, atol=1e-12)
        assert len(np.unique(out.round(6), axis=0)) > 10


@pytest.mark.parametrize("comparator", ["batchnorm", "tent"])
def test_a_network_without_norms_is_refused_before_the_first_pass(
    split: Split, comparator: str
) -> None:
    backbone = nn.Sequential(layer.Flatten(), layer.Linear(36, K), neuron.IFNode())
    functional.set_step_mode(backbone, "m")
    net = SpikingNet(backbone, ModelSpec("own:net", SHAPE, K, timesteps=T))
    how = Adaptation((comparator,), protocol="online")
    said = rf"no batch norm .*--adapt {comparator} needs; --adapt channel needs none$"
    with pytest.raises(ModelError, match=said):
        check_adaptation(net, how)
    with pytest.raises(ModelError, match=said):
        record_adapted(net, split, how)
    for part in (how, replace(how, protocol="episodic")):
        check_adaptation(network("m"), part)
