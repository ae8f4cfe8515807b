"""`events:PATH` as people have it: folders, the sensor's file, kinds beside each other, units of time,
and what a look at some recordings says.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ahsar_eval.data import DataOptions, View, split_of
from ahsar_eval.data.events.own import event_folder
from ahsar_eval.data.split import EventSet
from ahsar_eval.errors import AhsarWarning, DataError, UsageError


@pytest.fixture(autouse=True)
def _own_index(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AHSAR_EVAL_CACHE", str(tmp_path_factory.mktemp("index")))


def write_npz(path: Path, t=(0, 10), x=(0, 1), y=(1, 0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, t=np.array(t), x=np.array(x), y=np.array(y), p=np.arange(len(t)) % 2)


def write_text(path: Path, body: str = "t,x,y,p\n0,1,2,1\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)


def write_raw(path: Path, *others: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    words = 8 << 28, 1 << 28 | 5 << 22 | 1 << 11 | 2, *others
    header = b"% evt 2.0\n% geometry 30x20\n% end\n"
    path.write_bytes(header + struct.pack(f"<{len(words)}I", *words))


def opened(root: Path, **options) -> EventSet:
    return event_folder(str(root), "test", DataOptions(**options))


# The sensor's file

SIZES = {
    "Notepad": "40x30\r\n".encode("utf-8-sig"),
    "Notepad, UTF-16": "40x30\r\n".encode("utf-16"),
    "big-endian UTF-16": b"\xfe\xff" + "40x30".encode("utf-16-be"),
    "blanks": b"  40 x 30  \n\n",
    "a capital": b"40X30",
    "the sign of multiplication": "40 × 30\n".encode(),
    "a star": b"40*30",
    "a comma": b"40, 30\n",
    "a blank": b"40 30",
    "a tab and CR": b"40\t30\r",
}


@pytest.mark.parametrize("case", SIZES)
def test_the_size_of_the_sensor_is_read_as_editors_write_it(tmp_path, case):
    write_npz(tmp_path / "a" / "0.npz")
    (tmp_path / "sensor.txt").write_bytes(SIZES[case])
    found = opened(tmp_path)
    assert found.shape == (2, 30, 40)
    assert found.skipped == {}, "the sensor's file is read"


def test_a_sensor_file_in_the_folder_of_the_split(tmp_path):
    for part in ("Train", "Test"):
        write_npz(tmp_path / part / "a" / "0.npz")
        (tmp_path / part / "sensor.txt").write_text("40x30")
    assert (opened(tmp_path).shape, dict(opened(tmp_path).skipped)) == ((2, 30, 40), {})


@pytest.mark.parametrize("name", ["sensor.txt", "Sensor.txt", "SENSOR.TXT"])
def test_the_name_of_the_sensor_file_in_any_case(tmp_path, name):
    write_npz(tmp_path / "0.npz")
    (tmp_path / name).write_text("40x30")
    assert opened(tmp_path).shape == (2, 30, 40)
    assert opened(tmp_path).skipped == {}


@pytest.mark.parametrize(
    "text", ["40x", "40x30x2", "0x30", "-40x30", "40.5x30", "x", "forty", "40x30 or so"]
)
def test_what_is_no_size_is_refused(tmp_path, text):
    write_npz(tmp_path / "0.npz")
    (tmp_path / "sensor.txt").write_text(text)
    with pytest.raises(DataError, match="expected one line WIDTHxHEIGHT in pixels"):
        opened(tmp_path)


# Files of several kinds

KINDS = {
    "one kind": (["a/0.npz", "a/1.npz"], 2, {}, ()),
    "two kinds": (["a/0.npz", "b/1.raw"], 2, {}, ("1 .npz, 1 .raw",)),
    "unknown ones": (["a/0.npz", "a/0.avi", "a/1.avi", "a/x.bias"], 1, {".avi file": 2, ".bias file": 1}, ()),
    "text beside others": (["a/0.npz", "a/labels.csv", "a/1.csv"], 1, {".csv file": 2}, ()),
    "text in a folder of its own": (["a/0.npz", "b/1.csv"], 2, {}, ("1 .csv, 1 .npz",)),
    "text alone": (["a/0.csv", "b/1.txt"], 2, {}, ("1 .csv, 1 .txt",)),
    "notes beside text": (["a/0.csv", "a/README.txt", "a/labels.csv"], 1, {".txt file": 1, ".csv file": 1}, ()),
    "flat": (["0.npz", "notes.txt", "1.raw"], 2, {".txt file": 1}, ("1 .npz, 1 .raw",)),
    "beside the classes": (["a/0.npz", "b/1.npz", "2.npz", "info.txt"], 2, {"loose .npz file": 1, "loose .txt file": 1}, ()),
    "hidden": (["a/0.npz", "__MACOSX/0.npz", ".Trashes/1.npz", "a/.0.npz"], 1, {"hidden folder": 2, "hidden file": 1}, ()),
    "indices of Metavision": (["a/0.raw", "a/0.raw.tmp_index"], 1, {"other file": 1}, ()),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_what_lies_in_a_folder_is_read_or_counted(tmp_path, case):
    files, count, skipped, kinds = KINDS[case]
    for file in files:
        if file.endswith(".npz"):
            write_npz(tmp_path / file)
        elif file.endswith(".raw"):
            write_raw(tmp_path / file)
        else:
            write_text(tmp_path / file)
    (tmp_path / "sensor.txt").write_text("30x20")
    found = opened(tmp_path)
    assert (len(found), dict(found.skipped)) == (count, skipped)
    told = [clause for clause in found.said if clause.startswith("files of several kinds")]
    assert told == [f"files of several kinds are read: {kind}" for kind in kinds]


@pytest.mark.parametrize("others", [("a/0.raw",), ("a/0.npy",), ("a/0.bin", "a/0.h5")])
def test_a_recording_that_lies_there_in_two_kinds_is_refused(tmp_path, others):
    for file in ("a/0.npz", *others):
        write_npz(tmp_path / "a.npz")
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / "a.npz").rename(tmp_path / file)
    with pytest.raises(DataError, match=r"lie side by side, perhaps one recording twice; keep one"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("folders", "classes", "count"),
    [
        (("Train/a", "Test/a", "Test/b"), ("a", "b"), 2),
        (("TRAIN/a", "TEST/a"), ("a",), 1),
        (("training/a", "Testing/a", "Testing/b"), ("a", "b"), 2),
        (("Train/a", "Val/a"), ("a",), 1),
        (("Test/0", "Test/10", "Test/9", "__MACOSX/Test"), ("0", "9", "10"), 3),
        (("Train/.ipynb_checkpoints", "Train/a", "test/.Trashes", "test/a"), ("a",), 1),
    ],
)
def test_folders_of_splits_and_classes(tmp_path, folders, classes, count):
    for folder in folders:
        write_npz(tmp_path / folder / "0.npz")
    (tmp_path / "sensor.txt").write_text("30x20")
    found = opened(tmp_path)
    assert (found.classes, len(found), found.role) == (classes, count, "test")


def test_nothing_to_read_names_what_is_there(tmp_path):
    write_text(tmp_path / "a" / "0.avi")
    with pytest.raises(
        DataError, match=r"holds no event file .*\(1 \.avi file was not read\); add"
    ):
        opened(tmp_path)


# Units of time, and columns


@pytest.mark.parametrize(("unit", "us"), [("s", 10**6), ("ms", 1000), ("us", 1), (None, 1)])
def test_a_unit_of_time_is_that_of_files_that_do_not_state_one(tmp_path, unit, us):
    write_npz(tmp_path / "a" / "0.npz", t=(0, 7))
    write_raw(tmp_path / "a" / "1.raw")
    (tmp_path / "sensor.txt").write_text("30x20")
    found = opened(tmp_path, time_unit=unit)
    arrays, camera = found.fetch(np.arange(2))
    assert (arrays.t.tolist(), camera.t.tolist()) == ([0, 7 * us], [5])
    assert any("--time-unit" in clause for clause in found.said) == (unit is not None)


def test_a_unit_is_part_of_the_identity_where_it_counts(tmp_path):
    write_npz(tmp_path / "arrays" / "0.npz")
    write_raw(tmp_path / "camera" / "1.raw")
    for kind in ("arrays", "camera"):
        (tmp_path / kind / "sensor.txt").write_text("30x20")
        units = {opened(tmp_path / kind, time_unit=unit).identity for unit in (None, "ms", "s")}
        assert len(units) == {"arrays": 3, "camera": 1}[kind]
    told = opened(tmp_path / "camera", time_unit="ms").said
    assert "times are in us, as .raw states (not ms, --time-unit)" in told


def test_columns_in_a_stated_order(tmp_path):
    write_text(tmp_path / "a" / "0.csv", "1,2,0,5\n")
    np.save(tmp_path / "a" / "1.npy", np.array([[3, 4, 1, 6]]))
    (tmp_path / "a" / "1.npy").rename(tmp_path / "b.npy")
    (tmp_path / "b").mkdir()
    (tmp_path / "b.npy").rename(tmp_path / "b" / "1.npy")
    (tmp_path / "sensor.txt").write_text("30x20")
    found = opened(tmp_path, columns="xypt")
    rows = [
        [events.t[0], events.x[0], events.y[0], events.p[0]] for events in found.fetch(np.arange(2))
    ]
    assert rows == [[5, 1, 2, 0], [6, 3, 4, 1]]
    assert "columns without names are xypt (--columns)" in found.said
    assert found.identity != opened(tmp_path, columns="yxpt").identity


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_unit": "minutes"}, "--time-unit is 'minutes'; expected one of s, ms, us, ns"),
        ({"time_unit": "µs"}, "--time-unit is 'µs'"),
        ({"columns": "txy"}, "--columns is 'txy'; expected each of t, x, y and p once"),
        ({"columns": "txypp"}, "--columns is 'txypp'"),
        ({"columns": "t,x,y,p"}, "--columns is 't,x,y,p'"),
        ({"columns": ""}, "--columns is ''"),
    ],
)
def test_options_that_are_none(options, message):
    with pytest.raises(UsageError, match=message):
        DataOptions(**options).check()


# A look at some recordings


def clauses(found: EventSet, word: str) -> list[str]:
    return [clause for clause in found.said if word in clause]


FILLED = {
    "an eighth": ((64, 64), 8, "events fill 8x8 of the sensor's 64x64 pixels (x 0 to 7, y 0 to 7)"),
    "nearly all": ((9, 8), 8, "events fill 8x8 of the sensor's 9x8 pixels (x 0 to 7, y 0 to 7)"),
    "all": ((8, 8), 8, None),
    "half of the width": ((16, 8), 8, "events fill 8x8 of the sensor's 16x8 pixels"),
    "one pixel": ((34, 34), 1, "events fill 1x1 of the sensor's 34x34 pixels (x 0 to 0, y 0 to 0)"),
    "a camera's picture cut": ((346, 260), 34, "events fill 34x34 of the sensor's 346x260 pixels"),
}


@pytest.mark.parametrize("case", FILLED)
def test_a_sensor_larger_than_what_events_fill_is_said(tmp_path, case):
    (width, height), side, sentence = FILLED[case]
    for i in range(3):
        write_npz(tmp_path / "a" / f"{i}.npz", range(side), range(side), range(side))
    (tmp_path / "sensor.txt").write_text(f"{width}x{height}")
    told = clauses(opened(tmp_path), "fill")
    assert len(told) == (sentence is not None)
    assert all(clause.startswith(sentence or "") for clause in told)
    assert all(clause.endswith("in 3 of 3 recordings looked at") for clause in told)


def test_a_look_is_at_some_recordings_and_leaves_damaged_ones_to_whoever_asks(tmp_path):
    for i in range(40):
        write_npz(tmp_path / "a" / f"{i}.npz", (0, 2_500_000))
    (tmp_path / "a" / "0.npz").write_bytes(b"damaged")
    (tmp_path / "sensor.txt").write_text("2x2")
    found = opened(tmp_path)
    assert found.said == ("15 of 40 recordings looked at last 2.5 s (median)",)
    with pytest.raises(DataError, match=r"0\.npz cannot be read"):
        found.fetch(np.array([0]))


def test_what_files_hold_besides_events_is_counted(tmp_path):
    write_raw(tmp_path / "a" / "0.raw", 10 << 28, 10 << 28)
    write_raw(tmp_path / "a" / "1.raw", 10 << 28, 15 << 28)
    assert clauses(opened(tmp_path), "left out") == [
        "1 continuations, 3 external triggers were left out in 2 of 2 recordings looked at"
    ]


def framed(root: Path, framing: str, steps: int = 10, **options: Any) -> str:
    found = opened(root, **options)
    return split_of(found, View((2, 2, 2), steps, framing)).remark


# Times of the events, framing, options → what is said ("" for nothing)
FRAMES: dict[str, tuple[Any, str, dict[str, Any], str]] = {
    "fitting": (np.arange(0, 10_000, 10), "1000us", {}, ""),
    "milliseconds taken for microseconds": (
        np.arange(300),
        "1000us",
        {},
        "one frame of each holds",
    ),
    "the same, stated": (np.arange(0, 300, 1), "30000us", {"time_unit": "ms"}, ""),
    "nanoseconds taken for microseconds": (
        np.arange(0, 10_000_000, 10_000),
        "1000us",
        {},
        "of the events lie after the last frame",
    ),
    "the same, nanoseconds stated": (
        np.arange(0, 10_000_000, 10_000),
        "1000us",
        {"time_unit": "ns"},
        "",
    ),
    "a late event": ([*range(100), 10**9], "time", {}, "one frame of each holds"),
    "equal counts": (np.arange(300), "count", {}, ""),
    "fewer events than a tenth of the frames": ([0], "count", {}, "90% of the frames are empty"),
    "two bursts": ([*range(50), *range(9_000, 9_050)], "1000us", {}, ""),
    "seconds taken for microseconds": (
        [0] * 40 + [1] * 40,
        "1000us",
        {},
        "one frame of each holds",
    ),
}


@pytest.mark.parametrize("case", FRAMES)
@pytest.mark.filterwarnings("ignore::ahsar_eval.errors.AhsarWarning")
def test_frames_that_hold_nothing_or_everything_are_said(tmp_path, case):
    t, framing, options, sentence = FRAMES[case]
    zeros = np.zeros(len(t), int)
    write_npz(tmp_path / "a" / "0.npz", t, zeros, zeros)
    (tmp_path / "sensor.txt").write_text("2x2")
    told = framed(tmp_path, framing, **options)
    assert (sentence in told) if sentence else (told == "")
    assert not told or "--time-unit" in told


def test_frames_that_hold_nothing_warn(tmp_path):
    write_npz(tmp_path / "a" / "0.npz", range(300), [0] * 300, [1] * 300)
    (tmp_path / "sensor.txt").write_text("2x2")
    with pytest.warns(
        AhsarWarning, match=r"one frame of each holds .* last 299 us\): is their time"
    ):
        framed(tmp_path, "1000us")
    assert framed(tmp_path, "1000us", steps=1) == "", "one frame holds everything by design"


# The command line


def test_the_command_line_says_what_was_read_and_what_not(tmp_path, command):
    for i in range(3):
        write_text(tmp_path / str(i) / "0.csv", "5,1,2,0\n900,1,2,1\n")
    write_text(tmp_path / "0" / "film.avi")
    (tmp_path / "sensor.txt").write_text("30x20\n")
    done = command("data", "info", f"events:{tmp_path}", "--columns", "txyp", "--time-unit", "ms")
    told = " ".join(done.out.split())
    assert done.code == 0
    for part in (
        "samples 3",
        "columns without names are txyp (--columns)",
        "times are in ms where the file does not state it (--time-unit)",
        "last 895 ms (median)",
        "events fill 1x1 of the sensor's 30x20 pixels",
        "left out 1 .avi file was not read",
    ):
        assert part in told
    done = command("data", "info", f"events:{tmp_path}")
    assert (done.code, "has the first line '5,1,2,0'" in done.err) == (0, False), "opened, not read"
    done = command("data", "prepare", f"events:{tmp_path}")
    assert done.code == 2
    assert "no line names them; state the order of its columns" in " ".join(done.err.split())


def test_results_hold_what_was_read_and_what_not(tmp_path, command):
    for i in range(4):
        write_npz(tmp_path / str(i) / "0.npz", range(40), range(8, 48, 1), [3] * 40)
    write_text(tmp_path / "0" / "film.avi")
    (tmp_path / "sensor.txt").write_text("64x64\n")
    done = command(
        *("energy", "digits-dvs-vgg13-ahsar", "--data", f"events:{tmp_path}"),
        *("--out", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    (file,) = (tmp_path / "out").glob("*.json")
    notes = " ".join(json.loads(file.read_text())["provenance"]["notes"])
    assert "events fill 40x1 of the sensor's 64x64 pixels" in notes
    assert "1 .avi file was not read" in notes
