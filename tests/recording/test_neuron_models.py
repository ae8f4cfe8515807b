"""What a spiking layer computes: by type, and what SpikingJelly's own counter sees of it in every
state of a call.
"""

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.op_counter import ACCounter, DispatchCounterMode

from ahsar_eval.networks.neurons import IntegrateAndFire, Integration
from ahsar_eval.recording.spiking import neuron_model

SHAPE = (3, 4)
KINDS: dict[str, Any] = {
    "IF hard": lambda mode: neuron.IFNode(step_mode=mode),
    "IF soft": lambda mode: neuron.IFNode(v_reset=None, step_mode=mode),
    "LIF hard": lambda mode: neuron.LIFNode(step_mode=mode),
    "LIF soft": lambda mode: neuron.LIFNode(
        v_reset=None, decay_input=False, tau=1.25, step_mode=mode
    ),
    "LIF soft, decayed input": lambda mode: neuron.LIFNode(v_reset=None, step_mode=mode),
    "IF hard, low": lambda mode: neuron.IFNode(v_threshold=0.3, step_mode=mode),
    "LIF hard, low": lambda mode: neuron.LIFNode(
        v_threshold=0.2, decay_input=False, step_mode=mode
    ),
    "PLIF": lambda mode: neuron.ParametricLIFNode(step_mode=mode),
    "NIR": lambda mode: IntegrateAndFire(Integration(0.5, 0.1), 1.0, step_mode=mode),
}


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("kind", KINDS)
def test_additions_equal_those_of_the_peer(kind, step_mode):
    """Two silent steps, the first with values, two more: the counter sees what the three numbers
    add up to.
    """
    module = KINDS[kind](step_mode).eval()
    quiet, first, later = neuron_model(module, SHAPE).framework_additions
    # Around the threshold: a neuron layer that fires as a whole would be left at zero, and the
    # counter would see less.
    values = torch.linspace(0.23, 1.43, 12).reshape(1, 1, *SHAPE) * module.v_threshold
    x = torch.cat([0 * values, 0 * values, values, 1.1 * values, 1.2 * values])
    functional.reset_net(module)
    counter = ACCounter()
    with torch.no_grad(), DispatchCounterMode([counter]):
        for part in (x,) if step_mode == "m" else x:
            module(part)
    assert counter.get_total() == 12 * (2 * quiet + first + 2 * later)


@pytest.mark.parametrize(
    ("kind", "leaky", "reset"),
    [
        ("IF hard", False, "set"),
        ("IF soft", False, "subtract"),
        ("LIF hard", True, "set"),
        ("LIF soft", True, "subtract"),
        ("PLIF", True, "set"),
        ("NIR", True, "subtract"),
    ],
)
def test_the_equation_by_type(kind, leaky, reset):
    model = neuron_model(KINDS[kind]("m"), SHAPE)
    assert (model.leaky, model.reset, model.known) == (leaky, reset, True)


def test_an_unknown_type_is_not_known():
    model = neuron_model(neuron.EIFNode(step_mode="m").eval(), SHAPE)
    assert (model.type, model.known, model.reset) == ("EIFNode", False, "")


def test_trying_leaves_the_layer_as_it_was():
    module = neuron.LIFNode(step_mode="m").eval()
    module(torch.rand(2, 1, *SHAPE))
    before = module.v.clone()
    neuron_model(module, SHAPE)
    assert torch.equal(module.v, before)
