"""Spiking layers in one loop: by hand, bit for bit what SpikingJelly computes, and what must not
change around them.
"""

import copy
import itertools
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.data import View, open_split
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of
from ahsar_eval.networks.neurons import IntegrateAndFire, Integration
from ahsar_eval.recording import record, recorder
from ahsar_eval.recording.engine import looped_neurons
from ahsar_eval.recording.kernels import convolve_events, fire, fire_backward

KINDS = [
    *(("lif", decay, reset) for decay, reset in itertools.product((False, True), (None, 0.0, 0.3))),
    *(("if", False, reset) for reset in (None, 0.0, -0.2)),
]


def layer(
    kind: str, decay_input: bool, reset: float | None, threshold: float = 0.83, step_mode: str = "m"
) -> Any:
    settings: dict[str, Any] = {"v_threshold": threshold, "v_reset": reset, "step_mode": step_mode}
    return (
        neuron.LIFNode(tau=1.25, decay_input=decay_input, **settings)
        if kind == "lif"
        else neuron.IFNode(**settings)
    )


def both(module: Any, *calls: Tensor) -> tuple[list[Tensor], list[Tensor], Any, Any]:
    """What a layer fires without and with the loop, call after call, and the layer after each."""
    plain, looped = copy.deepcopy(module), copy.deepcopy(module)
    with torch.no_grad():
        expected = [plain(x) for x in calls]
        with looped_neurons(looped):
            found = [looped(x) for x in calls]
    return expected, found, plain, looped


def runs_looped(module: nn.Module, x: Tensor) -> bool:
    """Whether a layer's own forward is passed over."""
    called: list[int] = []
    own = type(module).forward
    holder = copy.deepcopy(module)

    def noted(self: nn.Module, *inputs: Any) -> Any:
        called.append(1)
        return own(self, *inputs)

    type(module).forward = noted  # type: ignore[method-assign]
    try:
        with looped_neurons(holder):
            holder(x)
    finally:
        type(module).forward = own  # type: ignore[method-assign]
    return not called


def test_three_steps_by_hand():
    # λ = 1 − 1/2: v = 0.6; 0.6·0.5 + 0.9 = 1.2 ≥ 1 fires, 0.2 is left; 0.2·0.5 + 0.9 = 1.0 ≥ 1
    # fires. The second neuron never does.
    module = neuron.LIFNode(
        tau=2.0, decay_input=False, v_threshold=1.0, v_reset=None, step_mode="m"
    )
    x = torch.tensor([[[0.6, 0.25]], [[0.9, 0.25]], [[0.9, 0.25]]])
    with torch.no_grad(), looped_neurons(module):
        spikes = module(x)
        assert module.counted(spikes).tolist() == [[2, 0]]
    assert spikes.tolist() == [[[0, 0]], [[1, 0]], [[1, 0]]]
    assert module.v.tolist() == [[0.0, 0.4375]]


@pytest.mark.parametrize(("kind", "decay_input", "reset"), KINDS)
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_every_equation_bit_for_bit_over_two_calls(kind, decay_input, reset, step_mode):
    torch.manual_seed(1)
    calls = torch.randn(2, 5, 3, 2, 7, 9)
    module = layer(kind, decay_input, reset, step_mode=step_mode)
    inputs = list(calls) if step_mode == "m" else list(calls.flatten(0, 1))
    expected, found, plain, looped = both(module, *inputs)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    assert torch.equal(plain.v, looped.v), (
        "the second call began where the first one ended, and so will the next"
    )
    assert runs_looped(module, inputs[0])


@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=24),
    st.floats(0.01, 3),
    st.sampled_from(KINDS),
    st.floats(1.001, 50),
)
@settings(max_examples=150, deadline=None)
def test_any_course_bit_for_bit(values, threshold, kind, tau):
    module = layer(kind[0], kind[1], kind[2], threshold)
    if kind[0] == "lif":
        module.tau = tau
    expected, found, plain, looped = both(module, torch.tensor(values).reshape(-1, 1, 1))
    assert torch.equal(expected[0], found[0])
    assert torch.equal(plain.v, looped.v)


def test_a_potential_exactly_at_the_threshold_fires():
    x = torch.tensor([[[0.5, np.nextafter(np.float32(0.5), np.float32(0))]]])
    _, found, *_ = both(layer("if", False, None, threshold=0.5), x)
    assert found[0].tolist() == [[[1, 0]]]


def test_more_neurons_than_a_block_and_more_threads_than_one():
    x = torch.randn(4, 2, 10007)
    module = layer("lif", False, None)
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            expected, found, plain, looped = both(module, x)
        finally:
            torch.set_num_threads(before)
        assert torch.equal(expected[0], found[0])
        assert torch.equal(plain.v, looped.v)


def test_serial_and_parallel_code_are_kept_apart():
    for kernel in (fire, fire_backward, convolve_events):
        files = {
            form._cache._impl.filename_base for form in (kernel.serial, kernel.parallel)
        }  # numba's files of compiled code
        assert len(files) == 2, f"{files}: one would be loaded for the other"


def test_memory_order_of_the_input_is_kept_and_changes_nothing():
    torch.manual_seed(2)
    x = torch.randn(3, 2, 5, 4, 6)
    module = layer("lif", False, None)
    expected, _, plain, _ = both(module, x)
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    with torch.no_grad(), looped_neurons(module):
        spikes = module(last)
        assert spikes.stride() == last.stride()
        assert torch.equal(module.counted(spikes), expected[0].sum(0))
    assert torch.equal(spikes, expected[0])
    assert torch.equal(module.v, plain.v)
    for odd in (x.transpose(2, 4), x[:, :, ::2], x[:, :1].expand(3, 4, 5, 4, 6)):
        one, other, *_ = both(layer("lif", False, None), odd)
        assert torch.equal(one[0], other[0])


def test_the_same_image_at_every_step_is_read_once():
    image = torch.randn(1, 2, 3, 4, 4)
    one, other, *_ = both(layer("lif", False, None), image.expand(6, 2, 3, 4, 4))
    assert torch.equal(one[0], other[0])
    assert one[0].sum() > 0


def test_sums_are_of_the_call_before_and_of_just_what_it_gave():
    module = layer("if", False, None, threshold=1.0, step_mode="s")
    with torch.no_grad(), looped_neurons(module):
        first = module(torch.tensor([[1.0, 0.5]]))
        assert module.counted(first).tolist() == [[1, 0]]
        second = module(torch.tensor([[0.0, 0.5]]))
        assert module.counted(second).tolist() == [[0, 1]]
        assert module.counted(first) is None
        assert module.counted(second * 1) is None, "a hook gave something else in its place"
        second *= 0
        assert module.counted(second) is None, "a hook wrote into it"
        module(torch.tensor([[0.0, 0.5]]).double())
        assert "counted" not in vars(module), "of a call that ran as it is there are none"
    assert "counted" not in vars(module)


# Gradients


def gradients(module: Any, x: Tensor, weight: Tensor, *, looped: bool) -> tuple[Tensor, Tensor]:
    """Spikes, and the gradient to the input, of Σ weight · spikes + Σ v², so that the potential's
    gradient counts as well.
    """
    module, x = copy.deepcopy(module), x.clone(memory_format=torch.preserve_format).requires_grad_()
    with looped_neurons(module) if looped else nullcontext():
        spikes = module(x) if module.step_mode == "m" else torch.stack([module(step) for step in x])
        ((spikes * weight).sum() + module.v.pow(2).sum()).backward()
    assert x.grad is not None
    return spikes.detach(), x.grad


def test_a_gradient_by_hand():
    # Two steps of one IF neuron at threshold 1, slope 4, reset detached: charges 0.9 and 1.9 (none
    # fired before), g = σ'(4(u − 1))·4.
    module = neuron.IFNode(
        v_threshold=1.0,
        v_reset=None,
        detach_reset=True,
        step_mode="m",
        surrogate_function=surrogate.Sigmoid(4.0),
    )
    x = torch.tensor([[[0.9]], [[1.0]]], requires_grad=True)
    with looped_neurons(module):
        module(x).sum().backward()
    first, second = (4 * (p := 1 / (1 + np.exp(-4 * above))) * (1 - p) for above in (-0.1, 0.9))
    assert x.grad is not None
    assert x.grad.flatten().tolist() == pytest.approx([first + second, second], rel=1e-5)


@pytest.mark.parametrize(("kind", "decay_input", "reset"), KINDS)
@pytest.mark.parametrize("step_mode", ["m", "s"])
@pytest.mark.parametrize("detach_reset", [True, False])
def test_gradients_of_every_equation(kind, decay_input, reset, step_mode, detach_reset):
    torch.manual_seed(3)
    x, weight = torch.randn(2, 6, 3, 4, 5, 5)
    module = layer(kind, decay_input, reset, step_mode=step_mode)
    module.detach_reset = detach_reset
    module.surrogate_function = surrogate.Sigmoid(3.0)
    spikes, expected = gradients(module, x, weight, looped=False)
    fired, found = gradients(module, x, weight, looped=True)
    assert torch.equal(spikes, fired)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    _, other = gradients(module, last, weight, looped=True)
    torch.testing.assert_close(other, found, rtol=1e-5, atol=1e-6)


def test_gradients_of_many_neurons_are_the_same_with_more_threads():
    torch.manual_seed(4)
    x, weight = torch.randn(2, 3, 2, 10007)
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            found.append(gradients(layer("lif", False, None), x, weight, looped=True)[1])
        finally:
            torch.set_num_threads(before)
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        found[0],
        gradients(layer("lif", False, None), x, weight, looped=False)[1],
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_loss_of_the_potential_alone_and_of_an_expanded_gradient():
    module, x = layer("lif", False, None), torch.randn(4, 2, 6)
    for loss in (
        lambda spikes, v: v.sum(),
        lambda spikes, v: spikes.mean(),
        lambda spikes, v: spikes[0, 0].expand(5, 6).sum(),
    ):
        found = []
        for looped in (False, True):
            one, given = copy.deepcopy(module), x.clone().requires_grad_()
            with looped_neurons(one) if looped else nullcontext():
                loss(one(given), one.v).backward()
            found.append(given.grad)
        torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


def test_no_second_derivative_is_given_for_a_wrong_one():
    x = torch.randn(3, 2, 4, requires_grad=True)
    module = layer("lif", False, None)
    with looped_neurons(module):
        (first,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        first.sum().backward()


def test_another_surrogate_is_differentiated_as_it_is():
    module = layer("lif", False, None)
    module.surrogate_function = surrogate.ATan()
    x = torch.randn(3, 2, 4, requires_grad=True)
    assert not runs_looped(module, x)
    with torch.no_grad():
        assert runs_looped(module, x)


# What is left as it is


@pytest.mark.parametrize(
    "left",
    [
        neuron.ParametricLIFNode(step_mode="m"),
        neuron.LIAFNode(nn.functional.relu, False, step_mode="m"),
        neuron.LIFNode(step_mode="m", store_v_seq=True),
        IntegrateAndFire(Integration(gain=1.0), 1.0, step_mode="m"),
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_layers_run_as_they_are(left):
    x = torch.rand(3, 2, 5)
    with torch.no_grad():
        assert not runs_looped(left, x)
        assert torch.equal(*(found[0] for found in both(left, x)[:2]))


def test_double_precision_and_empty_inputs_run_as_they_are():
    module = layer("lif", False, None)
    with torch.no_grad():
        assert not runs_looped(module, torch.rand(3, 2, 5, dtype=torch.float64))
        assert not runs_looped(module, torch.rand(3, 0, 5))


def test_hooks_thresholds_and_forwards_are_as_before():
    first = layer("lif", False, None)
    net = nn.Sequential(nn.Linear(4, 4), first, layer("if", False, 0.0))
    seen: list[str] = []
    first.register_forward_pre_hook(
        lambda module, inputs: seen.append(f"before {inputs[0].shape[0]}")
    )
    first.register_forward_hook(lambda module, inputs, out: seen.append(f"after {int(out.sum())}"))
    x = torch.ones(2, 1, 4)
    with torch.no_grad():
        expected = net[1:](x)
        functional.reset_net(net)
        with looped_neurons(net):
            found = net[1:](x)
            first.v_threshold = 100.0
            functional.reset_net(net)
            assert net[1:](x).sum() == 0, "the threshold as it is written when the layer runs"
    assert torch.equal(expected, found)
    assert seen == ["before 2", "after 8", "before 2", "after 8", "before 2", "after 0"]
    assert all("forward" not in vars(module) for module in net.modules())
    with pytest.raises(KeyError), looped_neurons(net):
        raise KeyError
    assert all("forward" not in vars(module) for module in net.modules())


@pytest.mark.parametrize("name", ["digits-vgg13-ahsar", "digits-dvs-vgg13-baseline"])
@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_recording_is_the_same_to_the_bit(name, step_mode, monkeypatch):
    checkpoint = load_checkpoint(name)
    checkpoint = replace(checkpoint, spec=replace(checkpoint.spec, step_mode=step_mode))
    spec = checkpoint.spec
    split = open_split(
        "digits-dvs" if "dvs" in name else "digits",
        View(spec.input_shape, spec.timesteps, spec.framing),
    )
    split = split.only(3)
    found = record(network_of(checkpoint), split, trace=(0,), extras=("features", "spike counts"))

    @contextmanager
    def none(backbone: nn.Module) -> Any:
        yield {}

    monkeypatch.setattr(recorder, "looped_neurons", none)
    expected = record(
        network_of(checkpoint), split, trace=(0,), extras=("features", "spike counts")
    )
    assert np.array_equal(found.logits, expected.logits)
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert np.array_equal(one.spikes, other.spikes)
        assert np.array_equal(one.rate_map, other.rate_map)
        assert np.array_equal(found.traces[0].spikes[one.name], expected.traces[0].spikes[one.name])
    for work, reference in zip(found.synapses, expected.synapses, strict=True):
        assert np.array_equal(work.operations, reference.operations)
    assert found.features is not None
    assert found.spike_counts is not None
    assert np.array_equal(found.features, np.asarray(expected.features))
    assert np.array_equal(found.spike_counts, np.asarray(expected.spike_counts))
