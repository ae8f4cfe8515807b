"""The verbs of the package: the lines of the guide, on a shipped checkpoint and on a live module,
and that they say what the commands say.
"""

import copy
import inspect
import json
from dataclasses import replace

import numpy as np
import pytest
import tonic
import torch
from spikingjelly.activation_based import layer, neuron
from torch import nn
from torch.utils.data import TensorDataset

import ahsar_eval as ae
from ahsar_eval.data import open_set, open_split
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.recording import record
from ahsar_eval.recording.runner import Runner

SENSOR = (8, 8, 2)


class Blinks(tonic.Dataset):
    """A tonic data set of one's own: recordings in which one quarter of the sensor blinks."""

    sensor_size = SENSOR
    dtype = np.dtype([("t", int), ("x", int), ("y", int), ("p", int)])

    def __init__(self, count: int, first: int = 0) -> None:
        super().__init__(".")
        self.numbers = range(first, first + count)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        quarter = self.numbers[i] % 4
        draws = np.random.default_rng(self.numbers[i])
        events = np.zeros(60, dtype=self.dtype)
        events["t"] = np.sort(draws.integers(0, 10_000, 60))
        events["x"] = draws.integers(0, 4, 60) + 4 * (quarter % 2)
        events["y"] = draws.integers(0, 4, 60) + 4 * (quarter // 2)
        events["p"] = draws.integers(0, 2, 60)
        return events, quarter


def module_of(inputs: int, outputs: int) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Flatten(step_mode="m"),
        layer.Linear(inputs, 32, step_mode="m"),
        neuron.LIFNode(step_mode="m"),
        layer.Linear(32, outputs, step_mode="m"),
    )
    net.get_submodule("1").get_parameter("weight").data.abs_()
    return net


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path / "cache"))


def test_the_lines_of_the_guide_say_what_the_command_says(command, tmp_path):
    net = ae.load("digits-vgg13-ahsar")
    result = ae.ood(net, id="digits", ood=["photo-patches", "digits:rotation"])
    words = ("--id", "digits", "--ood", "photo-patches", "--ood", "digits:rotation")
    said = command("ood", "digits-vgg13-ahsar", *words)
    assert said.out.rstrip("\n") == str(result)
    found = json.loads(command("ood", "digits-vgg13-ahsar", *words, "--format", "json").out)
    own = json.loads(result.to_json())
    for name in ("rows", "means", "id"):
        assert own[name] == found[name]
    auroc = result.frame.query("metric == 'auroc' and kind == 'set'").set_index("ood")
    for row in found["rows"]:
        held = auroc.loc[row["ood"]]
        assert [held.value, held.low, held.high, held.method, held.n] == [
            row[key] for key in ("auroc", "auroc_low", "auroc_high", "auroc_interval", "n_ood")
        ]
    assert result.to_latex().count("\\begin{tabular}") >= 3
    assert sorted(file.suffix for file in result.save(tmp_path / "out")) == [
        *(".csv", ".json", ".md", ".tex")
    ]
    assert "<table>" in result._repr_html_()


def test_energy_says_what_the_command_says_and_has_a_frame_of_layers(command):
    net = ae.load("digits-vgg13-ahsar")
    result = ae.energy(net, "digits", profile="45nm-fp32")
    said = command("energy", "digits-vgg13-ahsar")
    assert said.out.rstrip("\n") == str(result)
    found = json.loads(command("energy", "digits-vgg13-ahsar", "--format", "json").out)
    layers = result.layers
    assert layers.energy_pj.tolist() == [layer["energy_pj"] for layer in found["layers"]]
    assert layers.layer.tolist() == [layer["name"] for layer in found["layers"]]
    total = result.frame.query("of == 'total' and metric == 'total_energy_pj'")
    assert total.value.tolist() == [found["total_energy_pj"]]
    with pytest.raises(AttributeError, match="results of energy have no 'wings'; their records"):
        _ = result.wings


def test_figures_are_drawn_by_name_and_saved_by_suffix(tmp_path):
    net = ae.load("digits-vgg13-ahsar")
    figure = ae.ood(net, ood="photo-patches", replicates=100).plot("roc")
    assert figure.axes
    files = ae.raster(net, "digits", layer=5).save(tmp_path / "figure4.pdf")
    assert [file.name for file in files] == ["figure4.pdf", "figure4.arrays.npz"]
    assert files[0].read_bytes().startswith(b"%PDF")


def test_the_set_a_checkpoint_was_trained_on_is_the_id_set():
    net = ae.load("digits-vgg13-baseline")
    result = ae.ood(net, ood="photo-patches", replicates=100)
    assert [row["id"] for row in result.records["id"]] == ["digits"]
    with pytest.raises(UsageError, match="do not say one set they were trained on"):
        ae.ood(ae.wrap(module_of(4, 2), timesteps=1, classes=2), ood="photo-patches")


def test_a_comparison_says_what_the_command_says(command):
    pair = [ae.load(f"digits-vgg13-{method}") for method in ("baseline", "ahsar")]
    result = ae.compare(*pair, ood="photo-patches", replicates=100)
    said = command(
        *("compare", "digits-vgg13-baseline", "digits-vgg13-ahsar", "--id", "digits"),
        *("--ood", "photo-patches", "--bootstrap", 100),
    )
    assert said.out.rstrip("\n") == str(result)
    assert result.frame.metric.tolist().count("auroc") == 1


def test_a_live_module_runs_as_it_is_and_stays_as_it_was():
    module = module_of(2 * 8 * 8, 4).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    net = ae.wrap(module, timesteps=3, classes=4, name="mine")
    seen, other = Blinks(24), Blinks(12, first=100)
    result = ae.ood(net, id=seen, ood=[other, "id:event_drop:3"], replicates=100)
    assert [row["ood"] for row in result.records["rows"]] == ["ood", "id:event_drop:3"]
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    (known,) = result.records["id"]
    assert (known["checkpoint"], known["n_id"]) == ("mine", 24)
    recording = ae.record(net, seen)
    assert known["accuracy"] == np.mean(recording.logits.mean(1).argmax(1) == recording.labels)
    # The spikes are those of SpikingJelly on the frames that our own reader makes.
    split = open_split_of(seen, net)
    frames = split.tensors(np.arange(24))
    module.eval()
    with torch.no_grad():
        logits = module(frames)
    assert np.allclose(recording.logits.transpose(1, 0, 2), logits.numpy(), atol=1e-5)


def open_split_of(data, net):
    from ahsar_eval.data import split_of
    from ahsar_eval.data.given import as_set

    source = as_set(data, "data")
    return split_of(source, net.on(source).view)


def test_arrays_tensors_and_torch_data_sets_are_one_set():
    split = open_split("digits", (1, 16, 16))
    x, y = split.tensors(np.arange(40))[0], torch.from_numpy(split.labels[:40])
    net = ae.load("digits-vgg13-ahsar")
    forms = [(x.numpy(), y.numpy()), (x, y), TensorDataset(x, y)]
    rows = [ae.ood(net, id=one, ood="photo-patches", replicates=100).records for one in forms]
    assert rows[0]["rows"] == rows[1]["rows"] == rows[2]["rows"]
    again = ae.ood(net, id=forms[0], ood=[x.numpy() * 0.5], replicates=100)
    assert again.records["rows"][0]["n_ood"] == 40
    assert "accuracy_ood" in again.records["rows"][0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": 1}, "id is a dict; expected an array or tensor x, a pair"),
        (np.zeros((3, 4)), r"id has images of shape \(3, 4\)"),
        ([], "no OOD set was named|id is empty"),
        ([1, 2], r"sample 0 of id is no pair \(sample, label\)"),
        ((np.zeros((3, 8, 8)), np.zeros(2, int)), r"id has labels of shape \(2,\)"),
        (np.full((3, 8, 8), 2.0), r"id has floats from 2 to 2; expected \[0, 1\]"),
    ],
)
def test_what_is_no_set_is_refused(given, said):
    with pytest.raises((DataError, UsageError), match=said):
        ae.ood(ae.wrap(module_of(64, 2), timesteps=1, classes=2), id=given, ood="photo-patches")


def test_what_is_no_network_is_refused():
    with pytest.raises(UsageError, match=r"wrap was given str; expected a torch.nn.Module"):
        ae.wrap("net.pt", timesteps=1, classes=2)


def test_a_class_typed_in_again_finds_no_old_recording():
    """A class of a notebook stands in no file: its compiled methods tell two versions apart."""

    def rates(body: str) -> float:
        space: dict[str, object] = {"__name__": "notebook", "layer": layer, "neuron": neuron}
        space |= {"nn": nn, "inner": module_of(64, 4)}
        exec(
            "class Net(nn.Module):\n"
            "    def __init__(self):\n        super().__init__()\n        self.inner = inner\n"
            f"    def forward(self, x):\n        return self.inner({body})",
            space,
        )
        net = ae.wrap(space["Net"](), timesteps=2, classes=4)  # type: ignore[operator]
        x = np.random.default_rng(0).random((6, 8, 8)).astype(np.float32)
        return float(ae.record(net, x).logits.sum())

    assert rates("x") != rates("0 * x")


def test_the_public_record_is_the_verb_and_the_function_stays():
    assert ae.record is not record
    assert callable(ae.ood)
    assert ae.ood.SCORES


def test_raster_from_python_is_the_commands_and_is_saved_as_a_figure(make_tiny, tmp_path):
    net = Runner(replace(make_tiny(regulated=True), name="tiny"))
    found = ae.raster(net, "digits", layer=5, scales=[0.5, "ahsar"], sample=3)
    assert [row["setting"] for row in found.records["panel"]] == ["0.5", "ahsar"]
    assert found.records["panel"][0]["layer_index"] == 5
    assert found.save(tmp_path / "figure4.pdf")[0] == tmp_path / "figure4.pdf"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure4.arrays.npz", "figure4.pdf"]
    with pytest.raises(
        UsageError, match="--scales is '-1'; expected at most 100 different positive"
    ):
        ae.raster(net, "digits", scales=[0.5, -1])


def test_a_sweep_from_python_takes_sets_in_memory(make_tiny):
    net = Runner(replace(make_tiny(), name="tiny"))
    split = open_split("digits", (1, 16, 16))
    x, y = split.tensors(np.arange(20))[0].numpy(), split.labels[:20]
    found = ae.sweep(net, (x, y), [1 - x, "photo-patches"], scales=[2, 1], replicates=100)
    assert [row["scale"] for row in found.records["point"]] == [1.0, 2]
    point = found.records["point"][1]
    assert (point["n"], point["accuracy"] is not None) == (20, True)
    assert 0 <= point["auroc ood"] <= 1
    assert 0 <= point["auroc photo-patches"] <= 1
    with pytest.raises(UsageError, match="50 bootstrap replicates give no interval"):
        ae.sweep(net, (x, y), replicates=50)


def test_wrong_arguments_are_one_sentence():
    net = ae.load("digits-vgg13-ahsar")
    for wrong, said in [
        (lambda: ae.ood("digits-vgg13-ahsar", ood="svhn"), r"'digits-vgg13-ahsar' is no network"),
        (lambda: ae.ood([], ood="svhn"), "no network was given"),
        (lambda: ae.ood([net, net], ood="svhn"), "two networks have one name"),
        (lambda: ae.ood(net), "no OOD set was given; give one or a list of them as ood="),
        (
            lambda: ae.ood(net, ood="svhn", replicate=1),
            r"'replicate' \(did you mean replicates\?\)",
        ),
        (lambda: ae.ood(net, ood="svhn", tpr="0.95"), "tpr is '0.95'; expected a number"),
        (lambda: ae.ood(net, ood="svhn", seed=1.5), "seed is 1.5; expected a whole number"),
        (lambda: ae.ood(net, ood="svhn", seed=True), "seed is True; expected a whole number"),
        (lambda: ae.ood(net, ood="svhn", by="klass"), r"by is 'klass' \(did you mean class\?\)"),
        (lambda: ae.ood(net, ood="svhn", options="/data"), "options is a str; expected DataOpt"),
        (lambda: ae.compare(net, net, ood="svhn", metrics="auroc"), "two networks have one name"),
        (lambda: ae.load("digits-vgg13-ahsar", batch_size="64"), "batch_size is '64'; expected"),
        (lambda: ae.energy(net, profile="45nm"), r"'45nm' \(did you mean 45nm-int8"),
        (lambda: ae.sweep(net, on="tset"), r"on is 'tset' \(did you mean test\?\)"),
    ]:
        with pytest.raises(UsageError, match=said):
            wrong()
    x = np.zeros((10, 16, 16), np.float32)
    with pytest.raises(DataError, match=r"'foog' in 'id:foog:3' \(did you mean fog\?\)"):
        ae.ood(net, id=(x, np.arange(10)), ood="id:foog:3")


def test_results_are_copied_and_added_only_where_that_makes_one_table(tmp_path):
    net, other = ae.load("digits-vgg13-ahsar"), ae.load("digits-vgg13-baseline")
    result = ae.ood(net, ood="photo-patches", replicates=100)
    assert copy.deepcopy(result.records) == copy.copy(result).records
    with pytest.raises(UsageError, match=r"results of tpr 0.95 and of tpr 0.8 do not add up"):
        result + ae.ood(other, ood="photo-patches", replicates=100, tpr=0.8)
    compared = ae.compare(net, other, ood="photo-patches", replicates=100)
    with pytest.raises(UsageError, match="results of compare do not add up"):
        compared + compared
    with pytest.raises(UsageError, match=r"results of ood have no figure 'rok' \(did you mean roc"):
        result.plot("rok")
    with pytest.raises(UsageError, match=r"save takes a folder, or a figure's name that ends in"):
        result.save(tmp_path / "result.csv")
    assert str(net) == "digits-vgg13-ahsar, thresholds: replay"
    assert {"load", "wrap", "ood", "compare"} <= set(dir(ae))
    assert "baseline" in inspect.signature(ae.ood).parameters


def test_a_limit_and_a_scale_hold_for_what_is_in_memory():
    x = np.random.default_rng(0).random((12, 8, 8)).astype(np.float32)
    module = module_of(64, 4)
    nets = [ae.wrap(module, timesteps=2, classes=4, scale=scale) for scale in (None, 4.0)]
    how = {"replicates": 100, "options": ae.DataOptions(limit=5)}
    found = ae.ood(nets, id=(x, np.arange(12) % 4), ood=[x * 0.5], **how)
    assert [row["n_ood"] for row in found.records["rows"]] == [5, 5]
    assert [row["thresholds"] for row in found.records["id"]] == ["base", "scale 4"]
    usual, raised = (row["mean_rate"] for row in found.records["id"])
    assert raised < usual
    assert any("the first 5 of a fixed shuffle of 12 samples" in note for note in found.notes)


def test_scales_of_energy_are_lists_arrays_or_none():
    net = ae.load("digits-vgg13-ahsar", scale=0.5)
    assert ae.energy(net, "digits", scales=[]).records.keys().isdisjoint({"scale"})
    asked = ae.energy(net, "digits", scales=np.array([0.5, 1.0]))
    assert [(row["scale"], row["own"]) for row in asked.records["scale"]] == [
        (0.5, True),
        (1.0, False),
    ]


def test_a_set_in_memory_does_not_stand_for_one_of_the_same_name():
    held = open_set("digits", "train")
    found = ae.ood(ae.load("digits-vgg13-ahsar"), id=held, ood=["digits", "digits:fog:1"])
    sizes = {row["ood"]: row["n_ood"] for row in found.records["rows"]}
    assert sizes == {"digits": 450, "digits:fog:1": len(held)}


def test_a_setting_of_the_other_verb_is_refused():
    net = ae.load("digits-vgg13-ahsar")
    with pytest.raises(UsageError, match="unknown setting 'metrics': ood has none"):
        ae.ood(net, "digits", "photo-patches", metrics="auroc")
    with pytest.raises(UsageError, match="unknown setting 'baseline': compare has none"):
        ae.compare(net, net, "digits", "photo-patches", baseline="a")
    with pytest.raises(UsageError, match="unknown metric 'zzz'"):
        ae.compare(net, ae.load("digits-vgg13-baseline"), "nothing", "x", metrics="zzz")
