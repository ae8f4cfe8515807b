"""One recording from one file: every kind decoded by hand, against the libraries that read it, and
refused with a reason.
"""

import io
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.data.events.files import READERS, read_events, stated_sensor
from ahsar_eval.data.events.stream import Events
from ahsar_eval.errors import DataError

T, X, Y, P = [5, 5, 70_000, 8_388_607], [0, 33, 7, 12], [33, 0, 8, 5], [1, 0, 1, 0]


def columns(events: Events) -> list[list[int]]:
    return [events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()]


# Writers of formats, from their documents


def bin_bytes(t, x, y, p) -> bytes:
    return b"".join(
        bytes([b, c, (d << 7) | (a >> 16), (a >> 8) & 255, a & 255])
        for a, b, c, d in zip(t, x, y, p, strict=True)
    )


def dat_bytes(
    t,
    x,
    y,
    p,
    header="% Data file containing CD events\n% Version 2\n% Width 120\n% Height 100\n",
    kind=(12, 8),
) -> bytes:
    body = b"".join(
        struct.pack("<II", a, b | c << 14 | d << 28) for a, b, c, d in zip(t, x, y, p, strict=True)
    )
    return header.encode() + bytes(kind) + body


def aedat2_bytes(
    addresses, t, chip="eu.seebetter.ini.chips.DVS128", version="2.0", letter=">Ii"
) -> bytes:
    header = f"#!AER-DAT{version}\r\n# This is a raw AE data file - do not edit\r\n" + (
        f"# AEChip: {chip}\r\n" if chip else ""
    )
    return header.encode() + b"".join(
        struct.pack(letter, a, b) for a, b in zip(addresses, t, strict=True)
    )


def packet(t, x, y, p, *, kind=1, size=8, overflow=0, spare=0, valid=None, number=None) -> bytes:
    valid = [1] * len(t) if valid is None else valid
    head = struct.pack(
        "<hhiiiiii",
        kind,
        0,
        size,
        4,
        overflow,
        len(t) + spare,
        len(t) if number is None else number,
        sum(valid),
    )
    body = b"".join(
        struct.pack("<II", b << 17 | c << 2 | d << 1 | v, a)
        for a, b, c, d, v in zip(t, x, y, p, valid, strict=True)
    )
    return head + body + bytes(8 * spare)


AEDAT3 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def write_h5(path: Path, group="events", names=("t", "x", "y", "p"), **attributes) -> Path:
    with h5py.File(path, "w") as file:
        place = file.create_group(group) if group else file
        for name, values in zip(names, (T, X, Y, P), strict=True):
            place[name] = np.array(values)
        file.attrs.update(attributes)
    return path


TABLE = np.array(
    list(zip(T, X, Y, P, strict=True)), dtype=[("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")]
)


# By hand


def test_five_bytes_of_n_mnist(tmp_path):
    file = write(
        tmp_path / "a.bin", bytes([3, 4, 0b10000001, 0, 2]) + bytes([33, 0, 0b00000010, 0, 0])
    )
    assert columns(read_events(file, (34, 34))) == [[65_538, 131_072], [3, 33], [4, 0], [1, 0]]
    assert columns(read_events(write(file, bin_bytes(T, X, Y, P)), (34, 34))) == [T, X, Y, P]


def test_an_overflow_of_the_atis_clock_adds_to_all_later_times_and_is_no_event(tmp_path):
    file = write(
        tmp_path / "a.bin",
        bin_bytes([8000, 0, 10, 0, 20], [1, 0, 2, 0, 3], [1, 240, 2, 240, 3], [1, 0, 1, 0, 0]),
    )
    assert columns(read_events(file, (240, 304))) == [
        [8000, 8202, 16404],
        [1, 2, 3],
        [1, 2, 3],
        [1, 1, 0],
    ]


def test_prophesee_dat_version_2(tmp_path):
    file = write(
        tmp_path / "a.dat", dat_bytes([0, 9, 2**31 + 5], [0, 119, 5], [99, 0, 6], [1, 0, 1])
    )
    events = read_events(file)
    assert columns(events) == [[0, 9, 2**31 + 5], [0, 119, 5], [99, 0, 6], [1, 0, 1]]
    assert (events.height, events.width) == stated_sensor(file) == (100, 120)


def test_dvs128_addresses_are_turned_as_jaer_does(tmp_path):
    addresses = [0b0000000_0000000_0, 127 << 8 | 5 << 1 | 1, 1 << 15, 2 << 8 | 3 << 1]
    file = write(tmp_path / "a.aedat", aedat2_bytes(addresses, [1, 2, 3, 4]))
    assert columns(read_events(file)) == [[1, 2, 4], [127, 122, 124], [127, 0, 125], [1, 0, 1]], (
        "bit 15 is no pixel, bit 0 says OFF"
    )
    upright = columns(read_events(file, (128, 128), "cifar10-dvs"))
    assert upright == [[1, 2, 4], [127, 0, 125], [127, 122, 124], [1, 0, 1]], (
        "CIFAR10-DVS: the camera lay on its side"
    )


def test_davis_addresses_without_frames_and_inertia(tmp_path):
    addresses = [259 << 22 | 345 << 12 | 1 << 11, 0, 1 << 31, 1 << 10, 4 << 22 | 3 << 12]
    file = write(
        tmp_path / "a.aedat",
        aedat2_bytes(addresses, [1, 2, 3, 4, 5], "eu.seebetter.ini.chips.davis.Davis346red"),
    )
    events = read_events(file)
    assert columns(events) == [[1, 2, 5], [0, 345, 342], [0, 259, 255], [1, 0, 0]]
    assert (events.height, events.width) == (260, 346)


CAMERAS = {
    "eu.seebetter.ini.chips.davis.DAVIS240C": (180, 240),
    "eu.seebetter.ini.chips.davis.DAVIS240BaseCamera": (180, 240),
    "eu.seebetter.ini.chips.sbret10.SBret10": (180, 240),
    "eu.seebetter.ini.chips.davis.Davis208PixelParade": (192, 208),
    "eu.seebetter.ini.chips.davis.Davis346blue": (260, 346),
    "eu.seebetter.ini.chips.davis.DAVIS346redColor": (260, 346),
    "eu.seebetter.ini.chips.davis.DavisRGBW640": (480, 640),
    "eu.seebetter.ini.chips.davis.Davis640": (480, 640),
}


@pytest.mark.parametrize("chip", CAMERAS)
def test_the_camera_of_the_header_decides_the_size(tmp_path, chip):
    height, width = CAMERAS[chip]
    address = 2 << 22 | 3 << 12 | 1 << 11
    events = read_events(write(tmp_path / "a.aedat", aedat2_bytes([address], [1], chip)))
    assert columns(events) == [[1], [width - 4], [height - 3], [1]]
    assert (events.height, events.width) == (height, width)


@pytest.mark.parametrize(
    ("chip", "addresses", "skipped"),
    [
        (
            "eu.seebetter.ini.chips.davis.DAVIS240C",
            [0, 1 << 31, 1 << 31 | 3 << 10, 1 << 10, 5 << 22],
            {"samples of frames, of inertia or special events": 3},
        ),
        ("ch.unizh.ini.jaer.chip.retina.DVS128", [0, 1 << 15, 1 << 31], {"special events": 2}),
        ("eu.seebetter.ini.chips.davis.Davis346blue", [0, 1 << 12], {}),
    ],
)
def test_what_is_no_event_of_a_pixel_is_counted(tmp_path, chip, addresses, skipped):
    file = write(tmp_path / "a.aedat", aedat2_bytes(addresses, range(len(addresses)), chip))
    events = read_events(file)
    assert dict(events.skipped) == skipped
    assert len(events) == len(addresses) - sum(skipped.values())


# Unsigned clocks of 32 bits in the file → times
LONG: dict[str, tuple[list[int], list[int | None]]] = {
    "past 2**31": ([2**31 - 5, 2**31 + 5], [2**31 - 5, 2**31 + 5]),
    "past 2**32": ([2**32 - 5, 7], [2**32 - 5, 2**32 + 7]),
    "past 2**32 twice": (
        [2**32 - 1, 2**30, 2**31 + 2**29, 9],
        [2**32 - 1, 2**32 + 2**30, 2**32 + 2**31 + 2**29, 2 * 2**32 + 9],
    ),
    "from 0 to 2**31": ([0, 2**31], [0, 2**31]),
    "a late sample at the turn": (
        [2**32 - 9, 3, 2**32 - 2, 5],
        [2**32 - 9, 2**32 + 3, None, 2**32 + 5],
    ),
}


@pytest.mark.parametrize("case", LONG)
@pytest.mark.parametrize("suffix", [".aedat", ".dat"])
def test_recordings_longer_than_a_clock(tmp_path, case, suffix):
    clock, wanted = LONG[case]
    zeros = [0] * len(clock)
    if suffix == ".dat":
        if None in wanted:
            pytest.skip("a .dat holds events of pixels alone")
        content = dat_bytes(clock, zeros, zeros, zeros)
    else:
        # The late one is a sample of a frame: no event of a pixel, whose time is in order.
        addresses = [0 if t is not None else 1 << 31 for t in wanted]
        content = aedat2_bytes(addresses, clock, "eu.seebetter.davis.DAVIS240C", letter=">II")
    events = read_events(write(tmp_path / f"a{suffix}", content))
    assert events.t.tolist() == [t for t in wanted if t is not None]


def test_a_header_with_all_preferences_of_jaer(tmp_path):
    content = aedat2_bytes([0], [1], "Davis346blue").replace(
        b"# AEChip", b"# <entry key='a' value='b'/>\r\n" * 20_000 + b"# AEChip"
    )
    file = write(tmp_path / "a.aedat", content)
    assert len(content) > 2**19
    assert stated_sensor(file) == (260, 346)
    assert columns(read_events(file)) == [[1], [345], [259], [0]]


def test_an_event_that_begins_like_a_line_of_the_header_is_an_event(tmp_path):
    """The row 140 of a DAVIS346 makes an address whose first byte is that of #."""
    address = 140 << 22 | 10 << 12
    assert struct.pack(">I", address)[:1] == b"#"
    for t in (5, 10 << 8):  # with and without the end of a line in it
        content = aedat2_bytes([address, address], [t, t + 1], "Davis346blue")
        assert columns(read_events(write(tmp_path / "a.aedat", content))) == [
            [t, t + 1],
            [335, 335],
            [119, 119],
            [0, 0],
        ]


def test_the_first_version_of_aedat_has_addresses_of_16_bits(tmp_path):
    file = write(
        tmp_path / "a.aedat",
        aedat2_bytes([127 << 8 | 5 << 1 | 1], [2], version="1.0", letter=">Hi"),
    )
    assert columns(read_events(file)) == [[2], [122], [0], [0]]


def test_an_unnamed_camera_is_refused_unless_its_sensor_says_which(tmp_path):
    file = write(tmp_path / "a.aedat", aedat2_bytes([0], [1], chip=""))
    assert columns(read_events(file, (128, 128))) == [[1], [127], [127], [1]]
    assert columns(read_events(file, (260, 346))) == [[1], [345], [259], [0]]
    with pytest.raises(DataError, match="names no camera that is known"):
        read_events(file, (100, 100))
    with pytest.raises(DataError, match=r"names no camera that is known \(dvs128, davis240"):
        read_events(file)


def test_packets_of_aedat_3(tmp_path):
    content = AEDAT3 + packet([7, 8], [0, 127], [1, 2], [1, 0], spare=2)
    content += packet([0, 0], [9, 9], [9, 9], [1, 1], kind=0)  # special events: no pixels
    content += packet([9, 10, 11], [3, 4, 5], [6, 7, 8], [0, 1, 1], valid=[1, 0, 1]) + packet(
        [1], [2], [3], [1], overflow=1
    )
    events = read_events(write(tmp_path / "a.aedat", content))
    assert columns(events) == [
        [7, 8, 9, 11, 2**31 + 1],
        [0, 127, 3, 5, 2],
        [1, 2, 6, 8, 3],
        [1, 0, 0, 1, 1],
    ]
    assert (events.height, events.width) == (128, 128)


def test_taxels_of_st_mnist_from_seconds(tmp_path):
    table = np.zeros((101, 3))
    table[37, 0], table[99, 1], table[2, 1], table[100] = -1, 1, 1, [0.0000016, 0.5, 0.5]
    scipy.io.savemat(tmp_path / "a.mat", {"spiketrain": table})
    wanted = [[2, 500_000, 500_000], [7, 2, 9], [3, 0, 9], [0, 1, 1]]
    assert columns(read_events(tmp_path / "a.mat")) == wanted
    assert columns(read_events(write_mat_73(tmp_path / "b.mat", spiketrain=table))) == wanted


def write_mat_73(path: Path, **arrays) -> Path:
    """MATLAB 7.3: HDF5 behind 512 bytes of its own, every matrix transposed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = np.asarray(values).T
    content = bytearray(path.read_bytes())
    content[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    return write(path, bytes(content))


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_columns_of_a_matlab_file(tmp_path, version):
    values = {"ts": T, "x": X, "y": Y, "pol": P}
    held = {name: np.array(column, dtype=float)[:, None] for name, column in values.items()}
    file = tmp_path / "a.mat"
    if version == "5":
        scipy.io.savemat(file, held)
    else:
        write_mat_73(file, **held)
    assert columns(read_events(file, (34, 34))) == [T, X, Y, P]
    assert columns(read_events(file, (180, 240), "asl-dvs")) == [T, X, [179 - row for row in Y], P]


@pytest.mark.parametrize("names", ["txyp", ("timestamps", "X", "Y", "polarity")])
@pytest.mark.parametrize("polarity", ["int8", "bool", "signs", "float64"])
def test_arrays_under_every_name_and_polarity(tmp_path, names, polarity):
    p = np.array(P) * 2 - 1 if polarity == "signs" else np.array(P, dtype=polarity)
    np.savez(
        tmp_path / "a.npz",
        **dict(zip(names, (np.array(T), np.array(X, "u1"), np.array(Y, "i2"), p), strict=True)),
    )
    events = read_events(tmp_path / "a.npz", (34, 34))
    assert columns(events) == [T, X, Y, P]
    assert [values.dtype for values in (events.t, events.x, events.y, events.p)] == [
        "int64",
        "int32",
        "int32",
        "uint8",
    ]


def test_structured_and_plain_arrays(tmp_path):
    np.save(tmp_path / "a.npy", TABLE)
    assert columns(read_events(tmp_path / "a.npy", (34, 34))) == [T, X, Y, P]
    np.save(tmp_path / "a.npy", np.array([X, Y, P, [0, 1, 1, 7]]).T)
    assert columns(read_events(tmp_path / "a.npy", (128, 128), "dvs-gesture")) == [
        [0, 1000, 1000, 7000],
        X,
        Y,
        P,
    ], "tonic keeps ms"
    np.save(tmp_path / "a.npy", np.array([T, X, Y, P]).T)
    assert columns(read_events(tmp_path / "a.npy", (35, 35), "pokerdvs")) == [T, X, Y, P]
    with pytest.raises(
        DataError, match=r"plain array of shape \(4, 4\) whose columns have no names"
    ):
        read_events(tmp_path / "a.npy", (35, 35))


@pytest.mark.parametrize("group", ["", "events"])
@pytest.mark.parametrize(
    "attributes",
    [{"height": 34, "width": 36}, {"sensor_resolution": (34, 36)}, {"geometry": "36x34"}],
)
def test_hdf5_columns_and_the_size_it_states(tmp_path, group, attributes):
    file = write_h5(tmp_path / "a.h5", group, **attributes)
    events = read_events(file)
    assert columns(events) == [T, X, Y, P]
    assert (events.height, events.width) == stated_sensor(file) == (34, 36)


@pytest.mark.parametrize("name", ["events", "CD/events"])
def test_hdf5_tables(tmp_path, name):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file[name] = TABLE
    assert columns(read_events(tmp_path / "a.hdf5", (34, 34))) == [T, X, Y, P]


# Against the libraries


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**20), st.integers(0, 255), st.integers(0, 255), st.integers(0, 1)
        ),
        min_size=1,
        max_size=60,
    )
)
def test_five_bytes_agree_with_tonic(tmp_path_factory, rows):
    from tonic.io import read_mnist_file

    t, x, y, p = np.array(sorted(rows)).T
    file = write(
        tmp_path_factory.getbasetemp() / "oracle.bin",
        bin_bytes(t.tolist(), x.tolist(), y.tolist(), p.tolist()),
    )
    theirs = read_mnist_file(str(file), np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
    if not len(theirs):
        return
    ours = read_events(file, (256, 256))
    assert columns(ours) == [theirs[letter].tolist() for letter in "txyp"]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**31 - 1), st.integers(0, 119), st.integers(0, 99), st.integers(0, 1)
        ),
        min_size=1,
        max_size=60,
    )
)
def test_dat_agrees_with_expelliarmus(tmp_path_factory, rows):
    from expelliarmus import Wizard  # type: ignore[import-untyped]

    file = write(
        tmp_path_factory.getbasetemp() / "oracle.dat", dat_bytes(*zip(*sorted(rows), strict=True))
    )
    theirs = Wizard(encoding="dat").read(str(file))
    assert columns(read_events(file)) == [theirs[letter].tolist() for letter in "txyp"]


def test_aedat_2_agrees_with_the_primitives_of_tonic(tmp_path):
    from tonic.io import get_aer_events_from_file, read_aedat_header_from_file

    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 10**6, 500))
    file = write(
        tmp_path / "a.aedat", aedat2_bytes(rng.integers(0, 2**15, 500).tolist(), t.tolist())
    )
    version, start, _ = read_aedat_header_from_file(str(file))
    theirs = get_aer_events_from_file(str(file), version, start)
    address = theirs["address"].astype(int)
    ours = read_events(file, form="cifar10-dvs")
    assert version == 2
    assert columns(ours) == [
        theirs["timeStamp"].tolist(),
        (127 - (address >> 8)).tolist(),
        (127 - (address >> 1 & 127)).tolist(),
        (1 - (address & 1)).tolist(),
    ]


def test_aedat_3_agrees_with_a_walk_over_its_words(tmp_path):
    rng = np.random.default_rng(1)
    content = AEDAT3
    for start in range(5):
        size = int(rng.integers(1, 50))
        x, y = rng.integers(0, 128, (2, size)).tolist()
        content += packet(
            range(start * 100, start * 100 + size),
            x,
            y,
            rng.integers(0, 2, size).tolist(),
            overflow=start,
        )
    place, rows = len(AEDAT3), []
    while place < len(content):
        overflow, capacity = (
            int.from_bytes(content[place + 12 : place + 16], "little"),
            int.from_bytes(content[place + 16 : place + 20], "little"),
        )
        place += 28
        for _ in range(capacity):
            bits = f"{int.from_bytes(content[place : place + 4], 'little'):032b}"
            low = int.from_bytes(content[place + 4 : place + 8], "little")
            rows.append(
                (low + 2**31 * overflow, int(bits[:15], 2), int(bits[15:30], 2), int(bits[30]))
            )
            place += 8
    assert columns(read_events(write(tmp_path / "a.aedat", content))) == [
        list(column) for column in zip(*rows, strict=True)
    ]


# Real files


def sample(shared_data: Path, name: str) -> Path:
    return shared_data / "tonic_format_samples" / name


def test_a_real_n_mnist_file(shared_data):
    file = sample(shared_data, "sample_nmnist.bin")
    events = read_events(file, (34, 34))
    number = [
        int.from_bytes(file.read_bytes()[place : place + 5], "big")
        for place in range(0, file.stat().st_size, 5)
    ]
    assert columns(events) == [
        [n & 0x7FFFFF for n in number],
        [n >> 32 for n in number],
        [n >> 24 & 255 for n in number],
        [n >> 23 & 1 for n in number],
    ]
    assert len(events) == 4325


def test_a_real_n_cars_file(shared_data):
    file = sample(shared_data, "sample_ncars.dat")
    content = file.read_bytes()
    rows = list(struct.iter_unpack("<II", content[content.index(b"\n\x00\x08") + 3 :]))
    events = read_events(file, (100, 120))
    assert columns(events) == [
        [t for t, _ in rows],
        [a % 2**14 for _, a in rows],
        [a // 2**14 % 2**14 for _, a in rows],
        [a // 2**28 for _, a in rows],
    ]
    assert len(events) == 2009
    assert stated_sensor(file) is None
    with pytest.raises(DataError, match="does not state the size of its sensor"):
        read_events(file)


def test_a_real_st_mnist_file(shared_data):
    events = read_events(sample(shared_data, "sample_stmnist.mat"))
    table = scipy.io.loadmat(sample(shared_data, "sample_stmnist.mat"))["spiketrain"]
    event, taxel = np.nonzero(table[:100].T)
    assert len(events) == 2346
    assert columns(events)[1:] == [
        (taxel % 10).tolist(),
        (taxel // 10).tolist(),
        (table[taxel, event] == 1).astype(int).tolist(),
    ]
    assert events.t.tolist() == [round(second * 1e6) for second in table[100, event]]
    assert (events.t[0], events.t[-1]) == (196_626, 895_745), (
        "seconds: the touch lasts less than one"
    )


def test_a_real_aedat_4_file(shared_data):
    pytest.importorskip("aedat")
    file = sample(shared_data, "sample.aedat4")
    events = read_events(file)
    assert (len(events), events.height, events.width) == (111_954, 240, 320)
    assert stated_sensor(file) == (240, 320)
    assert columns(events.at(np.arange(3))) == [
        [1_605_537_493_718_345, 1_605_537_493_718_348, 1_605_537_493_718_349],
        [154, 149, 148],
        [204, 206, 199],
        [0, 0, 1],
    ]
    from tonic.io import read_aedat4

    theirs = read_aedat4(str(file))
    assert columns(events) == [theirs[name].astype(int).tolist() for name in ("t", "x", "y", "on")]


def test_a_real_gesture(shared_data, tmp_path):
    with zipfile.ZipFile(
        shared_data / "dvs128gesture_10clips" / "dvs128gesture_10clips.zip"
    ) as archive:
        member = next(name for name in archive.namelist() if name.endswith("hand_clapping.npz"))
        file = write(tmp_path / "a.npz", archive.read(member))
    events = read_events(file, (128, 128))
    with np.load(file) as arrays:
        assert columns(events) == [arrays[letter].tolist() for letter in "txyp"]
    assert len(events) == 63_471


# Hostile files


class Executes:
    """Pickled, it would write a file when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def npz_bytes(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


GOOD = {
    ".bin": bin_bytes(T, X, Y, P),
    ".dat": dat_bytes(T, X, Y, P),
    ".aedat": AEDAT3 + packet(T, X, Y, P),
    ".npz": npz_bytes(t=T, x=X, y=Y, p=P),
}


def one_sentence(error: pytest.ExceptionInfo[DataError], file: Path) -> str:
    text = str(error.value)
    assert str(file) in text
    assert "\n" not in text
    assert not text.endswith(".")
    return text


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"t,x,y,p\n1,2,3,1\n" * 40,
        b"hello world, this is no recording of events\n" * 11,
        bytes(997),
        b"\xff" * 400,
    ],
)
def test_a_foreign_file_under_every_suffix(tmp_path, suffix, content):
    file = write(tmp_path / f"a{suffix}", content)
    if suffix == ".aedat4":
        pytest.importorskip("aedat")
    with pytest.raises(DataError) as error:
        read_events(file, (34, 34))
    assert one_sentence(error, file)
    if not content:
        assert "is empty; expected" in str(error.value)


@pytest.mark.parametrize("suffix", sorted(set(READERS) - {".npz"}))
def test_an_archive_under_every_suffix(tmp_path, suffix):
    file = write(tmp_path / f"a{suffix}", GOOD[".npz"])
    with pytest.raises(DataError) as error:
        read_events(file, (34, 34))
    assert one_sentence(error, file)


@pytest.mark.parametrize("suffix", GOOD)
def test_a_file_cut_anywhere_is_refused_or_shorter(tmp_path, suffix):
    """Whole events may be missing without a trace from .bin and .dat, which state no length; half
    events never are.
    """
    whole = columns(read_events(write(tmp_path / f"a{suffix}", GOOD[suffix]), (34, 34)))
    step = 1 if suffix != ".npz" else 7
    for kept in range(1, len(GOOD[suffix]), step):
        file = write(tmp_path / f"a{suffix}", GOOD[suffix][:kept])
        try:
            found = columns(read_events(file, (34, 34)))
        except DataError as error:
            assert str(file) in str(error)  # noqa: PT017
        else:
            count = len(found[0])
            assert suffix in (".bin", ".dat")
            assert count < 4
            assert found == [column[:count] for column in whole]


@pytest.mark.parametrize("suffix", GOOD)
def test_no_flipped_byte_ends_in_another_error(tmp_path, suffix):
    for place in range(0, len(GOOD[suffix]), 4 if suffix == ".npz" else 1):
        content = bytearray(GOOD[suffix])
        content[place] ^= 0xA5
        try:
            events = read_events(write(tmp_path / f"a{suffix}", bytes(content)), (34, 34))
        except DataError:
            continue
        assert int(events.x.max()) < 34
        assert bool((np.diff(events.t) >= 0).all())


@pytest.mark.parametrize("name", ["sample.aedat4", "sample_stmnist.mat"])
def test_damage_in_real_files_is_named(shared_data, tmp_path, name):
    if name.endswith("aedat4"):
        pytest.importorskip("aedat")
    content = sample(shared_data, name).read_bytes()
    rng = np.random.default_rng(3)
    for place in [*range(0, 256, 8), *rng.integers(0, len(content), 20).tolist()]:
        for damaged in (content[:place], content[:place] + b"\xee" * 8 + content[place + 8 :]):
            file = write(tmp_path / name, damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    read_events(file)
                except DataError as error:
                    assert str(file) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"t": [1, 3, 2]}, r"time stamps that run backwards at event 2 \(3 then 2 µs\)"),
        ({"x": [0, 34, 1]}, r"has x from 0 to 34; expected 0 to 33 on a sensor of 34x34"),
        ({"y": [0, -1, 1]}, r"has y from -1 to 1; expected 0 to 33"),
        ({"t": [-5, 1, 2]}, r"has t from -5 to 2; expected 0 to"),
        ({"t": [1.0, np.nan, 2.0]}, r"values of t that are no whole numbers"),
        ({"t": [0.1, 0.2, 0.3]}, r"values of t that are no whole numbers; expected µs"),
        ({"t": [1.0, 2.0, 1e300]}, r"has t from 1.0 to 1e\+300; expected 0 to 9007199254740991"),
        ({"t": np.array([1, 2, 2**63], "u8")}, r"has t from 1 to 9223372036854775808; expected"),
        ({"x": np.array([0, 1, 65535], "u2")}, r"has x from 0 to 65535"),
        ({"p": [0, 1, 2]}, r"has p from 0 to 2; expected 0 to 1"),
        ({"p": [-1, 0, 1]}, r"has p from -1 to 1"),
        ({"p": [0, 1]}, r"shapes \(3,\), \(3,\), \(3,\), \(2,\); expected one length"),
        ({"x": np.array(["a", "b", "c"])}, r"x of type <U1; expected whole numbers"),
        ({"x": np.zeros((3, 3), int)}, r"expected one length"),
        ({"t": [], "x": [], "y": [], "p": []}, r"holds no event"),
        ({"ts": [1, 2, 3]}, r"holds t, x, y, p, ts; expected exactly one of each"),
        (
            {"p": None},
            r"holds t, x, y; expected exactly one of each: t \(or ts, timestamps\), x, y and p",
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_what_events_must_be(tmp_path, arrays, message, suffix):
    given_arrays = {"t": [1, 2, 3], "x": [0, 1, 2], "y": [0, 1, 2], "p": [0, 1, 1], **arrays}
    held = {name: np.array(values) for name, values in given_arrays.items() if values is not None}
    file = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        np.savez(file, **held)  # type: ignore[arg-type]
    else:
        if held["x"].dtype.kind == "U":
            pytest.skip("HDF5 stores text as objects")
        with h5py.File(file, "w", track_order=True) as writer:
            for name, values in held.items():
                writer[name] = values
    with pytest.raises(DataError, match=message) as error:
        read_events(file, (34, 34))
    one_sentence(error, file)


@pytest.mark.parametrize("suffix", [".bin", ".dat", ".aedat", ".mat"])
def test_time_that_runs_backwards_is_refused_in_every_format(tmp_path, suffix):
    t = [100, 50, 120]
    xyp = [[1, 2, 3]] * 2 + [[0, 1, 0]]
    file = tmp_path / f"a{suffix}"
    if suffix == ".mat":
        scipy.io.savemat(file, {"ts": t, "x": xyp[0], "y": xyp[1], "pol": xyp[2]})
    else:
        file.write_bytes(
            {
                ".bin": bin_bytes(t, *xyp),
                ".dat": dat_bytes(t, *xyp),
                ".aedat": aedat2_bytes([0] * 3, t),
            }[suffix]
        )
    with pytest.raises(DataError, match=r"run backwards at event 1 \(100 then 50 µs\)"):
        read_events(file, (128, 128))


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_objects_are_refused_unopened(tmp_path, suffix):
    hostile = np.array([Executes(str(tmp_path / "ran"))], dtype=object)
    if suffix == ".npy":
        np.save(tmp_path / "a.npy", hostile, allow_pickle=True)
    else:
        np.savez(tmp_path / "a.npz", allow_pickle=True, t=hostile, x=[1], y=[1], p=[1])
    with pytest.raises(DataError, match="without executable content"):
        read_events(tmp_path / f"a{suffix}", (34, 34))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".bin", bytes(7), "has 7 bytes of events; expected a multiple of 5"),
        (
            ".dat",
            dat_bytes(T, X, Y, P, "% Version 1\n"),
            "has version 1 in its header; expected .* version 2",
        ),
        (".dat", dat_bytes(T, X, Y, P, "% Date 2020\n"), "no line '% Version 2'"),
        (".dat", dat_bytes(T, X, Y, P, kind=(14, 8)), "events of type 14 with 8 bytes"),
        (".dat", dat_bytes(T, X, Y, P, kind=(12, 16)), "events of type 12 with 16 bytes"),
        (".dat", b"% Version 2", "ends within its header"),
        (".dat", b"% Version 2\n", "states no event type"),
        (".dat", dat_bytes(T, X, Y, P)[:-1], "bytes of events; expected a multiple of 8"),
        (".aedat", b"#!AER-DAT2.0\r\n# no end", "ends within its header"),
        (".aedat", b"#!AER-DAT9.0\r\n", "does not begin with #!AER-DAT and a version from 1 to 4"),
        (".aedat", aedat2_bytes([], []), "holds no event"),
        (".aedat", aedat2_bytes([1], [1])[:-3], "has 5 bytes of events; expected a multiple of 8"),
        (".aedat", AEDAT3, "holds no event"),
        (".aedat", AEDAT3 + bytes(20), "ends within a packet header"),
        (".aedat", AEDAT3 + packet(T, X, Y, P)[:-1], r"ends within a packet \(31 of 32 bytes\)"),
        (".aedat", AEDAT3 + packet(T, X, Y, P, number=9), "states 9 of 4 events of 8 bytes"),
        (".aedat", AEDAT3 + packet(T, X, Y, P, size=0), "events of 0 bytes"),
        (".aedat", AEDAT3 + packet(T, X, Y, P, size=-8), "events of -8 bytes"),
        (".aedat", AEDAT3 + packet(T, X, Y, P, spare=2**20)[:100], "ends within a packet"),
    ],
)
def test_headers_that_lie(tmp_path, suffix, content, message):
    file = write(tmp_path / f"a{suffix}", content)
    with pytest.raises(DataError, match=message) as error:
        read_events(file, (128, 128))
    one_sentence(error, file)


def test_a_stated_size_smaller_than_its_events(tmp_path):
    file = write(
        tmp_path / "a.dat",
        dat_bytes([1], [50], [5], [1], "% Version 2\n% Width 10\n% Height 100\n"),
    )
    with pytest.raises(
        DataError, match="has x from 50 to 50; expected 0 to 9 on a sensor of 10x100"
    ):
        read_events(file)
    file = write(
        tmp_path / "a.dat", dat_bytes([1], [50], [5], [1], "% Version 2\n% Width 0\n% Height 0\n")
    )
    with pytest.raises(DataError, match="expected 0 to -1 on a sensor of 0x0"):
        read_events(file)


def test_hdf5_without_the_arrays(tmp_path):
    with pytest.raises(DataError, match="holds a, b, c, d; expected exactly one of each"):
        read_events(write_h5(tmp_path / "a.h5", "", "abcd"), (34, 34))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events"] = np.zeros((4, 4))
    with pytest.raises(DataError, match=r"table of shape \(4, 4\) without named columns"):
        read_events(tmp_path / "a.h5", (34, 34))
    write_h5(tmp_path / "other.h5", "events")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["events"] = h5py.ExternalLink("other.h5", "/events")
    with pytest.raises(DataError, match="link to another file"):
        read_events(tmp_path / "a.h5", (34, 34))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "txyp":
            file.create_group(name)
    with pytest.raises(DataError, match="holds a group t; expected an array"):
        read_events(tmp_path / "a.h5", (34, 34))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros((100, 3)), r"spiketrain of shape \(100, 3\)"),
        (np.full((101, 3), 0.5), "values other than -1, 0 and 1"),
        (
            np.vstack([np.ones((100, 3)), [[0, np.nan, 1]]]),
            "time stamps that are no finite numbers",
        ),
        (np.vstack([np.ones((100, 3)), [[0, 1, 1e30]]]), "time stamps beyond 64 bits"),
        (np.vstack([np.ones((100, 3)), [[0, 2, 1]]]), "run backwards"),
        (np.zeros((101, 3)), "holds no event"),
    ],
)
def test_spike_trains_that_are_none(tmp_path, table, message):
    scipy.io.savemat(tmp_path / "a.mat", {"spiketrain": table})
    with pytest.raises(DataError, match=message):
        read_events(tmp_path / "a.mat")


def test_unknown_missing_and_odd_paths(tmp_path):
    with pytest.raises(
        DataError, match=r"no kind of event file that is known; expected one of \.bin, \.dat"
    ):
        read_events(tmp_path / "a.avi")
    with pytest.raises(DataError, match="is not there"):
        read_events(tmp_path / "a.bin")
    (tmp_path / "b.bin").mkdir()
    with pytest.raises(DataError, match="is no regular file"):
        read_events(tmp_path / "b.bin")


def test_a_damaged_description_never_reaches_the_library_that_would_abort(shared_data, tmp_path):
    content = bytearray(sample(shared_data, "sample.aedat4").read_bytes())
    content[content.index(b"<node")] = 0xD3
    file = write(tmp_path / "a.aedat4", bytes(content))
    pytest.importorskip("aedat")
    for read in (read_events, stated_sensor):
        with pytest.raises(DataError, match="no sound description of its streams"):
            read(file)


def test_version_4_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aedat", None)
    with pytest.raises(DataError, match=r"needs the package aedat; install it"):
        read_events(write(tmp_path / "a.aedat4", b"#!AER-DAT4.0\r\n" + bytes(50)))


def test_a_tar_file_is_no_recording(tmp_path):
    with tarfile.open(tmp_path / "a.h5", "w") as archive:
        archive.addfile(tarfile.TarInfo("../x"))
    with pytest.raises(DataError, match="cannot be read as an HDF5 file"):
        read_events(tmp_path / "a.h5", (34, 34))
