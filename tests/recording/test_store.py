"""Recordings on disk: what is read is what was written, a damaged file is none, and the key knows
everything that makes a recording.
"""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ahsar_eval.data import Split, open_set, split_of
from ahsar_eval.data.split import subset
from ahsar_eval.errors import AhsarWarning, OutputError, RecordingError
from ahsar_eval.files import cache_folder
from ahsar_eval.homeostasis import read_thresholds, write_thresholds
from ahsar_eval.networks import ModelSpec, build
from ahsar_eval.networks.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from ahsar_eval.recording import (
    Recording,
    RecordingStore,
    key_of_parts,
    load_recording,
    record,
    save_recording,
)
from ahsar_eval.recording.runner import Runner

SPEC = ModelSpec("vgg13", (1, 16, 16), 10, width=1 / 16, timesteps=3)


def digits(
    count: int = 6, shift: str | None = None, severity: int = 0, seed: int = 0, role: str = "test"
) -> Split:
    return split_of(
        subset(open_set("digits", role), np.arange(count), role), (1, 16, 16), shift, severity, seed
    )


def checkpoint(folder: Path, seed: int = 0, spec: ModelSpec = SPEC) -> Checkpoint:
    torch.manual_seed(seed)
    weights = build(spec).backbone.state_dict()
    weights = {
        name: tensor + 0.7 if "bn" in name and name.endswith("bias") else tensor
        for name, tensor in weights.items()
    }
    path = folder / f"net{seed}.pt"
    save_checkpoint(Checkpoint(spec, weights), path)
    return load_checkpoint(path)


@pytest.fixture
def traced(tmp_path: Path) -> Recording:
    recording = Runner(checkpoint(tmp_path)).recording(digits(), trace=(1, 4))
    assert recording.layers[0].spikes.sum() > 0
    return recording


def parts(recording: Recording) -> list[Any]:
    """Everything of a recording that holds arrays."""
    seen = [synapse.seen for synapse in recording.synapses]
    operands = [operand for operator in recording.operators for operand in operator.operands]
    return [
        *recording.layers,
        *recording.synapses,
        *recording.traces,
        *recording.operators,
        *seen,
        *operands,
    ]


def assert_equal(found: Recording, expected: Recording) -> None:
    for name in ("split", "spec", "thresholds", "uncounted", "provenance"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ("logits", "labels"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    for a, b in zip(parts(found), parts(expected), strict=True):
        assert type(a) is type(b)
        for name, value in vars(b).items():
            other = getattr(a, name)
            if name in ("seen", "operands"):
                continue  # parts of their own
            if isinstance(value, np.ndarray):
                assert other.dtype == value.dtype, name
                assert np.array_equal(other, value), name
            elif name == "spikes":
                assert list(other) == list(value)
                assert all(
                    other[layer].dtype == np.bool_ and np.array_equal(other[layer], value[layer])
                    for layer in value
                )
            else:
                assert other == value, name


# Files


def test_what_is_read_is_what_was_written(traced, tmp_path):
    save_recording(traced, tmp_path / "one.npz")
    assert_equal(load_recording(tmp_path / "one.npz"), traced)


def test_a_float64_recording_keeps_its_precision(tmp_path):
    recording = record(build(SPEC).double(), digits())
    save_recording(recording, tmp_path / "one.npz")
    assert load_recording(tmp_path / "one.npz").logits.dtype == np.float64


def test_nothing_in_the_file_can_execute(traced, tmp_path):
    save_recording(traced, tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:
        assert "meta" in archive.files
        assert all(archive[name].dtype.kind in "iufb" for name in archive.files), (
            "an array that only pickle can hold"
        )


def test_pickled_content_is_refused(traced, tmp_path):
    save_recording(traced, tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz") as archive:
        content = dict(archive)
    np.savez(
        tmp_path / "bad.npz",
        allow_pickle=True,
        **{**content, "logits": np.array([{"a": 1}], dtype=object)},
    )  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match="no readable recording"):
        load_recording(tmp_path / "bad.npz")


def damages(good: bytes) -> dict[str, bytes]:
    middle = len(good) // 2
    return {
        "truncated": good[:middle],
        "empty": b"",
        "overwritten": good[:200] + bytes(50) + good[250:],
        "text": b"logits: 3\n",
    }


@pytest.mark.parametrize("kind", ["truncated", "empty", "overwritten", "text"])
def test_a_damaged_file_is_refused_and_not_found(traced, tmp_path, kind):
    path = tmp_path / "store" / "key.npz"
    store = RecordingStore(path.parent)
    store.keep("key", traced)
    assert store.find("key") is not None
    path.write_bytes(damages(path.read_bytes())[kind])
    with pytest.raises(
        RecordingError, match=r"key\.npz is no readable recording .*remove it and record again"
    ):
        load_recording(path)
    assert store.find("key") is None


def test_no_flipped_byte_changes_a_number(traced, tmp_path):
    save_recording(traced, tmp_path / "one.npz")
    good = (tmp_path / "one.npz").read_bytes()
    refused = 0
    for place in range(0, len(good), len(good) // 150):
        (tmp_path / "bad.npz").write_bytes(
            good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]
        )
        try:
            found = load_recording(tmp_path / "bad.npz")
        except RecordingError:
            refused += 1
        else:
            assert_equal(
                found, traced
            )  # dates and the like in the archive's own headers decide nothing
    assert refused > 75


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{".kind": "Recording", ', b'{"format": 2, '),
        (b'"labels": ', b'"signs": '),
        (b'".kind": "Seen"', b'".kind": "Observed"'),
    ],
)
def test_a_file_of_another_version_is_refused(traced, tmp_path, before, after):
    save_recording(traced, tmp_path / "one.npz")
    with np.load(tmp_path / "one.npz") as archive:
        content = dict(archive)
    meta = content["meta"].tobytes()
    assert before in meta
    content["meta"] = np.frombuffer(meta.replace(before, after), dtype=np.uint8)
    np.savez(tmp_path / "two.npz", **content)  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match="is no readable recording "):
        load_recording(tmp_path / "two.npz")


def test_a_missing_array_is_refused(traced, tmp_path):
    save_recording(traced, tmp_path / "one.npz")
    with (
        zipfile.ZipFile(tmp_path / "one.npz") as whole,
        zipfile.ZipFile(tmp_path / "part.npz", "w") as part,
    ):
        for name in whole.namelist():
            if name != "int64.npy":
                part.writestr(name, whole.read(name))
    with pytest.raises(RecordingError, match="is no readable recording"):
        load_recording(tmp_path / "part.npz")


def test_no_half_written_file_is_left(traced, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        save_recording(traced, tmp_path / "file" / "one.npz")
    save_recording(traced, tmp_path / "one.npz")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".pt") == [
        "file",
        "one.npz",
    ]


def test_a_cache_that_cannot_be_written_is_no_error(traced, tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = RecordingStore(tmp_path / "file" / "below")
    with pytest.warns(
        AhsarWarning, match="recordings are not kept: cannot write .* or use --no-cache"
    ):
        store.keep("key", traced)
    assert store.find("key") is None
    RecordingStore(None).keep("key", traced)
    assert RecordingStore(None).find("key") is None


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path))
    assert cache_folder("recordings") == tmp_path / "recordings"
    monkeypatch.delenv("AHSAR_EVAL_CACHE")
    assert cache_folder("recordings").name == "recordings"


# The runner


def test_a_second_call_finds_the_recording(tmp_path):
    runner = Runner(checkpoint(tmp_path), store=RecordingStore(tmp_path / "store"))
    made = runner.recording(digits())
    assert runner.recorded == 1
    found = runner.recording(digits())
    assert runner.recorded == 1, "the pass was made twice"
    assert_equal(found, made)
    other = Runner(runner.checkpoint, store=runner.store, batch_size=2)
    assert_equal(other.recording(digits()), made)
    assert other.recorded == 0, "the batch size changes no result and must not hide one"


def test_a_trace_that_is_missing_is_recorded_and_the_older_one_kept(tmp_path):
    runner = Runner(checkpoint(tmp_path), store=RecordingStore(tmp_path / "store"))
    runner.recording(digits(), trace=(1,))
    both = runner.recording(digits(), trace=(4,))
    assert runner.recorded == 2
    assert [trace.index for trace in both.traces] == [1, 4]
    assert [trace.index for trace in runner.recording(digits(), trace=(1,)).traces] == [1, 4]
    assert runner.recorded == 2


def test_a_sample_traced_alone_has_the_spikes_of_the_whole_pass(tmp_path):
    split = digits(shift="gaussian_noise", severity=3)
    whole = Runner(checkpoint(tmp_path)).recording(split, trace=(4,)).trace(4)
    alone = Runner(checkpoint(tmp_path)).traced(split, 4)[1]
    assert np.array_equal(alone.image, whole.image), "the sample's noise depends on where it stands"
    assert np.array_equal(alone.logits, whole.logits)
    assert all(
        np.array_equal(alone.spikes[layer], spikes) for layer, spikes in whole.spikes.items()
    )


def keys(folder: Path) -> dict[str, str]:
    """The key of a pass, and of passes that differ from it in one thing."""
    base = Runner(checkpoint(folder))
    split = digits(shift="gaussian_noise", severity=3, seed=1)
    slow = replace(base.checkpoint, spec=replace(SPEC, timesteps=4))
    single = replace(base.checkpoint, spec=replace(SPEC, step_mode="s"))
    return {
        "the pass": base.key(split),
        "scale 1": base.at_scale(1.0).key(split),
        "scale 1.5": base.at_scale(1.5).key(split),
        "no shift": base.key(digits()),
        "other shift": base.key(digits(shift="contrast", severity=3, seed=1)),
        "other severity": base.key(digits(shift="gaussian_noise", severity=4, seed=1)),
        "other seed": base.key(digits(shift="gaussian_noise", severity=3, seed=2)),
        "other members": base.key(digits(5, shift="gaussian_noise", severity=3, seed=1)),
        "other role": base.key(
            digits(role="validation", shift="gaussian_noise", severity=3, seed=1)
        ),
        "other role alone": base.key(replace(split, source=replace(split.source, role="all"))),
        "other checkpoint": Runner(checkpoint(folder, seed=1)).key(split),
        "other T": Runner(slow).key(split),
        "other step mode": Runner(single).key(split),
        "other input kind": replace(base, input_kinds={"linear": "analog"}).key(split),
    }


def test_whatever_makes_a_recording_changes_its_key(tmp_path):
    found = keys(tmp_path)
    same = [(a, b) for a in found for b in found if a < b and found[a] == found[b]]
    assert not same, f"passes that share a key: {same}"


def test_what_changes_no_result_keeps_the_key(tmp_path):
    runner = Runner(checkpoint(tmp_path))
    assert runner.key(digits(seed=1)) == runner.key(digits(seed=2)), (
        "without a shift the seed decides nothing"
    )
    assert runner.key(digits()) == Runner(runner.checkpoint, batch_size=3).key(digits())


@pytest.mark.parametrize("part", ["processor", "versions", "code_digest"])
def test_what_the_pass_runs_on_is_part_of_its_key(part, tmp_path, monkeypatch):
    runner = Runner(checkpoint(tmp_path))
    before = runner.key(digits())
    monkeypatch.setattr(f"ahsar_eval.recording.runner.{part}", lambda: "another")
    assert runner.key(digits()) != before


def test_another_scale_is_another_recording(tmp_path):
    store = RecordingStore(tmp_path / "store")
    runner = Runner(checkpoint(tmp_path), store=store)
    replay, tripled = runner.recording(digits()), runner.at_scale(3.0).recording(digits())
    assert set(tripled.thresholds.values()) == {3.0}
    assert tripled.layers[0].spikes.sum() < replay.layers[0].spikes.sum()
    assert len(list((tmp_path / "store").glob("*.npz"))) == 2


def test_thresholds_that_somebody_wrote_make_another_recording(tmp_path):
    runner = Runner(checkpoint(tmp_path))
    before, net = runner.key(digits()), runner.network.backbone
    base = read_thresholds(net)
    write_thresholds(net, base, {list(base)[-1]: 1.5})
    assert runner.key(digits()) != before
    write_thresholds(net, base, dict.fromkeys(base, 1.0))
    assert runner.key(digits()) == before


def test_a_damaged_cache_is_recorded_again(tmp_path):
    runner = Runner(checkpoint(tmp_path), store=RecordingStore(tmp_path / "store"))
    made = runner.recording(digits())
    (file,) = (tmp_path / "store").glob("*.npz")
    file.write_bytes(file.read_bytes()[:100])
    assert np.array_equal(runner.recording(digits()).logits, made.logits)
    assert runner.recorded == 2


def test_the_key_ignores_the_order_of_its_parts():
    assert (
        key_of_parts({"a": 1, "b": 2})
        == key_of_parts({"b": 2, "a": 1})
        != key_of_parts({"a": 2, "b": 1})
    )


def test_a_changed_part_of_a_users_network_is_another_recording(tmp_path, monkeypatch):
    package = tmp_path / "own_parts"
    package.mkdir()
    (package / "__init__.py").write_text("from own_parts.parts import network\n")
    (package / "parts.py").write_text(
        "from spikingjelly.activation_based import layer, neuron\n"
        "from torch import nn\n\n\n"
        "class Own(nn.Sequential):\n"
        "    pass\n\n\n"
        "def network():\n"
        "    m = dict(step_mode='m')\n"
        "    return Own(layer.Flatten(**m), layer.Linear(256, 10, **m), neuron.IFNode(**m))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = ModelSpec("own_parts:network", (1, 16, 16), 10, timesteps=2)
    net = build(spec)
    trained = Checkpoint(spec, net.backbone.state_dict())
    split = digits()
    before = Runner(trained, model="own_parts:network").key(split)
    assert Runner(trained, model="own_parts:network").key(split) == before
    with (package / "parts.py").open("a") as writer:
        writer.write("# changed\n")
    assert Runner(trained, model="own_parts:network").key(split) != before
