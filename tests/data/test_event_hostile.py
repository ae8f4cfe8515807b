"""Damaged and hostile files under every suffix of a recording: one sentence, no other error, and no
memory for what a header promises.
"""

import io
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.data.events.files import READERS, read_events, stated_sensor
from ahsar_eval.errors import DataError

SENSOR = (34, 34)
ROWS = [(5, 0, 33, 1), (5, 33, 0, 0), (70_000, 7, 8, 1), (70_001, 12, 5, 0)]
T, X, Y, P = map(list, zip(*ROWS, strict=True))
TABLE = np.array(ROWS, [("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
_GIB = 2**20  # of the kilobytes in which the system counts


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def mat(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, arrays, do_compression=True)  # type: ignore[arg-type]
    return stream.getvalue()


def h5(make: Any) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        make(file)
    return stream.getvalue()


def columns_of(file: Any) -> None:
    for name, values in zip("txyp", (T, X, Y, P), strict=True):
        file[f"events/{name}"] = values


DAT = b"% Version 2\n% Width 34\n% Height 34\n\x0c\x08" + b"".join(
    struct.pack("<II", t, x | y << 14 | p << 28) for t, x, y, p in ROWS
)
EVT2 = b"% evt 2.0\n% geometry 34x34\n% end\n" + b"".join(
    struct.pack("<II", 8 << 28 | t >> 6, p << 28 | (t & 63) << 22 | x << 11 | y)
    for t, x, y, p in ROWS
)
EVT21 = b"% evt 2.1\n% format EVT21;height=34;width=34;endianness=little\n% end\n" + b"".join(
    struct.pack("<IIII", 0, 8 << 28 | t >> 6, 1, p << 28 | (t & 63) << 22 | x << 11 | y)
    for t, x, y, p in ROWS
)
EVT3 = b"% evt 3.0\n% format EVT3;height=34;width=34\n% end\n" + b"".join(
    struct.pack("<HHHH", 8 << 12 | t >> 12, 6 << 12 | t & 0xFFF, y, 2 << 12 | p << 11 | x)
    + struct.pack("<HH", 3 << 12 | x, 4 << 12 | 1)
    for t, x, y, p in ROWS
)
AEDAT2 = b"#!AER-DAT2.0\r\n# AEChip: DAVIS240C\r\n" + b"".join(
    struct.pack(">II", y << 22 | x << 12 | p << 11, t) for t, x, y, p in ROWS
)
AEDAT3 = (
    b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"
    + struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, 4, 4, 4)
    + b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in ROWS)
)
BIN = b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for t, x, y, p in ROWS)
CSV = b"# a table\nt,x,y,p\n" + b"".join(b"%d,%d,%d,%d\n" % row for row in ROWS)
SOUND = {
    "a.bin": BIN,
    "a.dat": DAT,
    "evt2.raw": EVT2,
    "evt21.raw": EVT21,
    "evt3.raw": EVT3,
    "v2.aedat": AEDAT2,
    "v3.aedat": AEDAT3,
    "a.npz": npz(t=T, x=X, y=Y, p=P),
    "a.npy": npy(TABLE),
    "a.mat": mat(ts=T, x=X, y=Y, pol=P),
    "a.h5": h5(columns_of),
    "a.csv": CSV,
    "b.txt": CSV.replace(b",", b" "),
}
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "fill", "insert", "swap"]),
        st.floats(0, 1),
        st.integers(0, 255),
        st.binary(max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, edits: Any) -> bytes:
    data = bytearray(content)
    for kind, part, value, others in edits:
        place = int(part * len(data))
        if kind == "flip" and place < len(data):
            data[place] ^= value
        elif kind == "cut":
            del data[place:]
        elif kind == "fill":
            data[place : place + 8] = bytes([value]) * 8
        elif kind == "insert":
            data[place:place] = others
        elif kind == "swap":
            data[place : place + len(others)] = others
    return bytes(data)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def refused_or_sound(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    before = peak()
    for read in (lambda: read_events(file, SENSOR), lambda: stated_sensor(file)):
        try:
            events = read()
        except DataError as error:
            text = str(error)
            assert text.startswith(str(file))
            assert "\n" not in text
            assert not text.endswith(".")
        else:
            if not isinstance(events, tuple) and events is not None:
                assert len(events) > 0
                assert 0 <= int(events.x.min()) <= int(events.x.max()) < 34
                assert bool((np.diff(events.t) >= 0).all())
    assert peak() - before < _GIB, "no recording of a few hundred bytes takes a GiB"


def test_what_is_damaged_below_is_sound(tmp_path):
    assert {Path(name).suffix for name in SOUND} | {".aedat4", ".hdf5"} == set(READERS)
    for name, content in SOUND.items():
        sensor = (180, 240) if name == "v2.aedat" else SENSOR
        (tmp_path / name).write_bytes(content)
        events = read_events(tmp_path / name, sensor)
        assert (
            events.t.tolist() == (np.repeat(T, 2) if name == "evt3.raw" else np.array(T)).tolist()
        )


@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=30)
@given(EDITS)
def test_a_damaged_file_is_refused_or_sound(tmp_path_factory, name, edits):
    refused_or_sound(tmp_path_factory.getbasetemp() / name, damaged(SOUND[name], edits))


@pytest.mark.every
@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=1000)
@given(EDITS)
def test_many_damaged_files_are_refused_or_sound(tmp_path_factory, name, edits):
    refused_or_sound(tmp_path_factory.getbasetemp() / name, damaged(SOUND[name], edits))


HEADS = st.sampled_from(
    [content[:60] for content in SOUND.values()] + [b"", b"% ", b"#", b"t,x,y,p\n"]
)


@pytest.mark.every
@pytest.mark.parametrize("suffix", sorted(set(READERS) - {".aedat4"}))
@settings(max_examples=300)
@given(HEADS, st.binary(max_size=300))
def test_any_bytes_are_refused_or_sound(tmp_path_factory, suffix, head, body):
    refused_or_sound(tmp_path_factory.getbasetemp() / f"any{suffix}", head + body)


# Sizes that are promised


def lying_npy() -> bytes:
    """A header of 10**12 values, and four."""
    content = npy(np.arange(1000, dtype="<i8"))
    return content.replace(b"(1000,), }          ", b"(1000000000000,), } ")


def bomb(members: int = 60_000_000) -> bytes:
    """Half a GiB of zeros in half a MB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "txyp":
            with archive.open(f"{name}.npy", "w") as member:
                member.write(npy(np.zeros(0, "<i8")).replace(b"(0,), }       ", b"(60000000,), }"))
                for _ in range(members // 1_000_000 if name == "t" else 0):
                    member.write(bytes(8_000_000))
    return stream.getvalue()


def promised(file: Any) -> None:
    for name in "txyp":
        file.create_dataset(name, (10**12,), "<i8", chunks=(2**16,))


def promised_table(file: Any) -> None:
    file.create_dataset("events", (10**11,), TABLE.dtype, chunks=(2**12,))


def lying_mat() -> bytes:
    content = bytearray(mat_4("t", 4) + mat_4("x", 4) + mat_4("y", 4) + mat_4("p", 4))
    content[4:8] = struct.pack("<i", 2**31 - 1)
    return bytes(content)


def mat_4(name: str, count: int) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, {name: np.zeros((count, 1))}, format="4")  # type: ignore[arg-type]
    return stream.getvalue()


LIES: dict[str, tuple[bytes, str]] = {
    "a.npy": (lying_npy(), r"cannot be read as a NumPy array|holds 1,000,000,000,000 events"),
    "a.npz": (bomb(), "holds 60,000,000 events; expected at most 50,000,000"),
    "columns.h5": (h5(promised), "holds 1,000,000,000,000 events"),
    "table.h5": (h5(promised_table), "holds 100,000,000,000 events"),
    "a.mat": (lying_mat(), "expected"),
    "v3.aedat": (
        AEDAT3[:-1].replace(struct.pack("<ii", 4, 4), struct.pack("<ii", 2**30, 2**30), 1),
        "packet",
    ),
    "long.csv": (b"1," * 200_000, "columns in its first line; expected at most 100"),
    "wide.csv": (b"t,x,y,p" + b",a" * 99, "has 103 columns in its first line"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_size_that_is_promised_takes_no_memory(tmp_path, name):
    content, message = LIES[name]
    (tmp_path / name).write_bytes(content)
    before = peak()
    with pytest.raises(DataError, match=message):
        read_events(tmp_path / name, SENSOR)
    assert peak() - before < _GIB


@pytest.mark.parametrize("kind", ["cell", "struct"])
def test_a_column_of_matlab_that_is_no_array(tmp_path, kind):
    value = np.array([1, "a"], object) if kind == "cell" else {"a": 1}
    (tmp_path / "a.mat").write_bytes(mat(ts=T, x=X, y=Y, pol=value))
    with pytest.raises(DataError, match=f"holds pol of the MATLAB class {kind}; expected numbers"):
        read_events(tmp_path / "a.mat", SENSOR)
