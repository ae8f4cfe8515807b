"""Transforms of tonic in training: read and never run, random by seed, epoch and sample alone."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import tonic
import tonic_files
import torch

from ahsar_eval.data import DataOptions, open_set, split_of
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.events.transforms import EVENT_TRANSFORMS, canonical, transformed
from ahsar_eval.data.split import View
from ahsar_eval.data.training_data import in_epoch
from ahsar_eval.errors import UsageError
from ahsar_eval.training.loop import train
from ahsar_eval.training.request import TrainingRequest, prepare

# Every transform, with settings that change a recording.
TEXTS = {
    "CropTime": "CropTime(max=60000)",
    "Decimation": "Decimation(n=2)",
    "Denoise": "Denoise(filter_time=500)",
    "DropEvent": "DropEvent(p=(0.1, 0.5))",
    "DropEventByArea": "DropEventByArea(area_ratio=0.4)",
    "DropEventByTime": "DropEventByTime()",
    "DropPixel": "DropPixel(hot_pixel_frequency=60)",
    "EventDrop": "EventDrop()",
    "MergePolarities": "MergePolarities()",
    "RandomDropPixel": "RandomDropPixel(p=0.3)",
    "RandomFlipLR": "RandomFlipLR(p=1.0)",
    "RandomFlipPolarity": "RandomFlipPolarity(p=1.0)",
    "RandomFlipUD": "RandomFlipUD(p=1.0)",
    "RandomTimeReversal": "RandomTimeReversal(p=1.0)",
    "RefractoryPeriod": "RefractoryPeriod(delta=20000)",
    "SpatialJitter": "SpatialJitter(var_x=4, var_y=4)",
    "TimeAlignment": "TimeAlignment()",
    "TimeJitter": "TimeJitter(std=1000)",
    "TimeSkew": "TimeSkew(coefficient=1.5)",
    "UniformNoise": "UniformNoise(n=50)",
}


def recording(count: int = 400, height: int = 12) -> Events:
    made = np.random.default_rng(1)
    t = np.sort(made.integers(1000, 100_000, count))
    x, y = (made.integers(0, side, count).astype(np.int32) for side in (16, height))
    polarities = 2 if height > 1 else 1
    p = made.integers(0, polarities, count).astype(np.uint8)
    return Events(t, x, y, p, height, 16, polarities=polarities)


def columns(events: Events) -> list[list[int]]:
    return [getattr(events, key).tolist() for key in "txyp"]


def test_every_transform_is_tried():
    assert set(TEXTS) == set(EVENT_TRANSFORMS)


@pytest.mark.parametrize("name", TEXTS)
def test_a_transform_is_tonics_own_with_numbers_of_seed_epoch_and_sample(name):
    events, text = recording(), TEXTS[name]
    before, state = columns(events), np.random.get_state()[1].tolist()  # type: ignore[index]
    found = transformed(events, 7, [text], seed=3, epoch=2)
    assert columns(events) == before
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]
    assert columns(found) != before
    assert columns(transformed(events, 7, [text], seed=3, epoch=2)) == columns(found)
    # tonic's own, seeded by hand.
    kind, settings = getattr(tonic.transforms, name), {}
    if "sensor_size" in kind.__dataclass_fields__:
        settings["sensor_size"] = (16, 12, 2)
    literal = eval(text, {name: lambda **given: given})
    record = np.zeros(len(events), dtype=[(key, int) for key in "txyp"])
    for key in "txyp":
        record[key] = getattr(events, key)
    digest = hashlib.sha256(b"3|event transforms|2|7").digest()[:4]
    np.random.seed(int.from_bytes(digest, "little"))
    theirs = kind(**literal, **settings)(record)
    inside = (theirs["x"] >= 0) & (theirs["x"] < 16) & (theirs["y"] >= 0) & (theirs["y"] < 12)
    theirs = theirs[inside & (theirs["t"] >= 0)]
    theirs = theirs[np.argsort(theirs["t"], kind="stable")]
    assert columns(found) == [theirs[key].tolist() for key in "txyp"]


def test_numbers_differ_by_seed_epoch_and_sample_and_transforms_follow_each_other():
    events, texts = recording(), ["DropEvent(p=0.5)"]
    one = columns(transformed(events, 7, texts, 3, 2))
    for index, seed, epoch in ((8, 3, 2), (7, 4, 2), (7, 3, 1)):
        assert columns(transformed(events, index, texts, seed, epoch)) != one
    both = transformed(events, 0, ["CropTime(max=50000)", "TimeSkew(coefficient=2.0)"], 0, 0)
    assert both.t.max() > 50_000
    other = transformed(events, 0, ["TimeSkew(coefficient=2.0)", "CropTime(max=50000)"], 0, 0)
    assert other.t.max() <= 50_000
    # What is empty stays so, and is a frame of nothing.
    none = transformed(events, 0, ["CropTime(max=5)", "DropEventByTime()"], 0, 0)
    assert len(none) == 0


def test_a_row_keeps_its_one_polarity_and_is_jittered_along_itself():
    events = recording(height=1)
    for text in ("UniformNoise(n=40)", "RandomTimeReversal(p=1.0)", "SpatialJitter(var_x=1)"):
        found = transformed(events, 0, [text], 0, 1)
        assert not (found.p | found.y).any()
        assert len(found) > 0.9 * len(events)
        assert columns(found) != columns(events)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DropEvent", r"event_transform is 'DropEvent'; expected a transform of tonic and its"),
        ("DropEvent(0.1)", "its values by name and as literals"),
        ("DropEvent(p=open('x', 'w'))", "its values by name and as literals"),
        ("DropEvent(**{'p': 0.1})", "its values by name and as literals|setting 'None'"),
        ("tonic.transforms.DropEvent(p=0.1)", "expected a transform of tonic"),
        ("__import__('os').system('true')", "expected a transform of tonic"),
        ("(" * 300, "expected a transform of tonic"),
        ("DropEvents(p=0.1)", r"names DropEvents \(did you mean DropEvent\?\)"),
        ("ToFrame(n_time_bins=3)", "expected one that gives events of the same sensor: CropTime, "),
        ("DropEvent(q=0.1)", "has the setting 'q'; known are p"),
        ("RandomFlipLR(sensor_size=(1, 1, 2))", "and the sensor is that of the set"),
        ("TimeJitter()", r"lacks std; say it, as TimeJitter\(std=…\)"),
    ],
)
def test_what_is_no_transform_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        TrainingRequest(data="digits-dvs", event_transform=text)


def test_a_transform_is_kept_as_one_text():
    assert canonical(" DropEvent( p = (0, .5) ) ") == "DropEvent(p=(0, 0.5))"
    asked = TrainingRequest(data="digits-dvs", event_transform=("DropEvent(p =.5)",))
    assert asked.to_dict()["event_transform"] == ["DropEvent(p=0.5)"]
    assert "event_transform" not in TrainingRequest(data="digits-dvs").to_dict()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"event_transform": "RandomFlipPolarity()"}, "is of two polarities and tonic:SHD has one"),
        ({"event_transform": "EventDrop()"}, "is a row of channels, on which it changes nothing"),
        ({"event_transform": "DropEvent(p=2.0)"}, r"'DropEvent\(p=2.0\)' fails \(ValueError: "),
        ({"event_transform": "DropEvent(p='a')"}, "fails"),
        ({"augment": "roll"}, "augment roll moves pixels of images and tonic:SHD is a row of 700"),
        ({"data": "digits", "event_transform": "DropEvent(p=0.1)"}, "and digits holds images"),
    ],
)
def test_what_does_not_fit_the_set_is_refused(tmp_path, settings, said):
    tonic_files.write_shd(tmp_path)
    asked = TrainingRequest(**{"data": "tonic:SHD", "backbone": "mlp:8", **settings})
    with pytest.raises(UsageError, match=said):
        prepare(asked, DataOptions(root=tmp_path))


def test_an_epoch_sees_transformed_frames_and_the_hold_out_none(tmp_path):
    tonic_files.write_shd(tmp_path)
    source = open_set("tonic:SHD", "train", DataOptions(root=tmp_path))
    view, some = View((1, 1, 700), 4, "time"), np.array([5, 2])
    split = split_of(source, view)
    texts = ["DropEvent(p=0.5)"]
    first, second = (in_epoch(split, view, texts, 0, epoch).tensors(some) for epoch in (1, 2))
    assert not torch.equal(first, second)
    assert first.sum() == pytest.approx(split.tensors(some).sum() / 2, abs=1)
    again = in_epoch(split, view, texts, 0, 1).tensors(np.array([2]))
    assert torch.equal(again[:, 0], first[:, 1]), "neither batch nor order counts"
    assert in_epoch(split, view, (), 0, 1) is split
    assert replace(split).identity == in_epoch(split, view, texts, 0, 1).identity


def test_a_training_sees_them_and_ends_with_the_same_bits_again(tmp_path):
    tonic_files.write_shd(tmp_path)

    def weights(*texts: str) -> torch.Tensor:
        asked = TrainingRequest(
            data="tonic:SHD",
            backbone="mlp:8",
            timesteps=2,
            epochs=1,
            batch_size=8,
            event_transform=texts,
        )
        ready = prepare(asked, DataOptions(root=tmp_path))
        splits = ready.train_split, ready.validation_split
        checkpoint, _ = train(ready.spec, *splits, ready.recipe)
        return checkpoint.weights["linear1.weight"]

    plain, dropped = weights(), weights("DropEvent(p=0.9)")
    assert not torch.equal(plain, dropped)
    assert torch.equal(weights("DropEvent(p=0.9)"), dropped)
