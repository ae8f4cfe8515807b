"""Sets of tonic by name and as objects: against tonic's own iteration, and SHD against h5py by
hand, on files written here.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tonic
import tonic_files
from tonic.transforms import DropEvent, ToFrame
from torch.utils.data import Subset

from ahsar_eval.data import DataOptions, EventSet, open_set, open_splits, parse, training_sets
from ahsar_eval.data.events.corruptions import occlusion, spatial_jitter
from ahsar_eval.data.events.frames import to_frames
from ahsar_eval.data.events.stream import Events
from ahsar_eval.data.given import as_set
from ahsar_eval.data.randomness import generator
from ahsar_eval.data.shifts import EVENT_SHIFTS
from ahsar_eval.data.split import View, split_of
from ahsar_eval.errors import DataError

# Class → what writes its files, the settings of its test split, its shape and label space.
CLASSES: dict[str, tuple[str, dict[str, Any], tuple[int, int, int], str]] = {
    "SHD": ("shd", {"train": False}, (1, 1, 700), "tonic:SHD"),
    "SSC": ("ssc", {"split": "test"}, (1, 1, 700), "tonic:SSC"),
    "NMNIST": ("nmnist", {"train": False}, (2, 34, 34), "digits"),
    "POKERDVS": ("pokerdvs", {"train": False}, (2, 35, 35), "pokerdvs"),
    "DVSGesture": ("dvsgesture", {"train": False}, (2, 128, 128), "dvs-gesture"),
    "DVSLip": ("dvslip", {"train": False}, (2, 128, 128), "tonic:DVSLip"),
    "SMNIST": ("smnist", {"train": False}, (1, 1, 99), "digits"),
    "NTIDIGITS18": (
        *("ntidigits", {"train": False, "single_digits": True}, (1, 1, 64), "tonic:NTIDIGITS18"),
    ),
    "ASLDVS": ("asldvs", {}, (2, 180, 240), "tonic:ASLDVS"),
    "NCALTECH101": ("ncaltech101", {}, (2, 180, 240), "n-caltech101"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    for name, *_ in CLASSES.values():
        getattr(tonic_files, f"write_{name}")(root)
    return root


def opened(name: str, root: Path, role: str = "test") -> EventSet:
    found = open_set(name, role, DataOptions(root=root))
    assert isinstance(found, EventSet)
    return found


def own(name: str, root: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    """tonic's own object, which wants the archive and every file of a set."""
    kind = getattr(tonic.datasets, name)
    monkeypatch.setattr(kind, "_check_exists", lambda self: True)
    return kind(str(root), **CLASSES[name][1], **more)


def test_shd_is_what_h5py_holds(root):
    found = opened("tonic:SHD", root)
    assert (found.shape, found.classes) == ((1, 1, 700), ("word 0", "word 1"))
    with h5py.File(root / "SHD" / "shd_test.h5") as file:
        assert np.array_equal(found.labels, file["labels"][()])
        for i, events in enumerate(found.fetch(np.arange(12))):
            seconds, units = file["spikes/times"][i], file["spikes/units"][i]
            assert np.array_equal(events.t, (seconds.astype(np.float64) * 1e6).astype(np.int64))
            assert np.array_equal(events.x, units)
            assert (events.y.max(), events.p.max(), events.polarities) == (0, 0, 1)
        seconds, units = file["spikes/times"][4], file["spikes/units"][4]
    # Counts per channel and 100 ms by hand.
    (events,) = found.fetch(np.array([4]))
    hand = np.zeros((10, 1, 1, 700))
    for second, unit in zip(seconds.astype(float), units, strict=True):
        if second < 1:
            hand[int(second * 1e6) // 100_000, 0, 0, unit] += 1
    assert np.array_equal(to_frames(events, 10, "100000us@0", 1, 700), hand)
    # On 140 channels: the mean of five neighbours.
    fifth = split_of(found, View((1, 1, 140), 10, "100000us@0")).tensors(np.array([4]))
    assert np.allclose(fifth[:, 0, 0, 0].numpy(), hand[:, 0, 0].reshape(10, 140, 5).mean(2))


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_by_name_is_tonics_own_iteration(name, root, monkeypatch):
    _, _, shape, space = CLASSES[name]
    found = opened(f"tonic:{name}", root, "test" if CLASSES[name][1] else "all")
    assert (found.shape, found.label_space) == (shape, space)
    theirs = own(name, root, monkeypatch)
    assert len(found) == len(theirs) > 0
    # Those that are a file each come in the order of their paths, whatever the file system's.
    order = [*range(len(theirs))]
    if isinstance(theirs.data, list) and theirs.data and isinstance(theirs.data[0], str):
        order = sorted(order, key=lambda i: theirs.data[i].split("/"))
        assert order == [*range(len(theirs))] or name not in ("NMNIST", "ASLDVS")
    classes = dict(enumerate(found.classes))
    for i, j in enumerate(order):
        events, target = theirs[j]
        (ours,) = found.fetch(np.array([i]))
        assert target == (classes[found.labels[i]] if isinstance(target, str) else found.labels[i])
        events = events.reshape(-1)[np.argsort(events["t"].reshape(-1), kind="stable")]
        for field in events.dtype.names:
            if field != "p" or found.polarities == 2:
                assert np.array_equal(getattr(ours, field), events[field]), (i, field)
    given = as_set(theirs, "mine")
    assert (given.classes, given.label_space) == (found.classes, space)
    assert np.array_equal(given.labels, found.labels[np.argsort(order)])
    if order == [*range(len(theirs))]:
        assert given.identity == found.identity, "the object finds the same recordings"


def test_an_object_stays_as_it_is_and_its_transform_counts(root, monkeypatch):
    theirs = own("DVSGesture", root, monkeypatch)
    before = list(theirs.data), list(theirs.targets)
    as_set(theirs)
    assert (theirs.data, theirs.targets) == before
    changed = own("DVSGesture", root, monkeypatch, transform=DropEvent(p=1.0))
    assert as_set(changed).identity != as_set(theirs).identity
    with pytest.raises(DataError, match="sample 0 holds no event"):
        as_set(changed).fetch(np.array([0]))


def test_parts_and_caches_of_a_set_are_sets_and_frames_are_none(root, monkeypatch):
    theirs = own("SHD", root, monkeypatch)
    for given in (Subset(theirs, [3, 0]), tonic.MemoryCachedDataset(theirs)):
        found = as_set(given)
        assert (found.shape, found.classes) == ((1, 1, 700), ("word 0", "word 1"))
        assert len(found) == len(given)
        for i in (0, 1):
            assert np.array_equal(found.fetch(np.array([i]))[0].x, given[i][0]["x"])
            assert found.labels[i] == given[i][1]
    frames = own("SHD", root, monkeypatch, transform=ToFrame((700, 1, 1), n_time_bins=2))
    with pytest.raises(
        DataError, match=r"ndarrays of shape \(2, 1, 700\); leave out the transform"
    ):
        as_set(frames)


def test_an_undivided_set_is_divided_by_file_name(root):
    train, test = (opened("tonic:NCALTECH101", root, role) for role in ("train", "test"))
    whole = opened("tonic:NCALTECH101", root, "all")
    assert (len(train), len(test), len(whole)) == (18, 4, 22)
    assert test.classes == ("BACKGROUND_Google", "ant")
    # Of 11 the first two in natural order, image_1 and image_2; image_10 comes second in the
    # order of paths.
    ours = [events.t.tolist() for events in test.fetch(np.arange(4))]
    theirs = [events.t.tolist() for events in whole.fetch(np.array([0, 3, 11, 14]))]
    assert ours == theirs
    assert "the first tenth is test" in test.note
    assert test.division == train.division != ""


def test_splits_are_tonics_own(root):
    options = DataOptions(root=root)
    train, validation = training_sets("tonic:SSC", options=options)
    assert (train.role, validation.role, len(validation)) == ("train", "validation", 6)
    assert validation.identity == opened("tonic:SSC", root, "validation").identity
    train, validation = training_sets("tonic:SHD", options=options)
    assert (len(train), len(validation)) == (22, 2)


def test_the_identity_is_of_content_labels_settings_and_nothing_else(root, tmp_path):
    tonic_files.write_nmnist(tmp_path)
    here, there = opened("tonic:NMNIST", root), opened("tonic:NMNIST", tmp_path)
    assert here.identity == there.identity, "where it lies does not count"
    first = opened("tonic:NMNIST?first_saccade_only=true", root)
    assert first.identity != here.identity
    assert "first_saccade_only = True" in first.note
    assert max(events.t.max() for events in first.fetch(np.arange(6))) < 100_000
    file = tmp_path / "NMNIST" / "Test" / "3" / "00010.bin"
    file.write_bytes(file.read_bytes()[:-5])
    assert opened("tonic:NMNIST", tmp_path).identity != here.identity
    assert "6 of at least 10,000 .bin files are there" in here.note


def test_nothing_is_fetched_unless_it_is_asked_for(tmp_path, monkeypatch):
    asked = []
    for name in set(tonic.datasets.__all__) & CLASSES.keys():
        kind = getattr(tonic.datasets, name)
        monkeypatch.setattr(kind, "download", lambda self: asked.append(type(self).__name__))
        with pytest.raises(DataError, match=rf"tonic:{name} is not in .*tonic.datasets.{name}\("):
            opened(f"tonic:{name}", tmp_path)
    assert (asked, list(tmp_path.iterdir())) == ([], [])
    with pytest.raises(DataError, match="tonic:SHD is not in"):
        open_set("tonic:SHD", "test", DataOptions(root=tmp_path, download=True))
    assert asked == ["SHD"]


@pytest.mark.parametrize(
    ("name", "role", "said"),
    [
        ("tonic:", "test", r"'tonic:' names no class; expected tonic:NAME"),
        ("tonic:NMIST", "test", r"no class 'NMIST' \(did you mean NMNIST\?\); known are ASLDVS, "),
        ("tonic:../SHD", "test", r"no class '../SHD' \(did you mean SHD\?\)"),
        ("tonic:DAVISDATA", "test", "holds events, samples of inertia and images; expected events"),
        ("tonic:VPR", "train", "holds events, samples of inertia, images and places"),
        ("tonic:SHD", "validation", "tonic:SHD has no validation split; known are train, test"),
        ("tonic:SSC", "all", "has no all split; known are train, validation, test"),
        ("tonic:SHD?speaker=1", "test", "setting 'speaker' of .* is not known; known are none"),
        ("tonic:NMNIST?train=1", "test", "'train' of .* is not known, or not for a name to say"),
        ("tonic:NMNIST?stabilise=1", "test", r"did you mean stabilize\?"),
        ("tonic:SMNIST?num_neurons=8", "test", "cannot be read by tonic .Number of neurons must"),
    ],
)
def test_what_is_no_set_of_tonic_is_refused(root, name, role, said):
    with pytest.raises(DataError, match=said):
        open_set(parse(name).name, role, DataOptions(root=root))


@pytest.mark.parametrize(
    ("member", "values", "said"),
    [
        ("labels", np.arange(-1, 11), "has the label -1; expected class numbers from 0"),
        ("labels", np.zeros(0), "tonic:SHD in .*SHD holds no sample; copy its files again"),
        ("labels", None, r"tonic:SHD in .* cannot be read by tonic \(.*labels"),
        ("extra/speaker", None, r"cannot be read by tonic \(.*speaker"),
        ("spikes/units", np.full((12, 3), 1), "sample 0 of tonic:SHD cannot be read by tonic"),
        ("spikes/times", np.zeros(4), "sample 0 of tonic:SHD cannot be read by tonic"),
    ],
)
def test_a_damaged_file_of_shd_is_one_sentence(tmp_path, member, values, said):
    file = tmp_path / "SHD" / "shd_test.h5"
    tonic_files.write_hsd(file, 12, 2)
    with h5py.File(file, "a") as held:
        del held[member]
        if values is not None:
            held[member] = values
    with pytest.raises(DataError, match=said):
        opened("tonic:SHD", tmp_path).fetch(np.arange(12))


def test_classes_without_names_have_numbers(tmp_path):
    file = tmp_path / "SHD" / "shd_test.h5"
    tonic_files.write_hsd(file, 12, 2)
    with h5py.File(file, "a") as held:
        del held["extra/keys"]
        held["extra/keys"] = np.zeros(0)
    assert opened("tonic:SHD", tmp_path).classes == ("0", "1")


def test_names_hold_shifts_of_events():
    assert parse("tonic:SHD:event_drop:3").variants == (("event_drop", 3),)
    assert parse("tonic:NMNIST?stabilize=true:all").name == "tonic:NMNIST?stabilize=true"
    with pytest.raises(DataError, match=r"unknown shift 'fog' in 'tonic:SHD:fog'; known are backg"):
        parse("tonic:SHD:fog")


# A row of channels


def row(count: int = 4000, width: int = 700) -> Events:
    made = np.random.default_rng(0)
    t = np.sort(made.integers(0, 1_000_000, count))
    x, nothing = made.integers(0, width, count).astype(np.int32), np.zeros(count)
    y, p = nothing.astype(np.int32), nothing.astype(np.uint8)
    return Events(t, x, y, p, 1, width, polarities=1)


@pytest.mark.parametrize("shift", [name for name, one in EVENT_SHIFTS.items() if one.takes(1)])
def test_shifts_of_a_row_stay_on_it(shift):
    events, known = row(), EVENT_SHIFTS[shift]
    for constant in known.constants:
        made = known.apply(events, constant, generator(f"{shift}{constant}"))
        assert (made.height, made.width, made.polarities) == (1, 700, 1)
        assert not (made.y | made.p).any()
        assert (np.diff(made.t) >= 0).all()
        assert 0 <= made.x.min() <= made.x.max() < 700
    left = (np.array_equal(getattr(made, key), getattr(events, key)) for key in "tx")
    assert not all(left), "severity 5 changes something"
    assert to_frames(made, 3, "time", 1, 700).sum() == len(made)


def test_occlusion_of_a_row_is_a_band_of_the_share_of_its_channels():
    events = row(70_000)
    for area in (0.05, 0.4):
        left = np.setdiff1d(np.arange(700), occlusion(events, area, generator("a")).x)
        assert len(left) == round(area * 700)
        assert np.array_equal(left, np.arange(left[0], left[0] + len(left)))


def test_jitter_of_a_row_loses_events_at_its_ends_alone():
    events = row(70_000)
    moved = spatial_jitter(events, 3.0, generator("b"))
    # Each end loses σ / sqrt(2 π) channels' worth of events; there are 100 a channel.
    lost = (len(events) - len(moved)) / 100
    assert lost == pytest.approx(2 * 3 / np.sqrt(2 * np.pi), rel=0.2)


def test_shifts_of_polarities_are_refused_on_a_row_and_left_out_of_all(root):
    view, options = View((1, 1, 700), 4, "time"), DataOptions(root=root)
    for shift in ("polarity_flip", "threshold_mismatch"):
        with pytest.raises(DataError, match=f"{shift} is a shift of two polarities and tonic:SHD"):
            open_splits(f"tonic:SHD:{shift}:1", view, options=options)
    every = open_splits("tonic:SHD:all", view, options=options)
    assert len(every) == 5 * (len(EVENT_SHIFTS) - 2)
    assert "polarity_flip, threshold_mismatch left out, for its events have one polarity" in (
        every[0].source.said
    )
    with pytest.raises(DataError, match=r"\(1 polarity\) and the network takes 2 channels"):
        open_splits("tonic:SHD", View((2, 1, 700), 4, "time"), options=options)
    with pytest.raises(DataError, match=r"\(2 polarities\) and the network takes 1 channel;"):
        open_splits("tonic:NMNIST", View((1, 34, 34), 4, "time"), options=options)
