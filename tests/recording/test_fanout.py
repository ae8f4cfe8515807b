"""Fan-out maps: by hand, against a brute-force count with one lit input at a time, and as a
property over random layers.
"""

import itertools
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from ahsar_eval.recording.counting import AVERAGE_POOLS, fan_out, is_synapse, through_average

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
AVERAGES = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def lit_one_by_one(shape):
    """All inputs with a single 1, [elements, *shape]."""
    count = int(torch.Size(shape).numel())
    return torch.eye(count, dtype=torch.float64).reshape(count, *shape)


def brute_force(layer, shape):
    """Number of non-zero outputs per lit input, where all weights are one and copies of an element
    (padding modes) are counted each.
    """
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
        if layer.bias is not None:
            layer.bias.zero_()
        return layer(lit_one_by_one(shape)).flatten(1).sum(1).reshape(shape)


def test_border_elements_of_3x3_pad_1_reach_4_6_and_9_outputs():
    by_hand = torch.tensor([[4.0, 6, 4], [6, 9, 6], [4, 6, 4]], dtype=torch.float64)
    found = fan_out(nn.Conv2d(2, 5, 3, padding=1), (2, 3, 3))
    assert torch.equal(found, 5 * by_hand.expand(2, 3, 3)), (
        "each of 5 output channels sees 4, 6 or 9 kernel positions"
    )


def test_stride_2_by_hand():
    # 1×5, kernel 3, stride 2: outputs centred on 1 and 3, the middle element is shared.
    assert fan_out(nn.Conv1d(1, 1, 3, stride=2), (1, 5)).tolist() == [[1.0, 1, 2, 1, 1]]


def test_a_stride_beyond_the_kernel_leaves_elements_unread():
    assert fan_out(nn.Conv1d(1, 4, 1, stride=2), (1, 5)).tolist() == [[4.0, 0, 4, 0, 4]]


def test_groups_reach_only_their_own_output_channels():
    assert fan_out(nn.Conv2d(4, 6, 1, groups=2), (4, 2, 2)).unique().tolist() == [3.0]
    assert fan_out(nn.ConvTranspose2d(4, 6, 1, groups=2), (4, 2, 2)).unique().tolist() == [3.0]


def test_linear_reaches_every_output():
    assert torch.equal(fan_out(nn.Linear(4, 7), (4,)), torch.full((4,), 7.0, dtype=torch.float64))
    assert torch.equal(
        fan_out(nn.Linear(4, 7), (3, 4)), torch.full((3, 4), 7.0, dtype=torch.float64)
    ), "a linear layer over the last axis"


@pytest.mark.parametrize("side", [32, 16, 8, 4, 2])
def test_border_ratio_of_3x3_pad_1(side):
    total = int(fan_out(nn.Conv2d(1, 1, 3, padding=1), (1, side, side)).sum())
    assert Fraction(total, 9 * side * side) == Fraction(3 * side - 2, 3 * side) ** 2


@st.composite
def convolutions(draw):
    axes = draw(st.sampled_from([1, 2, 3]))
    side = {1: 9, 2: 6, 3: 4}[axes]
    each = st.tuples(*[st.integers(1, 3)] * axes)
    groups = draw(st.sampled_from([1, 2]))
    kernel, dilation = draw(each), draw(st.tuples(*[st.integers(1, 2)] * axes))
    padding = draw(
        st.one_of(st.tuples(*[st.integers(0, 2)] * axes), st.sampled_from(["same", "valid"]))
    )
    stride = (1,) * axes if padding == "same" else draw(each)
    mode = draw(st.sampled_from(["zeros", "zeros", "circular", "reflect", "replicate"]))
    shape = (2, *draw(st.tuples(*[st.integers(3, side)] * axes)))
    layer = CONVS[axes](
        2,
        2 * draw(st.integers(1, 2)),
        kernel,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        mode,
    )
    return layer, shape


def runs(layer, shape):
    try:
        with torch.no_grad():
            return layer(torch.zeros(1, *shape)).numel() > 0
    except RuntimeError:
        return False


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@given(convolutions())
@settings(max_examples=150, deadline=None)
def test_convolutions_agree_with_brute_force(case):
    layer, shape = case
    assume(runs(layer, shape))
    found = fan_out(layer, shape)
    assert found.shape == shape
    assert torch.equal(found, brute_force(layer, shape)), f"{layer} on {shape}"


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_padding_mode(axes, mode):
    layer, shape = CONVS[axes](2, 3, 3, padding=2, padding_mode=mode), (2, *(4, 5, 3)[:axes])
    assert torch.equal(fan_out(layer, shape), brute_force(layer, shape))


@given(
    axes=st.sampled_from([1, 2, 3]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    side=st.integers(2, 4),
    extra=st.integers(0, 1),
)
@settings(max_examples=80, deadline=None)
def test_transposed_convolutions_agree_with_brute_force(
    axes, kernel, stride, padding, dilation, groups, side, extra
):
    assume(extra < max(stride, dilation))
    layer = TRANSPOSED[axes](2, 4, kernel, stride, padding, extra, groups, True, dilation)
    shape = (2, *(side + axis for axis in range(axes)))
    assume(runs(layer, shape))
    assert torch.equal(fan_out(layer, shape), brute_force(layer, shape)), f"{layer} on {shape}"


def test_a_layer_without_a_rule_is_told_apart():
    assert not is_synapse(nn.Bilinear(2, 2, 2))


# Average pooling folded into the layer behind it


def folded_by_windows(pool, shape, reached):
    """Each element's sum of `reached` over the pooled cells whose window holds it, found by
    lighting one element at a time.
    """
    with torch.no_grad():
        cells = (pool(lit_one_by_one(shape)) != 0).double()
    return (cells.flatten(1) * reached.flatten()).sum(1).reshape(shape)


def test_a_spike_reaches_what_its_pooled_cell_reaches():
    reached = torch.tensor([[[1.0, 2], [3, 4]]], dtype=torch.float64)
    by_hand = torch.tensor(
        [[[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]], dtype=torch.float64
    )
    found = through_average(nn.AvgPool2d(2), (1, 4, 4), reached)
    assert found is not None
    assert torch.equal(found, by_hand)


def test_where_windows_overlap_a_spike_reaches_the_sum():
    reached = torch.tensor([[1.0, 10, 100]], dtype=torch.float64)
    found = through_average(nn.AvgPool1d(3, stride=1), (1, 5), reached)
    assert found is not None
    assert found.tolist() == [[1.0, 11, 111, 110, 100]]


@given(
    axes=st.sampled_from([1, 2, 3]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 1),
    ceil_mode=st.booleans(),
    include_pad=st.booleans(),
    side=st.integers(3, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_average_pools_agree_with_brute_force(
    axes, kernel, stride, padding, ceil_mode, include_pad, side, seed
):
    assume(2 * padding <= kernel)
    pool = AVERAGES[axes](kernel, stride, padding, ceil_mode, include_pad)
    shape = (2, *(side + axis % 2 for axis in range(axes)))
    cells = pool(torch.zeros(1, *shape)).shape[1:]
    reached = torch.randint(1, 50, cells, generator=torch.Generator().manual_seed(seed)).double()
    found = through_average(pool, shape, reached)
    assert found is not None
    assert torch.equal(found, folded_by_windows(pool, shape, reached)), f"{pool} on {shape}"


@pytest.mark.parametrize("size", [1, 2, 3, (2, 3), (None, 3)])
def test_adaptive_pools_whose_windows_are_alike(size):
    pool, shape = nn.AdaptiveAvgPool2d(size), (2, 6, 6)
    reached = torch.arange(1.0, 1 + pool(torch.zeros(1, *shape)).numel(), dtype=torch.float64)
    found = through_average(pool, shape, reached)
    assert found is not None
    assert torch.equal(found, folded_by_windows(pool, shape, reached))


@pytest.mark.parametrize(
    ("pool", "shape"),
    [(nn.AdaptiveAvgPool1d(1), (2, 5)), (nn.AdaptiveAvgPool3d((1, 2, 1)), (1, 3, 4, 2))],
)
def test_adaptive_pools_of_one_and_three_axes(pool, shape):
    reached = torch.arange(1.0, 1 + pool(torch.zeros(1, *shape)).numel(), dtype=torch.float64)
    found = through_average(pool, shape, reached)
    assert found is not None
    assert torch.equal(found, folded_by_windows(pool, shape, reached))


def test_adaptive_pools_with_unequal_windows_cannot_be_folded():
    assert (
        through_average(
            nn.AdaptiveAvgPool2d(4), (1, 6, 6), torch.ones(1, 4, 4, dtype=torch.float64)
        )
        is None
    )
    # 5 → 2: windows 0–2 and 2–4; plain windows of 2 would also give two cells.
    assert (
        through_average(nn.AdaptiveAvgPool1d(2), (1, 5), torch.ones(1, 2, dtype=torch.float64))
        is None
    )
    for shape in ((1, 4, 5), (1, 5, 4)):  # one axis of unequal windows is enough
        reached = torch.ones(1, 2, 2, dtype=torch.float64)
        assert through_average(nn.AdaptiveAvgPool2d(2), shape, reached) is None


def test_a_map_that_does_not_fit_the_pooled_cells_cannot_be_folded():
    assert (
        through_average(nn.AvgPool2d(2), (1, 4, 4), torch.ones(1, 3, 3, dtype=torch.float64))
        is None
    )


@pytest.mark.parametrize("stride", [2, 3])
def test_pooled_spikes_cost_the_operations_of_their_pooled_cells(stride):
    """Folding changes the order of a sum, nothing else: Σ spikes · folded map = Σ over windows of
    the spikes in it · the map.
    """
    pool, conv = nn.AvgPool2d(2, stride=stride), nn.Conv2d(3, 4, 3, padding=1)
    spikes = (torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    cells = pool(spikes[None])[0].shape
    reached = brute_force(conv, tuple(cells))
    operations = 0.0
    for channel, row, column in itertools.product(
        range(cells[0]), range(cells[1]), range(cells[2])
    ):
        window = spikes[
            channel, stride * row : stride * row + 2, stride * column : stride * column + 2
        ]
        operations += float(window.sum() * reached[channel, row, column])
    found = through_average(pool, (3, 7, 7), fan_out(conv, tuple(cells)))
    assert found is not None
    assert float((spikes * found).sum()) == operations


def test_only_average_pools_are_folded():
    assert isinstance(nn.AvgPool2d(2), AVERAGE_POOLS)
    assert isinstance(nn.AdaptiveAvgPool1d(1), AVERAGE_POOLS)
    assert not isinstance(nn.MaxPool2d(2), AVERAGE_POOLS)
