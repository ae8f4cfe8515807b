"""Batch norms at test time: their statistics beside those of plain tensors, a step of TENT beside
Adam written out, and everything put back.
"""

import math
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks.norms import (
    LEARNING_RATE,
    EntropyMinimiser,
    kept,
    norms_of,
    norms_state,
    of_the_batch,
    write_norms,
)


def net(norm: nn.Module | None = None) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), norm or nn.BatchNorm1d(3), nn.Linear(3, 5)).double()


def samples(seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(6, 4, generator=draw, dtype=torch.float64) * 2 + 1


@pytest.mark.parametrize("mode", ["batchnorm", "tent"])
@pytest.mark.parametrize(
    "norm", [nn.Identity(), nn.LayerNorm(3), nn.BatchNorm1d(3, track_running_stats=False)]
)
def test_a_network_without_norms_is_refused(norm: nn.Module, mode: str) -> None:
    with pytest.raises(ModelError) as refused:
        norms_of(net(norm), mode)
    said = str(refused.value)
    assert said == (
        "the network has no batch norm (it may be folded into the weights), which --adapt "
        f"{mode} needs; --adapt channel needs none"
    )


def test_norms_without_factors_take_statistics_alone() -> None:
    plain = net(nn.BatchNorm1d(3, affine=False))
    assert list(norms_of(plain, "batchnorm")) == ["1"]
    with pytest.raises(ModelError, match="no batch norm with factors and summands"):
        norms_of(plain, "tent")
    assert set(norms_state(norms_of(plain, "batchnorm"))["1"]) == {"running_mean", "running_var"}


def test_norms_of_both_frameworks_are_found() -> None:
    several = nn.Sequential(
        layer.Conv2d(1, 2, 3), layer.BatchNorm2d(2), neuron.IFNode(), nn.BatchNorm1d(4)
    )
    assert list(norms_of(several, "tent")) == ["1", "3"]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_are_those_of_the_batch(momentum: float | None) -> None:
    """The mean of the calls', which are time steps; with a momentum they move towards it once."""
    made, x = net().eval(), [samples(1), samples(2) - 3]
    norms = norms_of(made, "batchnorm")
    before = norms_state(norms)["1"]
    with torch.no_grad(), of_the_batch(norms, momentum):
        out = [made(one) for one in x]
    given = [made[0](one) for one in x]
    mean, var = before["running_mean"], before["running_var"]
    for one, batch in zip(out, given, strict=True):
        m, v = batch.mean(0), ((batch - batch.mean(0)) ** 2).mean(0)
        expected = made[2]((batch - m) / (v + 1e-5).sqrt())
        assert torch.allclose(one, expected, rtol=0, atol=1e-12)
    part = 1.0 if momentum is None else momentum
    mean = (1 - part) * mean + part * torch.stack([batch.mean(0) for batch in given]).mean(0)
    var = (1 - part) * var + part * torch.stack([batch.var(0) for batch in given]).mean(0)
    after = norms_state(norms)["1"]
    assert torch.allclose(after["running_mean"], mean, rtol=0, atol=1e-12)
    assert torch.allclose(after["running_var"], var, rtol=0, atol=1e-12)
    assert (made[1].training, made[1].momentum) == (False, 0.1)


def test_norms_that_do_not_run_keep_their_statistics() -> None:
    made = net().eval()
    norms = norms_of(made, "batchnorm")
    before = norms_state(norms)["1"]
    for momentum in (0.1, None):
        with of_the_batch(norms, momentum):
            pass
        after = norms_state(norms)["1"]
        assert all(torch.equal(value, before[held]) for held, value in after.items())


def test_a_step_of_tent_is_adam_down_the_entropy() -> None:
    """Gradients by finite differences, the step by Adam's equations."""
    made, x = net().eval(), samples()
    norms = norms_of(made, "tent")
    weights = [made[1].weight, made[1].bias]
    made[1].weight.data = torch.tensor([1.2, 0.8, 1.0], dtype=torch.float64)

    def entropy() -> float:
        with torch.no_grad(), of_the_batch(norms, 0.0):
            p = made(x).softmax(1)
            return float(-(p * p.log()).sum(1).mean())

    expected = [w.detach().clone() for w in weights]
    first = [torch.zeros(3).double() for _ in weights]
    second = [torch.zeros(3).double() for _ in weights]
    minimiser = EntropyMinimiser(made, norms)
    entropies = []
    for step in (1, 2, 3):
        for k, weight in enumerate(weights):
            slope = torch.zeros(3).double()
            for i in range(3):
                own = float(weight.data[i])
                weight.data[i] = own + 1e-6
                above = entropy()
                weight.data[i] = own - 1e-6
                slope[i] = (above - entropy()) / 2e-6
                weight.data[i] = own
            first[k] = 0.9 * first[k] + 0.1 * slope
            second[k] = 0.999 * second[k] + 0.001 * slope**2
            m, v = first[k] / (1 - 0.9**step), second[k] / (1 - 0.999**step)
            expected[k] = expected[k] - LEARNING_RATE * m / (v.sqrt() + 1e-8)
        before = entropy()
        with of_the_batch(norms, 0.0):
            entropies.append(minimiser.step(lambda: made(x)))
        assert entropies[-1] == pytest.approx(before, abs=1e-12)
        for weight, value in zip(weights, expected, strict=True):
            assert torch.allclose(weight, value, rtol=0, atol=1e-8)
    assert entropies[2] < entropies[1] < entropies[0] < math.log(5)
    assert LEARNING_RATE == 1e-3


def test_tent_learns_factors_and_summands_alone_and_leaves_gradients_as_they_were() -> None:
    made, x = net().eval(), samples()
    made[1].bias.grad = own = torch.ones(3).double()
    made[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    norms = norms_of(made, "tent")
    with kept(norms):
        minimiser = EntropyMinimiser(made, norms)
        with of_the_batch(norms, 0.1):
            minimiser.step(lambda: made(x))
        changed = {n for n, value in made.state_dict().items() if not torch.equal(value, before[n])}
        minimiser.close()
    assert changed == {
        f"1.{held}"
        for held in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    asked = [parameter.requires_grad for parameter in made.parameters()]
    assert asked == [False, True, True, True, True, True]
    grads = [parameter.grad for parameter in made.parameters()]
    assert made[1].bias.grad is own
    assert torch.equal(own, torch.ones(3).double())
    assert [grad is None for grad in grads] == [True, True, True, False, True, True]


def test_tent_refuses_logits_without_a_gradient() -> None:
    made = net().eval()
    minimiser = EntropyMinimiser(made, norms_of(made, "tent"))
    with pytest.raises(ModelError, match="no gradient of the logits reaches the factors"):
        minimiser.step(lambda: made(samples()).detach())


def test_norms_are_put_back_after_an_error() -> None:
    made = net()
    made[1].momentum = 0.3
    norms = norms_of(made, "batchnorm")
    made(samples())
    before = {name: value.clone() for name, value in made.state_dict().items()}
    tensors = [made[1].running_mean, made[1].weight]

    def fails() -> None:
        with kept(norms), of_the_batch(norms, None):
            made(samples(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert (made[1].training, made[1].momentum) == (True, 0.3)
    assert tensors[0] is made[1].running_mean
    assert tensors[1] is made[1].weight


def test_a_state_of_plain_numbers_is_written_in_place() -> None:
    made = net()
    norms = norms_of(made, "batchnorm")
    values: dict[str, Any] = {
        "running_mean": [1.0, 2.0, 3.0],
        "running_var": [0.5, 0.25, 4.0],
        "weight": [0.1, 0.2, 0.3],
        "bias": [-1.0, 0.0, 1.0],
    }
    held = made[1].weight
    write_norms(norms, {"1": values})
    assert made[1].weight is held
    assert {name: value.tolist() for name, value in norms_state(norms)["1"].items()} == values
