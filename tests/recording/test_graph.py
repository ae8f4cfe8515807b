"""What feeds what: traced where it can be, measured where it meets weights, listed where no rule
counts it, refused where it changes.
"""

import warnings

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn
from torch.nn import functional as F

from ahsar_eval.data import ImageSet, Split, split_of
from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.recording import Recording, SynapseActivity, record
from ahsar_eval.recording.activity import AVERAGE_POOL
from ahsar_eval.recording.tensors import key_of

T = 3
SHAPE = (1, 4, 4)


def split_from(images: Tensor) -> Split:
    shape = (images.shape[1], images.shape[2], images.shape[3])
    return split_of(
        ImageSet(
            "given",
            "all",
            np.zeros(len(images), dtype=np.int64),
            (),
            "given",
            "given",
            lambda i: list(images[i]),
            shape,
        ),
        shape,
    )


IMAGES = split_from(torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2)


def lif(step_mode: str = "m") -> nn.Module:
    return neuron.IFNode(v_threshold=0.5, v_reset=None, step_mode=step_mode)


class Network(nn.Module):
    """IF neurons on the pixels, something in between (`middle`), and a convolution `conv` and
    linear `linear` that meet its output.
    """

    def __init__(self, step_mode: str = "m") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lif = lif(step_mode)
        self.second = lif(step_mode)
        self.conv = layer.Conv2d(1, 2, 3, padding=1, step_mode=step_mode)
        self.after = lif(step_mode)
        self.linear = layer.Linear(2, 3, step_mode=step_mode)

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        return spikes

    def forward(self, x: Tensor) -> Tensor:
        met = self.conv(self.middle(self.lif(x), x))
        logits: Tensor = self.linear(self.after(met).sum((-2, -1)))
        return logits


def recorded(
    backbone: nn.Module, step_mode: str = "m", images: Split = IMAGES, **arguments: object
) -> Recording:
    spec = ModelSpec(
        "tests:net",
        (images.shape[0], images.shape[1], images.shape[2]),
        3,
        step_mode=step_mode,
        timesteps=T,
    )
    return record(SpikingNet(backbone, spec), images, **arguments)  # type: ignore[arg-type]


def synapse(recording: Recording, name: str) -> SynapseActivity:
    return next(found for found in recording.synapses if found.name == name)


def what_conv_received(backbone: Network) -> Tensor:
    """The inputs of `conv`, [T, N, C, H, W], seen by a hook of this test."""
    seen: list[Tensor] = []
    handle = backbone.conv.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].clone())
    )
    net = SpikingNet(backbone, ModelSpec("tests:net", SHAPE, 3, timesteps=T)).eval()
    with torch.no_grad():
        net.reset()
        net(IMAGES.tensors(np.arange(5)))
    handle.remove()
    return seen[0]


def expected_operations(x: Tensor) -> list[int]:
    """Σ values · fan-out by a convolution of ones, per sample."""
    ones = torch.ones(2, 1, 3, 3, dtype=torch.float64)
    return [int(F.conv2d(x[:, n].double(), ones, padding=1).sum()) for n in range(x.shape[1])]


def test_plain_spikes_are_traced_to_their_layer():
    found = synapse(recorded(Network()), "conv")
    assert (found.kind, found.source) == ("spikes", "lif")
    assert found.operations.tolist() == expected_operations(what_conv_received(Network()))


class InPlaceResidual(Network):
    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        spikes += self.second(x)
        return spikes


class SewAddition(Network):
    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        return spikes + self.second(x)


@pytest.mark.parametrize("kind", [InPlaceResidual, SewAddition])
def test_a_sum_of_spikes_is_not_mistaken_for_the_spikes_it_started_from(kind):
    recording = recorded(kind())
    found = synapse(recording, "conv")
    assert (found.kind, found.source) == ("integer spikes", "measured")
    received = what_conv_received(kind())
    assert received.max() == 2, "both branches fire together somewhere, or the test shows nothing"
    assert found.operations.tolist() == expected_operations(received), (
        "a value of 2 counts as two spikes"
    )
    alone = synapse(recorded(Network()), "conv").operations
    assert found.operations.tolist() == [2 * count for count in alone], (
        "both branches fire alike here"
    )
    assert recording.layers[0].spikes.tolist() == recorded(Network()).layers[0].spikes.tolist(), (
        "the addition in place changed a count"
    )


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("kind", [InPlaceResidual, SewAddition])
def test_an_addition_of_spikes_counts_alike_in_both_step_modes(kind, step_mode):
    recording = recorded(kind(step_mode), step_mode)
    found = synapse(recording, "conv")
    assert found.operations.tolist() == expected_operations(what_conv_received(kind()))
    assert (found.kind, found.source) == ("integer spikes", "measured")
    assert recording.layers[0].spikes.tolist() == recorded(Network()).layers[0].spikes.tolist(), (
        "the addition in place changed a count"
    )


class FunctionalAverage(Network):
    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        return F.avg_pool2d(spikes.flatten(0, 1), 2).reshape(*spikes.shape[:2], 1, 2, 2)


def test_a_functional_average_of_spikes_is_folded():
    found = synapse(recorded(FunctionalAverage()), "conv")
    assert (found.kind, found.source, found.charged_steps) == ("pooled spikes", "measured", T)
    cells = what_conv_received(FunctionalAverage()).double() * 4
    assert found.operations.tolist() == expected_operations(cells.round())


class ModuleAverage(Network):
    def __init__(self, step_mode: str = "m", times: int = 1) -> None:
        super().__init__(step_mode)
        # Where two follow each other the first keeps the size, so that shapes alone would not tell
        # them from one.
        self.pool = (
            layer.AvgPool2d(3, 1, 1, step_mode=step_mode)
            if times == 2
            else layer.AvgPool2d(2, step_mode=step_mode)
        )
        self.times = times
        self.again = layer.AvgPool2d(2, step_mode=step_mode)

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(spikes)
        return self.again(pooled) if self.times == 2 else pooled


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_pooling_layer_is_folded(step_mode):
    found = synapse(recorded(ModuleAverage(step_mode), step_mode), "conv")
    assert (found.kind, found.source) == ("pooled spikes", "lif")
    assert found.operations.tolist() == expected_operations(
        4 * what_conv_received(ModuleAverage())
    ), "each spike reaches its cell's outputs"


def test_two_poolings_in_a_row_are_measured_and_folded():
    found = synapse(recorded(ModuleAverage(times=2)), "conv")
    assert (found.kind, found.source) == ("pooled spikes", "measured")
    cells = what_conv_received(ModuleAverage(times=2)).double() * 36
    assert found.operations.tolist() == expected_operations(cells.round())


class MaxPooled(Network):
    def __init__(self, step_mode: str = "m") -> None:
        super().__init__(step_mode)
        self.pool = layer.MaxPool2d(2, step_mode=step_mode)

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(spikes)
        return pooled


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_the_maximum_of_spikes_is_spikes_measured(step_mode):
    found = synapse(recorded(MaxPooled(step_mode), step_mode), "conv")
    assert (found.kind, found.source) == ("spikes", "measured")
    assert found.operations.tolist() == expected_operations(what_conv_received(MaxPooled()))


class Contained(Network):
    """A plain torch convolution that sees [T·N, C, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.box = layer.SeqToANNContainer(nn.Conv2d(1, 1, 3, padding=1))
        self.box_lif = lif()

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        between: Tensor = self.box_lif(self.box(spikes))
        return between


def test_a_plain_convolution_in_a_container_is_traced():
    recording = recorded(Contained())
    found = synapse(recording, "box.0")
    assert (found.kind, found.source, found.charged_steps) == ("spikes", "lif", T)
    single = synapse(recorded(Network()), "conv").operations
    assert (2 * found.operations).tolist() == single.tolist(), (
        "one output channel costs half of two"
    )
    assert not recording.uncounted


# Layers that no rule covers


class Weighted(nn.Module):
    """Weights of its own that no rule counts."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Uncountable(Network):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Linear(4, 4)
        self.bilinear = nn.Bilinear(4, 4, 4)
        self.own = Weighted()
        self.norm = layer.BatchNorm2d(1, step_mode="m")

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        mixed: Tensor = self.own(self.bilinear(spikes, spikes))
        return mixed + self.norm(spikes)


def test_what_is_not_counted_is_listed_with_its_reason():
    recording = recorded(Uncountable())
    assert {listed.name: listed.reason for listed in recording.uncounted} == {
        "idle": "it did not run",
        "bilinear": "no rule counts a Bilinear",
        "own": "no rule counts a Weighted",
    }
    assert [found.name for found in recording.synapses] == ["conv", "linear"]


class TimeLast(Network):
    """A linear layer that sees samples in no place where they can be counted."""

    def __init__(self, step_mode: str = "m") -> None:
        super().__init__(step_mode)
        self.odd = nn.Linear(4, 4)

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        turned: Tensor = self.odd(spikes.flatten().reshape(-1, 4)).reshape(spikes.shape)
        return turned


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_an_input_without_sample_axis_is_listed_once(step_mode):
    recording = recorded(TimeLast(step_mode), step_mode)
    (listed,) = recording.uncounted
    assert listed.name == "odd"
    assert "no time and sample axes to count along" in listed.reason


# What changes after it was pinned is refused


class Occasional(Network):
    """Passes spikes on, but halves them where the image is bright."""

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        bright = (x.mean((0, 2, 3, 4), keepdim=True) > 2).to(spikes.dtype)
        return spikes * (1 - 0.5 * bright)


SOME_BRIGHT = split_from(torch.cat([torch.full((4, *SHAPE), 0.6), torch.full((1, *SHAPE), 3.0)]))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_analog_values_after_pinned_spikes_are_refused(batch_size):
    with pytest.raises(
        RecordingError,
        match=r"layer 'conv' was found to receive spikes and now receives other values; declare "
        r"its input kind "
        r"\(input_kinds=\{'conv': 'analog'\}, --input-kind conv=analog\)",
    ):
        recorded(Occasional(), images=SOME_BRIGHT, batch_size=batch_size)


def test_the_declaration_it_asks_for_works():
    found = synapse(
        recorded(Occasional(), images=SOME_BRIGHT, input_kinds={"conv": "analog"}), "conv"
    )
    assert (found.kind, found.source) == ("analog", "measured")
    assert found.operations[4] == found.operations[0] > 0


class Rewired(Network):
    """The spikes themselves at first, a copy from the third sample pair on."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        self.passes += 1
        return spikes if self.passes < 3 else spikes.clone()


def test_another_source_than_the_pinned_one_is_refused():
    with pytest.raises(
        RecordingError,
        match=r"layer 'conv' was found to receive the spikes of 'lif'.*--input-kind conv=",
    ):
        recorded(Rewired(), batch_size=2)


def test_integer_spikes_found_late_widen_the_kind():
    class Doubling(Network):
        def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
            return spikes * (1 + (x.mean((0, 2, 3, 4), keepdim=True) > 2).to(spikes.dtype))

    found = synapse(recorded(Doubling(), images=SOME_BRIGHT, batch_size=1), "conv")
    assert found.kind == "integer spikes"
    assert found.operations[4] == 2 * found.operations[0] > 0


# Declarations


def test_a_declared_kind_replaces_the_traced_one():
    traced, declared = (
        synapse(recorded(Network()), "conv"),
        synapse(recorded(Network(), input_kinds={"conv": "analog"}), "conv"),
    )
    assert (declared.kind, declared.source) == ("analog", "measured")
    assert declared.operations.tolist() == traced.operations.tolist(), (
        "for binary inputs both count the same pairs"
    )


def test_a_wrong_declaration_is_refused_by_the_values():
    with pytest.raises(
        RecordingError,
        match=r"layer 'conv' was found to receive spikes and now receives other values",
    ):
        recorded(FunctionalAverage(), input_kinds={"conv": "spikes"})


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"conv": "rates"},
            r"input kind 'rates' of layer 'conv' is unknown; expected one of spikes, integer "
            r"spikes, analog",
        ),
        ({"conv9": "spikes"}, r"declared for 'conv9', and the network has no such layer"),
        ({"lif": "spikes"}, r"declared for 'lif', and the network has no such layer with weights"),
    ],
)
def test_declarations_that_mean_nothing_are_refused(declared, message):
    with pytest.raises(RecordingError, match=message):
        recorded(Network(), input_kinds=declared)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_binary_image_declared_as_spikes_is_replayed_at_every_step(step_mode):
    images = split_from(
        (torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    )
    backbone = nn.Sequential(
        layer.Conv2d(1, 2, 3, padding=1, step_mode=step_mode),
        lif(step_mode),
        layer.Flatten(step_mode=step_mode),
        layer.Linear(32, 3, step_mode=step_mode),
    )
    analog, spikes = (
        recorded(backbone, step_mode, images, input_kinds=kinds).synapses[0]
        for kinds in ({}, {"0": "spikes"})
    )
    assert (analog.kind, analog.charged_steps) == ("analog", 1)
    assert (spikes.kind, spikes.charged_steps) == ("spikes", T)
    assert spikes.operations.tolist() == [T * count for count in analog.operations]


# A layer of its own for each use


class TwoShapes(Network):
    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        self.lif.v = 0.0  # type: ignore[assignment]
        self.lif(x[..., :2])
        return spikes


def test_a_neuron_used_with_two_shapes_is_refused():
    with pytest.raises(
        RecordingError, match=r"spiking layer 'lif' runs with shapes \(1, 4, 4\) and \(1, 4, 2\)"
    ):
        recorded(TwoShapes())


class UsedTwice(Network):
    def __init__(self, which: str, step_mode: str) -> None:
        super().__init__(step_mode)
        self.which = which
        self.shared = layer.Conv2d(1, 1, 3, padding=1, step_mode=step_mode)

    def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
        if self.which == "shared":  # the same weights on two analog inputs
            return self.shared(self.shared(0.3 * spikes))  # type: ignore[no-any-return]
        if self.which == "lif":
            return self.lif(x)  # type: ignore[no-any-return]
        return self.linear(spikes[..., 0, :2]).sum() + spikes  # type: ignore[no-any-return]


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("which", ["shared", "lif", "linear"])
def test_a_layer_used_twice_is_refused_rather_than_counted_once(which, step_mode):
    with pytest.raises(
        RecordingError, match=rf"layer '{which}' .*give each use a layer of its own"
    ):
        recorded(UsedTwice(which, step_mode), step_mode)


def test_a_layer_that_runs_at_some_steps_only_is_refused():
    class LastStep(Network):
        step = 0

        def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
            self.step += 1
            return self.second(x) if self.step % T == 0 else spikes  # type: ignore[no-any-return]

    with pytest.raises(
        RecordingError,
        match=rf"layer '(second|conv)' (runs 1 times in one pass and {T} can be counted|is used "
        r"with)",
    ):
        recorded(LastStep("s"), "s")


def test_a_transposed_view_of_spikes_is_measured_where_it_is_met():
    class Turned(Network):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layer.Conv2d(1, 2, (1, 3), stride=(2, 1), step_mode="m")

        def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
            return spikes.transpose(-1, -2)

    net = Turned()
    found = recorded(net)
    assert synapse(found, "conv").source == "measured"
    with torch.no_grad():
        spikes = lif()(
            (IMAGES.tensors(np.arange(5))).expand(T, -1, -1, -1, -1).contiguous()
        ).transpose(-1, -2)
        ones = torch.ones(1, 1, 1, 3)
        expected = [2 * float(F.conv2d(spikes[:, n], ones, stride=(2, 1)).sum()) for n in range(5)]
    assert synapse(found, "conv").operations.tolist() == expected


def test_tensors_are_told_apart_by_the_order_of_their_axes_in_memory():
    x = torch.rand(3, 4, 5, 5)
    laid = x.contiguous(memory_format=torch.channels_last)
    assert key_of(x) == key_of(x.unflatten(0, (1, 3))) == key_of(x.flatten(1))
    shown = x.expand(4, *x.shape)
    assert key_of(shown) == key_of(shown.flatten(2)) != key_of(x)
    assert key_of(laid) == key_of(laid.unflatten(0, (1, 3))), "steps and samples in one axis or two"
    assert key_of(laid) != key_of(laid.transpose(-1, -2))
    assert key_of(x) != key_of(x.transpose(-1, -2))
    assert key_of(laid) != key_of(laid.movedim(1, -1)), "in order by other axes"


@pytest.mark.parametrize("way", ["module", "copy", "view"])
def test_spikes_are_followed_through_a_flattening_in_any_order_in_memory(way):
    class Flat(Network):
        """A convolution's spikes, pooled and flattened before the read-out: a copy where they lie
        channels last, or an error (`view`).
        """

        def __init__(self) -> None:
            super().__init__()
            self.flatten = layer.Flatten(step_mode="m")
            self.wide = layer.Conv2d(
                2, 2, 3, padding=1, step_mode="m"
            )  # two channels in: only then are there two orders
            self.pool = layer.AvgPool2d(2, step_mode="m")
            side = IMAGES.shape[1] // 2
            self.linear = layer.Linear(2 * side * side, 3, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            pooled = self.pool(self.after(self.wide(self.second(self.conv(self.lif(x))))))
            ways = {
                "module": self.flatten,
                "copy": lambda x: x.flatten(2),
                "view": lambda x: x.view(*x.shape[:2], -1),
            }
            logits: Tensor = self.linear(ways[way](pooled))
            return logits

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = recorded(
            Flat(),
            images=split_from(
                torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2
            ),
        )
    assert (synapse(found, "linear").kind, synapse(found, "linear").source) == (
        "pooled spikes",
        "after",
    )
    (pool,) = [operator for operator in found.operators if operator.kind == AVERAGE_POOL]
    assert pool.folded_into == ("linear",)
    followed = way == "module"
    assert found.provenance["engine"] == ("compiled" if followed else "reference")
    assert [str(one.message).split(":")[0] for one in said] == (
        [] if followed else ["the network runs on the reference path"]
    )


def test_an_address_that_comes_back_is_not_taken_for_the_tensor_that_lay_there():
    class Passing(Network):
        """Temporaries die before the pooling's output, of their size, is made at the address of one
        of them.
        """

        def __init__(self) -> None:
            super().__init__()
            self.pool = layer.AvgPool2d(2, step_mode="m")
            self.conv = layer.Conv2d(1, 2, 3, padding=1, step_mode="m")

        def middle(self, spikes: Tensor, x: Tensor) -> Tensor:
            temporaries = [spikes[..., ::2, ::2].clone() for _ in range(64)]
            for temporary in temporaries:
                temporary + temporary
            del temporary, temporaries
            return self.pool(spikes)  # type: ignore[no-any-return]

    found = recorded(Passing())
    (pool,) = [operator for operator in found.operators if operator.kind == AVERAGE_POOL]
    assert pool.folded_into == ("conv",)


def test_graded_neurons_are_listed_and_not_counted_as_spikes():
    class Graded(neuron.IFNode):  # type: ignore[misc]
        """Spikes of half a unit: not what a synaptic operation is."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 2

    net = Network()
    net.lif = Graded(v_threshold=0.5, step_mode="m")
    found = recorded(net)
    assert [layer.name for layer in found.layers] == ["after"]
    assert [
        (listed.name, "not spikes of 0 or 1" in listed.reason) for listed in found.uncounted
    ] == [("lif", True)]
    assert synapse(found, "conv").kind == "analog"


@pytest.mark.parametrize("step_mode", ["m", "s"])
def test_a_static_image_behind_a_transform_is_charged_once(step_mode):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layer.Conv2d(1, 2, 3, padding=1, step_mode=step_mode)
            self.lif = lif(step_mode)
            self.linear = layer.Linear(2, 3, step_mode=step_mode)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.lif(self.conv(x * 2 - 0.7)).mean((-2, -1)))

    first = synapse(recorded(Scaled(), step_mode), "conv")
    assert (first.kind, first.source, first.charged_steps) == ("analog", "measured", 1)
    assert first.operations.tolist() == [first.dense_operations] * 5, (
        "no pixel is zero after the transform"
    )
