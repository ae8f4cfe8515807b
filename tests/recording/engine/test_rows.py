"""Linear layers: the same numbers as PyTorch's, and the same bits for a row whatever stands beside
it.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ahsar_eval.recording.layout import ROWS, linear_by_rows


def test_by_hand():
    net = nn.Linear(2, 1)
    net.weight.data, net.bias.data = torch.tensor([[2.0, 3.0]]), torch.tensor([0.5])
    with linear_by_rows(net):
        assert net(torch.tensor([[[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]])).tolist() == [
            [[5.5], [3.5]],
            [[2.5], [0.5]],
        ]
        assert net(torch.tensor([1.0, 1.0])).tolist() == [5.5]  # a single sample runs as it is
        assert net(torch.empty(0, 2)).shape == (0, 1)
    assert "forward" not in vars(net)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    features=st.sampled_from([7, 33, 64, 100, 513, 1024]),
    outputs=st.sampled_from([10, 64, 100]),
    rows=st.integers(2, 3 * ROWS),
    row=st.data(),
)
@settings(max_examples=12)
def test_a_row_has_the_same_bits_alone_and_anywhere_in_a_batch(
    threads, dtype, features, outputs, rows, row
):
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(features + rows)
    net = layer.Linear(features, outputs, step_mode="m").to(dtype)
    x = torch.rand(rows, 1, features, generator=generator, dtype=dtype)
    i = row.draw(st.integers(0, rows - 1))
    with torch.no_grad(), linear_by_rows(nn.Sequential(net)):
        together = net(x)
        assert torch.equal(together[i], net(x[i : i + 1])[0]), f"row {i} of {rows}"
        assert torch.equal(together.flip(0), net(x.flip(0)))
    assert torch.allclose(together, net(x), rtol=1e-5, atol=1e-5)


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad.clone()


def test_gradients_pass_and_a_layer_of_ones_own_is_left_alone():
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    namesake = type("Linear", (Doubled,), {})(3, 3)
    with linear_by_rows(nn.Sequential(namesake)):
        assert "forward" not in vars(namesake)
    net = nn.Sequential(nn.Linear(3, 3), Doubled(3, 3))
    x = torch.rand(5, 3)
    expected = net(x)
    expected.sum().backward()
    by_weight = [gradient(p) for p in net.parameters()]
    net.zero_grad()
    with linear_by_rows(net):
        assert "forward" not in vars(net[1])
        net(x).sum().backward()
    assert all(
        torch.allclose(gradient(p), before)
        for p, before in zip(net.parameters(), by_weight, strict=True)
    )
