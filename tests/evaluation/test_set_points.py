"""Set points from Python: on which samples they are measured, that they are what hooks see, to which
network they belong, and that none is used on the set it was measured on.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn

import ahsar_eval as ae
from ahsar_eval.data import open_set, training_sets
from ahsar_eval.data.split import split_of
from ahsar_eval.errors import HomeostasisError, UsageError
from ahsar_eval.evaluation.inputs import check_set_points
from ahsar_eval.homeostasis import SetPoints, named_neurons
from ahsar_eval.networks.checkpoints import network_of, set_points_of
from ahsar_eval.recording.runner import Runner

pytestmark = pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning")
FEW = {"adapt_samples": 8, "replicates": 100}
DRAW = np.random.default_rng(0)
KNOWN, TOLD = DRAW.random((20, 6, 6), np.float32), DRAW.random((24, 6, 6), np.float32)
LABELS = np.arange(24) % 3


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "cache"))


def module(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, step_mode="m"),
        neuron.LIFNode(v_threshold=0.2, v_reset=None, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(144, 3, step_mode="m"),
    )
    return net


def wrapped(seed: int = 0) -> Any:
    return ae.wrap(module(seed), timesteps=4, classes=3)


def seen_by_hooks(net: Any, x: torch.Tensor) -> dict[str, np.ndarray]:
    """Layer → rate of each sample and channel [N, C], channels first."""
    spikes: dict[str, Any] = {}
    handles = [
        one.register_forward_hook(lambda m, i, o, name=name: spikes.update({name: o.numpy()}))
        for name, one in named_neurons(net).items()
    ]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    return {n: s.mean(axis=(0, *range(3, s.ndim)), dtype=np.float64) for n, s in spikes.items()}


def test_set_points_are_what_hooks_see_and_need_no_label(make_tiny):
    checkpoint = make_tiny(regulated=True)
    images = open_set("digits", "train").fetch(np.arange(12))
    points = ae.calibrate(Runner(checkpoint), torch.stack(list(images)))
    net = network_of(checkpoint)
    seen = seen_by_hooks(net.backbone, torch.stack(list(images)).expand(2, -1, -1, -1, -1))
    assert points.layers.keys() == seen.keys()
    assert len(seen) == 10
    for name, rates in seen.items():
        one = points.layers[name]
        assert one.rates == pytest.approx(rates.mean(0), abs=1e-12), name
        assert one.spread == pytest.approx(rates.std(0), abs=1e-12), name
        assert one.layer_rate == pytest.approx(rates.mean(), abs=1e-12)
        assert one.layer_spread == pytest.approx(rates.mean(1).std(), abs=1e-12)
    assert points.network == checkpoint.identity
    assert {key: points.data[key] for key in ("name", "role", "n")} == {
        "name": "data",
        "role": "all",
        "n": 12,
    }


def test_they_are_of_the_hold_out_where_the_training_says_which_it_was(make_tiny):
    tiny = make_tiny()
    _, held_out = training_sets("digits", hold_out=0.2, seed=5)
    known = split_of(held_out, (1, 16, 16)).identity
    facts = {**tiny.provenance, "hold_out": 0.2, "seed": 5, "validation_identity": known}
    for options, n in ((None, len(held_out)), (ae.DataOptions(limit=30), 30)):
        data = ae.calibrate(Runner(replace(tiny, provenance=facts)), options=options).data
        assert (data["role"], data["n"]) == ("validation", n)
        assert held_out.identity in (data["identity"], data["origin"])
    # Where the set is not divided as that training divided it, nothing is known of a hold-out.
    facts = {**facts, "validation_identity": "of another"}
    options = ae.DataOptions(limit=30)
    data = ae.calibrate(Runner(replace(tiny, provenance=facts)), options=options).data
    assert (data["role"], data["n"]) == ("train", 30)


def test_a_set_with_fewer_samples_than_the_training_took_is_no_other_error(make_tiny):
    facts = {"data": "folder:elsewhere", "samples": 10_000, "validation_identity": "x"}
    tiny = replace(make_tiny(), provenance=facts)
    data = ae.calibrate(Runner(tiny), "digits", ae.DataOptions(limit=4)).data
    assert (data["role"], data["n"]) == ("train", 4)


def test_a_live_network_is_calibrated_and_adapts(tmp_path):
    points = ae.calibrate(wrapped(), KNOWN)
    points.save(tmp_path / "points.json")
    sets = {"id": (TOLD, LABELS), "ood": [(TOLD[::-1] / 3, LABELS)], **FEW}
    for given in (points, tmp_path / "points.json", str(tmp_path / "points.json")):
        found = ae.ood(wrapped(), adapt="channel", set_points=given, **sets)
        assert [row["thresholds"] for row in found.records["rows"]] == ["base", "channel, episodic"]
    with pytest.raises(HomeostasisError, match="set points of another network than Sequential, or"):
        ae.ood(wrapped(1), adapt="channel", set_points=points, **sets)
    with pytest.raises(HomeostasisError, match=r"points\.json holds the set points of another"):
        ae.ood(wrapped(1), adapt="layer", set_points=tmp_path / "points.json", **sets)
    with pytest.raises(HomeostasisError, match="the set points are a int; expected what"):
        ae.ood(wrapped(), adapt="channel", set_points=5, **sets)
    with pytest.raises(UsageError, match="needs set points"):
        ae.ood(wrapped(), adapt="channel", **sets)


def test_those_of_another_network_are_refused(make_tiny):
    points = ae.calibrate(Runner(make_tiny()), "digits", ae.DataOptions(limit=4))
    assert set_points_of(make_tiny(), points) is points
    with pytest.raises(HomeostasisError, match="or of other weights of it"):
        set_points_of(make_tiny(regulated=True), points)


# Not on a set that is evaluated


def refused(points: SetPoints, **sets: Any) -> None:
    with pytest.raises(UsageError, match=r"were measured on .*, a set that is evaluated"):
        ae.ood(wrapped(), adapt="layer", set_points=points, **FEW, **sets)


def test_arrays_that_are_evaluated_are_refused():
    points = ae.calibrate(wrapped(), (TOLD, LABELS))
    refused(points, id=(TOLD, LABELS), ood=[KNOWN])
    refused(points, id=(KNOWN, LABELS[:20]), ood=[(TOLD, LABELS)])
    part = ae.calibrate(wrapped(), (TOLD, LABELS), ae.DataOptions(limit=10))
    refused(part, id=(TOLD, LABELS), ood=[KNOWN])
    refused(points, id=(TOLD, LABELS), ood=[KNOWN], options=ae.DataOptions(limit=16))


def test_a_named_test_split_is_refused_and_another_role_is_not(make_tiny):
    net, options = Runner(make_tiny()), ae.DataOptions(limit=30)
    asked = {"adapt": "layer", "options": options, **FEW}
    test = ae.calibrate(net, open_set("digits", "test"), options)
    for sets in (
        {"id": "digits", "ood": "photo-patches"},
        {"id": "photo-patches", "ood": "digits"},
        {"id": "digits", "ood": "digits:contrast:3"},
    ):
        with pytest.raises(UsageError, match="were measured on digits, a set that is evaluated"):
            ae.ood(net, **sets, set_points=test, **asked)
    known = ae.calibrate(net, "digits", options)
    assert (
        len(ae.ood(net, "digits", "photo-patches", set_points=known, **asked).records["rows"]) == 2
    )


@pytest.mark.parametrize(
    ("measured", "evaluated", "role", "fits"),
    [
        ("n-mnist-mini", "n-mnist", "test", False),
        ("n-mnist", "n-mnist-mini", "test", False),
        ("n-mnist", "n-mnist-mini", "train", True),
        ("cifar10-mini", "n-mnist", "test", True),
    ],
)
def test_a_set_and_the_shipped_part_of_it_are_one(measured, evaluated, role, fits):
    points = SetPoints({}, {"name": measured, "role": role, "identity": "a", "origin": ""})
    source = SimpleNamespace(name=evaluated, role="test", identity="b", origin="")
    runner = SimpleNamespace(checkpoint=SimpleNamespace(name="net"))
    plan: Any = SimpleNamespace(id_split=SimpleNamespace(source=source), others=(), runner=runner)
    if fits:
        check_set_points(points, plan)
    else:
        with pytest.raises(UsageError, match=f"were measured on {measured}"):
            check_set_points(points, plan)


# One sentence


def test_what_cannot_be_calibrated_is_said(make_tiny):
    unknown = Runner(replace(make_tiny(), provenance={}, name="mine"))
    with pytest.raises(UsageError, match=r"^mine does not say which set it was trained on; .*--on"):
        ae.calibrate(unknown)
    with pytest.raises(UsageError, match=r"^Sequential does not say which.*calibrate\(net, data\)"):
        ae.calibrate(wrapped())
    with pytest.raises(UsageError, match=r"^digits:fog:2 names a shift; .*as it is"):
        ae.calibrate(unknown, "digits:fog:2")
    with pytest.raises(UsageError, match="at a network's own thresholds, and mine runs at 2 times"):
        ae.calibrate(unknown.at_scale(2.0), "digits")
    with pytest.raises(UsageError, match="options is a dict; expected DataOptions"):
        ae.calibrate(unknown, "digits", {})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is no network"):
        ae.calibrate(module(), KNOWN)  # type: ignore[arg-type]
