"""How a network is called, found by calling it: axes, time inside, state that is kept, chance."""

import random
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from foreign_nets import (
    NETWORKS,
    SHAPE,
    Does,
    Integrates,
    K,
    OwnStep,
    T,
    dense,
    lively,
    plain,
    several,
)
from spikingjelly.activation_based import encoding, functional, layer, neuron
from torch import nn

from ahsar_eval.data.randomness import seeded
from ahsar_eval.errors import ModelError
from ahsar_eval.networks import ModelSpec, SpikingNet
from ahsar_eval.networks.behaviour import behaviour_of, uncompiled
from ahsar_eval.networks.calls import Calls, own_step_modes
from ahsar_eval.networks.kept import Kept


@pytest.mark.parametrize("name", NETWORKS)
def test_the_convention_is_found(name):
    make, calls, inside = NETWORKS[name]
    found = behaviour_of(lively(make()), SHAPE, T, K)
    assert (str(found.calls), found.inside) == (calls, inside)
    assert not found.chance


@pytest.mark.parametrize(
    "name", ["own neurons, batch first", "a loop over one image", "containers"]
)
@pytest.mark.parametrize("seed", range(4))
def test_weights_do_not_decide(name, seed):
    make, calls, _ = NETWORKS[name]
    assert str(behaviour_of(lively(make(), seed), SHAPE, T, K).calls) == calls


def test_a_convention_turns_axes_to_the_network_and_back():
    draw, net = torch.Generator().manual_seed(0), lively(plain(1))
    x = torch.rand((T, 3, *SHAPE), generator=draw)
    with torch.no_grad():
        by_hand = torch.stack([net(x[:, i][None])[0] for i in range(3)], dim=1)
        assert torch.equal(Calls("NT", "NT").run(net, x), by_hand)
        mean = Does(net, lambda n, y: n(y).mean(1))
        assert torch.equal(
            Calls("NT", "N").run(mean, x)[0],
            torch.stack([net(x[:, i][None])[0].mean(0) for i in range(3)]),
        )
        single = lively(dense("s"))
        steps = Calls("step", "N").run(single, x)
        functional.reset_net(single)
        assert torch.equal(steps, torch.stack([single(step) for step in x]))


def test_samples_of_one_axis_run_one_by_one():
    class GoesOn(OwnStep):
        """Its potential stays from call to call, as that of sinabs' layers does."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([super(GoesOn, self).forward(step) for step in x])

    backbone = lively(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), GoesOn(), nn.Linear(64, K)))
    net = SpikingNet(backbone, ModelSpec("my:net", SHAPE, K, timesteps=T))
    x, alone = torch.rand(T, 5, *SHAPE), []
    assert str(net.find_calls().calls) == "flat/flat"
    with torch.no_grad():
        for i in range(5):
            backbone[2].v = None
            alone.append(backbone(x[:, i]))
        net.reset()
        assert torch.equal(net(x), torch.stack(alone, 1))


def test_a_network_of_vectors_is_given_what_a_row_holds():
    net = SpikingNet(
        lively(several(layer.Linear(700, 32), neuron.LIFNode(), layer.Linear(32, K))),
        ModelSpec("my:net", (1, 1, 700), K, timesteps=T),
    )
    assert str(net.find_calls().calls) == "TN/TN"
    assert net.spec.vector
    assert ModelSpec.from_dict(net.spec.to_dict()) == net.spec
    x = torch.rand(T, 5, 1, 1, 700)
    net.reset()
    with torch.no_grad():
        found = net(x)
        functional.reset_net(net.backbone)
        assert torch.equal(found, net.backbone(x.flatten(2)))


@pytest.mark.parametrize("asked", ["flat", "state"])
def test_a_convention_whose_steps_are_strangers_to_one_another_is_refused(asked):
    def frames(net: nn.Module, x: torch.Tensor) -> Any:
        return (net(x), None) if asked == "state" else net(x)

    class Frames(Does):
        def forward(self, x: torch.Tensor, more: Any = None) -> Any:
            return super().forward(x)

    ann = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, K))
    with pytest.raises(ModelError, match="its steps do not depend on one another"):
        behaviour_of(lively(Frames(ann, frames)), SHAPE, T, K, asked)


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("TN/flat", "TN gives one of TN, NT, N"),
        ("flat/TN", "flat gives one of flat, N"),
        ("state/TN", "state gives one of N"),
        ("", "expected one of TN, NT"),
        ("NT/NT/0", "expected one of TN, NT"),
    ],
)
def test_a_convention_that_is_none(text, because):
    with pytest.raises(ModelError, match=because):
        Calls.parse(text)


@pytest.mark.parametrize("text", ["TN/TN", "NT/N:1", "flat/flat", "state/N", "N/TN:logits"])
def test_a_convention_is_read_back(text):
    assert str(Calls.parse(text)) == text


def test_state_that_a_reset_does_not_reach_is_found_and_put_back():
    net = lively(several(layer.Flatten(), layer.Linear(64, K), Integrates(), mode="s"))
    found = behaviour_of(net, SHAPE, T, K)
    assert found.keeps == ("Integrates '2': v",)
    x = torch.rand(T, 5, *SHAPE)
    with torch.no_grad():
        first = found.calls.run(net, x)
        assert found.kept is not None
        found.kept.put_back()
        assert net[2].v is None
        assert torch.equal(found.calls.run(net, x), first)


class Membrane:
    """State outside a module's attributes."""

    def __init__(self) -> None:
        self.v: Any = None


class Keeps(nn.Module):
    """A membrane whose potential `read` finds and `write` leaves."""

    def __init__(self, held: Any, read: Any, write: Any) -> None:
        super().__init__()
        self.held, self.read, self.write = held, read, write

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v = self.read(self.held)
        v = x if v is None or v.shape != x.shape else 0.5 * v + x
        spikes = (v > 1).float()
        self.write(self.held, v - spikes)
        return spikes


def at_last(held: Any) -> Any:
    return held[-1] if held else None


HELD: dict[str, tuple[Any, Any, Any]] = {
    "an object": (Membrane, lambda m: m.v, lambda m, v: setattr(m, "v", v)),
    "an object in a list": (
        lambda: [Membrane()],
        lambda held: held[0].v,
        lambda held, v: setattr(held[0], "v", v),
    ),
    "a dictionary": (dict, lambda m: m.get("v"), lambda m, v: m.update(v=v)),
    "a list": (list, at_last, lambda held, v: held.append(v)),
    "a deque": (lambda: deque(maxlen=2), at_last, lambda held, v: held.append(v)),
    "an array": (
        lambda: [np.zeros(0, np.float32)],
        lambda held: torch.from_numpy(held[0]),
        lambda held, v: held.__setitem__(0, v.numpy()),
    ),
    "a tensor in a tuple": (
        lambda: (torch.zeros(3, 64),),
        lambda held: held[0].clone(),
        lambda held, v: held[0].resize_(v.shape).copy_(v),
    ),
}


def keeping(held: Any, read: Any, write: Any) -> Any:
    layers = nn.Linear(64, 64, bias=False), Keeps(held, read, write), nn.Linear(64, K, bias=False)
    return lively(nn.Sequential(nn.Flatten(), *layers))


@pytest.mark.parametrize("kind", HELD)
def test_state_is_found_and_put_back_wherever_a_module_holds_it(kind):
    make, read, write = HELD[kind]
    net = keeping(make(), read, write)
    found = behaviour_of(net, SHAPE, T, K)
    assert (str(found.calls), found.chance) == ("step/N", False)
    assert found.keeps == ("Keeps '2': held",)
    x = torch.rand(T, 5, *SHAPE)
    with torch.no_grad():
        wanted = found.calls.run(keeping(make(), read, write), x)
        for _ in range(2):
            assert found.kept is not None
            found.kept.put_back()
            assert torch.equal(found.calls.run(net, x), wanted)


EVERYWHERE, OWN = Membrane(), torch.Generator()


@pytest.mark.parametrize(
    "made",
    [
        lambda: keeping(None, lambda _: EVERYWHERE.v, lambda _, v: setattr(EVERYWHERE, "v", v)),
        lambda: Does(dense(), lambda n, x: n(x + torch.rand(x.shape, generator=OWN))),
    ],
)
def test_state_and_chance_that_nothing_reaches_are_refused(made):
    with pytest.raises(ModelError, match="another output when it is run again from the same seed"):
        behaviour_of(lively(made()), SHAPE, T, K)


def test_a_seed_that_a_network_sets_itself_is_chance():
    def noisy(net: nn.Module, x: torch.Tensor) -> Any:
        torch.manual_seed(0)
        return net(x + torch.randn_like(x))

    assert behaviour_of(lively(Does(dense(), noisy)), SHAPE, T, K).chance


def test_state_that_a_few_calls_do_not_show_is_put_back_too():
    """One neuron alone fires, at each step: outputs are equal, potentials grow."""

    class Winner(nn.Module):
        v: Any = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            v = x if self.v is None or self.v.shape != x.shape else 0.9 * self.v + x
            self.v = v
            return nn.functional.one_hot(v.argmax(1), 64).float()

    net = lively(nn.Sequential(nn.Flatten(), nn.Linear(64, 64), Winner(), nn.Linear(64, K)))
    found = behaviour_of(net, SHAPE, T, K)
    assert str(found.calls) == "step/N"
    assert found.kept is not None
    found.kept.put_back()
    assert net[2].v is None


def test_what_is_written_and_never_read_is_not_told():
    net = lively(Does(dense(), lambda n, x: n(x)))
    net.register_forward_hook(lambda module, _, out: setattr(module, "last", out))
    assert behaviour_of(net, SHAPE, T, K).keeps == ()


def test_buffers_are_put_back_where_they_are():
    net: Any = nn.Module()
    net.register_buffer("v", torch.zeros(2))
    net.register_buffer("empty", None)
    kept = Kept(net)
    net.v += 1
    net.empty = torch.ones(1)
    kept.look()
    net.to("meta")
    kept.put_back()
    assert (net.v.device.type, net.empty) == ("meta", None)


def test_kept_values_are_put_back_as_they_were():
    net: Any = nn.Module()
    net.number, net.many, net.register = 3, [1, torch.ones(2)], {"a": 1}
    net.register_buffer("v", torch.zeros(2))
    kept = Kept(net)
    net.number, net.more = 4, torch.ones(1)
    net.many.append(5)
    net.register["a"] = 2
    net.v += 1
    assert kept.look() == [
        "Module '': many",
        "Module '': more",
        "Module '': number",
        "Module '': register",
        "Module '': v",
    ]
    kept.put_back()
    assert (net.number, len(net.many), net.register) == (3, 2, {"a": 1})
    assert torch.equal(net.v, torch.zeros(2))
    assert not hasattr(net, "more")


@pytest.mark.parametrize(
    "made",
    [
        lambda: several(encoding.PoissonEncoder(), layer.Flatten(), layer.Linear(64, K), mode="s"),
        lambda: Does(dense(), lambda n, x: n(x + 0.3 * torch.randn_like(x))),
        lambda: Does(dense(), lambda n, x: n(x + float(np.random.rand()))),
        lambda: Does(dense(), lambda n, x: n(x + random.random())),
    ],
)
def test_chance_is_noticed_and_repeats_by_seed(made):
    net = lively(made())
    found = behaviour_of(net, SHAPE, T, K)
    assert found.chance
    x, out = torch.rand(T, 3, *SHAPE), []
    for seed in (1, 1, 2):
        functional.reset_net(net)
        with torch.no_grad(), seeded(seed):
            out.append(found.calls.run(net, x))
    assert torch.equal(out[0], out[1])
    assert not torch.equal(out[0], out[2])


def test_a_seed_leaves_what_is_drawn_afterwards_alone():
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    wanted = [torch.rand(1).item(), random.random(), np.random.rand()]
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    with seeded(9):
        torch.rand(2), random.random(), np.random.rand()
    assert [torch.rand(1).item(), random.random(), np.random.rand()] == wanted


def test_dropout_left_on_is_chance():
    net = nn.Sequential(dense(), nn.Dropout(0.5))
    lively(net)[1].train()
    assert behaviour_of(net, SHAPE, T, K).chance


def test_a_network_whose_samples_depend_on_each_other_is_refused_with_every_try():
    mixed = Does(dense(), lambda n, x: n(x - x.mean(1, keepdim=True)))
    with pytest.raises(
        ModelError, match=r"\[T, N, C, H, W\]: a sample's output depends on those"
    ) as e:
        behaviour_of(lively(mixed), SHAPE, T, K)
    assert "; [N, T, C, H, W]" in str(e.value)
    assert "--calls" in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("gives", "told"),
    [
        (lambda out: (out[..., :2], None), rf"a tuple of 2 \(shape \[{T}, \d, 2\], NoneType\)"),
        (lambda out: [*out[..., 0], *out[..., 0]], r"a list of \d+ \(shape .*, \d+ more\)"),
        (lambda out: {"logits": out.sum((0, 1))}, r"a dict of 1 \(shape .*\)"),
        (lambda out: None, "a NoneType"),
    ],
)
def test_what_is_no_tensor_is_refused_in_one_short_sentence(gives, told):
    net = lively(Does(dense(), lambda n, x: gives(n(x))))
    with pytest.raises(ModelError, match=f"^the network returns {told}; expected one tensor") as e:
        behaviour_of(net, SHAPE, T, K)
    assert len(str(e.value)) < 200


def test_one_tensor_for_each_step_is_not_taken_for_several_outputs():
    net = lively(Does(dense(), lambda n, x: [*n(x)]))
    with pytest.raises(ModelError, match=r"one for each time step; .* returns torch\.stack"):
        behaviour_of(net, SHAPE, T, K)


def test_of_steps_and_their_mean_one_is_to_be_chosen():
    net = lively(Does(dense(), lambda n, x: (lambda out: (out, out.mean(0)))(n(x))))
    with pytest.raises(ModelError, match="by --calls :0 or :1"):
        behaviour_of(net, SHAPE, T, K)
    assert str(behaviour_of(net, SHAPE, T, K, ":1").calls) == "TN/N:1"


@pytest.mark.parametrize("whole", [True, False])
def test_torchscript_is_refused(whole):
    net: Any = torch.jit.script(nn.Linear(64, K))
    net = net if whole else nn.Sequential(nn.Flatten(), net)
    with pytest.raises(ModelError, match="is TorchScript, which takes no hooks"):
        behaviour_of(net, SHAPE, T, K)


def test_one_reason_for_several_conventions_is_told_once():
    net = lively(nn.Sequential(dense(), nn.Linear(3, 3)))
    with pytest.raises(ModelError, match="cannot be called") as e:
        behaviour_of(net, SHAPE, T, K)
    assert str(e.value).count("cannot be multiplied") == 3


def test_a_batch_norm_in_training_mode_is_refused():
    net = several(
        layer.Conv2d(1, 4, 3),
        layer.BatchNorm2d(4),
        neuron.IFNode(),
        layer.Flatten(),
        layer.Linear(144, K),
    )
    lively(net)[1].train()
    with pytest.raises(ModelError, match="depends on those beside it"):
        behaviour_of(net, SHAPE, T, K)


def test_what_the_user_says_is_tried_alone():
    assert str(behaviour_of(lively(dense()), SHAPE, T, K, "TN").calls) == "TN/TN"
    with pytest.raises(ModelError, match=r"\[N, T, C, H, W\]: a sample's output depends"):
        behaviour_of(lively(dense()), SHAPE, T, K, "NT")
    with pytest.raises(ModelError, match="the calling convention is 'NC'; expected one of TN, NT"):
        behaviour_of(lively(dense()), SHAPE, T, K, "NC")


def test_a_silent_network_is_called_as_its_neurons_say():
    net = dense()
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    assert str(behaviour_of(net.eval(), SHAPE, T, K).calls) == "TN/TN"


def test_neurons_in_containers_do_not_decide_the_step_mode():
    inside = several(layer.LinearRecurrentContainer(neuron.LIFNode(), 4, 4), neuron.IFNode())
    assert own_step_modes(inside) == {"m"}
    assert own_step_modes(nn.Sequential(layer.MultiStepContainer(neuron.IFNode()))) == {"m"}
    assert own_step_modes(dense("s")) == {"s"}
    assert own_step_modes(nn.Sequential(dense("s"), dense("m"))) == {"s", "m"}
    assert own_step_modes(nn.Linear(2, 2)) == set()


def test_what_compilation_puts_around_a_network_and_its_parts_is_taken_off():
    inner, part = dense(), nn.ReLU()
    outer: Any = torch.compile
    net: Any = outer(nn.Sequential(inner, outer(part)))
    bare: Any = uncompiled(net)
    assert [type(module).__name__ for module in bare] == ["Sequential", "ReLU"]
    assert (bare[0], bare[1]) == (inner, part)
    assert uncompiled(inner) is inner
