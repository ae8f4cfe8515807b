"""Prophesee's .raw in EVT 2.0, 2.1 and 3.0: words by hand, streams against expelliarmus, what is no
event of a pixel, clocks that go round, and headers.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.data.events import binary
from ahsar_eval.data.events.files import read_events, stated_sensor
from ahsar_eval.data.events.stream import Events
from ahsar_eval.errors import DataError

HEADERS = {
    "EVT2": b"% evt 2.0\n% format EVT2;height=720;width=1280\n% end\n",
    "EVT21": b"% evt 2.1\n% format EVT21;height=720;width=1280;endianness=legacy\n% end\n",
    "EVT3": b"% evt 3.0\n% format EVT3;height=720;width=1280\n% end\n",
}


# Writers, from the documents of the formats


def word2(kind: int, low: int = 0, x: int = 0, y: int = 0) -> int:
    return kind << 28 | low << 22 | x << 11 | y


def high2(time: int) -> int:
    return 8 << 28 | (time >> 6) & 0xFFFFFFF


def evt2(*words: int) -> bytes:
    return HEADERS["EVT2"] + struct.pack(f"<{len(words)}I", *words)


def evt21(*words: tuple[int, int], order: str = "legacy") -> bytes:
    """Pairs of an upper and a lower half."""
    pack = {
        "legacy": lambda pair: struct.pack("<II", *pair),
        "little": lambda pair: struct.pack("<Q", pair[0] << 32 | pair[1]),
        "big": lambda pair: struct.pack(">Q", pair[0] << 32 | pair[1]),
    }[order]
    header = HEADERS["EVT21"].replace(b"legacy", order.encode())
    return header + b"".join(map(pack, words))


def evt3(*words: tuple[int, int]) -> bytes:
    return HEADERS["EVT3"] + b"".join(
        struct.pack("<H", kind << 12 | value) for kind, value in words
    )


def stream2(rows) -> bytes:
    words, high = [], None
    for t, x, y, p in rows:
        if t >> 6 != high:
            high = t >> 6
            words.append(high2(t))
        words.append(word2(p, t & 63, x, y))
    return evt2(*words)


def stream21(rows, order: str) -> bytes:
    """Neighbours of one time, row and polarity share a word."""
    words: list[tuple[int, int]] = []
    high, last = None, None
    for t, x, y, p in rows:
        if t >> 6 != high:
            high = t >> 6
            words.append((high2(t), 0))
            last = None
        if (
            last is not None
            and last[:3] == (t, y, p)
            and 0 < x - last[4] < 32 - (last[4] - last[3])
        ):
            head, mask = words[-1]
            words[-1] = (head, mask | 1 << x - last[3])
            last = (*last[:4], x)
        else:
            words.append((word2(p, t & 63, x, y), 1))
            last = (t, y, p, x, x)
    return evt21(*words, order=order)


def stream3(rows, vectors: bool) -> bytes:
    """Words only for what changes; with `vectors` neighbours of one time, row and polarity share
    one of 12 and one of 8.
    """
    words: list[tuple[int, int]] = []
    high, low, row, i = -1, -1, -1, 0
    while i < len(rows):
        t, x, y, p = rows[i]
        if t >> 12 != high:
            high, low = t >> 12, -1
            words.append((8, high & 0xFFF))
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append((6, low))
        if y != row:
            row = y
            words.append((0, y))
        count = 1
        while vectors and i + count < len(rows):
            u, a, b, q = rows[i + count]
            if (u, b, q) != (t, y, p) or not rows[i + count - 1][1] < a < x + 20:
                break
            count += 1
        if count == 1:
            words.append((2, p << 11 | x))
        else:
            bits = sum(1 << a - x for _, a, _, _ in rows[i : i + count])
            words += [(3, p << 11 | x), (4, bits & 0xFFF), (5, bits >> 12)]
        i += count
    return evt3(*words)


def columns(events: Events) -> list[list[int]]:
    return [events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()]


def read(tmp_path: Path, content: bytes) -> Events:
    (tmp_path / "a.raw").write_bytes(content)
    return read_events(tmp_path / "a.raw")


# By hand


def test_words_of_evt_2(tmp_path):
    events = read(
        tmp_path, evt2(high2(64), word2(1, 3, 1279, 719), high2(6400), word2(0, 63, 2, 5))
    )
    assert columns(events) == [[67, 6463], [1279, 2], [719, 5], [1, 0]]
    assert (events.height, events.width) == stated_sensor(tmp_path / "a.raw") == (720, 1280)
    assert events.skipped == {}


@pytest.mark.parametrize("order", ["legacy", "little", "big"])
def test_words_of_evt_2_1_hold_up_to_32_pixels(tmp_path, order):
    words = (high2(64), 0), (word2(1, 1, 100, 7), 1 << 31 | 0b101), (word2(0, 2, 9, 8), 1)
    assert columns(read(tmp_path, evt21(*words, order=order))) == [
        [65, 65, 65, 66],
        [100, 102, 131, 9],
        [7, 7, 7, 8],
        [1, 1, 1, 0],
    ]


def test_words_of_evt_3(tmp_path):
    content = evt3(
        *[(8, 1), (6, 10), (0, 5), (2, 8), (2, 1 << 11 | 9)],  # a time, a row, two events
        *[(0, 6), (3, 1 << 11 | 100), (4, 0b101), (4, 1 << 11), (5, 1 << 7 | 1), (5, 2)],
        *[(2, 7), (5, 1)],  # a single event leaves the base of vectors alone
    )
    assert columns(read(tmp_path, content)) == [
        [4106] * 10,
        [8, 9, 100, 102, 123, 124, 131, 133, 7, 140],
        [5, 5, 6, 6, 6, 6, 6, 6, 6, 6],
        [0, 1, 1, 1, 1, 1, 1, 1, 0, 1],
    ]


def test_a_new_high_part_of_evt_3_is_no_time_with_the_old_low_part(tmp_path):
    content = evt3(
        (8, 1), (6, 4095), (0, 0), (2, 1), (8, 1), (2, 2), (8, 2), (2, 3), (6, 5), (2, 4)
    )
    assert columns(read(tmp_path, content))[0] == [8191, 8191, 8192, 8197]


def test_a_low_part_that_is_corrected_before_an_event_is_no_round(tmp_path):
    """As real recordings of the IMX636 have it each millisecond."""
    content = evt3((8, 1), (6, 799), (0, 0), (2, 1), (8, 1), (6, 811), (6, 800), (2, 1))
    assert columns(read(tmp_path, content))[0] == [4096 + 799, 4096 + 800]


SKIPPED = {
    "EVT2": (
        evt2(word2(1, 1, 1, 1), high2(0), 10 << 28, word2(1), 14 << 28, 15 << 28, 15 << 28),
        {"events before the first time": 1, "external triggers": 1, "words of other uses": 1}
        | {"continuations": 2},
    ),
    "EVT2 unknown": (evt2(high2(0), word2(0), 5 << 28), {"unknown words": 1}),
    "EVT21": (
        evt21((word2(1), 7), (high2(0), 0), (10 << 28, 5), (word2(0), 1), (15 << 28, 0)),
        {"events before the first time": 3, "external triggers": 1, "continuations": 1},
    ),
    "EVT3": (
        evt3(
            (2, 5),
            (8, 0),
            (6, 0),
            (2, 5),
            (0, 1),
            (4, 3),
            (10, 1),
            (7, 1),
            (15, 2),
            (14, 3),
            (2, 1),
        ),
        {"events before the first time": 4, "external triggers": 1, "continuations": 2}
        | {"words of other uses": 1},
    ),
    "EVT3 unknown": (evt3((8, 0), (0, 1), (2, 1), (13, 1)), {"unknown words": 1}),
}


@pytest.mark.parametrize("case", SKIPPED)
def test_what_is_no_event_of_a_pixel_is_counted(tmp_path, case):
    content, skipped = SKIPPED[case]
    events = read(tmp_path, content)
    assert (len(events), dict(events.skipped)) == (1, skipped)


ROUND = {
    "EVT2": (evt2(high2(2**34 - 64), word2(1, 63), high2(0), word2(1, 1)), 2**34, 1),
    "EVT21": (
        evt21((high2(2**34 - 64), 0), (word2(1, 63), 1), (high2(64), 0), (word2(1, 1), 1)),
        2**34,
        65,
    ),
    "EVT3": (
        evt3((8, 4095), (6, 4095), (0, 0), (2, 0), (8, 0), (6, 1), (2, 0)),
        2**24,
        1,
    ),
    "EVT3 without the last high part": (
        evt3((8, 4000), (6, 4095), (0, 0), (2, 0), (8, 3), (6, 1), (2, 0)),
        2**24,
        3 * 4096 + 1,
    ),
}


@pytest.mark.parametrize("case", ROUND)
def test_a_clock_that_goes_round(tmp_path, case):
    content, period, later = ROUND[case]
    first, second = read(tmp_path, content).t.tolist()
    assert second == period + later
    assert first < period


def test_a_clock_that_goes_round_twice(tmp_path):
    words = [word for high in (1, 4090) * 3 for word in ((8, high), (6, 0), (0, 0), (2, 0))]
    t = read(tmp_path, evt3(*words)).t.tolist()
    assert t == [loop * 2**24 + high * 4096 for loop in range(3) for high in (1, 4090)]


def test_time_that_falls_a_little_is_no_round(tmp_path):
    with pytest.raises(DataError, match=r"run backwards at event 1 \(640 then 192 µs\)"):
        read(tmp_path, evt2(high2(640), word2(1), high2(192), word2(1)))
    with pytest.raises(DataError, match=r"run backwards at event 1 \(8192 then 4096 µs\)"):
        read(tmp_path, evt3((8, 2), (0, 0), (2, 0), (8, 1), (2, 0)))


# Against expelliarmus

ROWS = st.lists(
    st.tuples(st.integers(0, 2**26), st.integers(0, 1279), st.integers(0, 719), st.integers(0, 1)),
    min_size=1,
    max_size=60,
).map(sorted)
BURSTS = st.lists(
    st.tuples(
        st.integers(0, 2**23),
        st.lists(st.integers(0, 1200), min_size=1, max_size=4),
        st.integers(0, 719),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=20,
).map(
    lambda bursts: sorted(
        {(t, x + step, y, p) for t, xs, y, p in bursts for x in xs for step in (0, 1, 3, 13)}
    )
)


def both(tmp_path: Path, content: bytes, encoding: str) -> tuple[Events, list[list[int]]]:
    from expelliarmus import Wizard  # type: ignore[import-untyped]

    events = read(tmp_path, content)
    theirs = Wizard(encoding=encoding).read(str(tmp_path / "a.raw"))
    return events, [theirs[letter].astype(int).tolist() for letter in "txyp"]


@given(ROWS)
def test_evt_2_agrees_with_expelliarmus(tmp_path_factory, rows):
    events, theirs = both(tmp_path_factory.getbasetemp(), stream2(rows), "evt2")
    assert columns(events) == theirs == [list(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("vectors", [False, True])
@given(ROWS | BURSTS)
def test_evt_3_agrees_with_expelliarmus(tmp_path_factory, vectors, rows):
    """On streams whose low part of time never falls: a fall is one more round to expelliarmus, even
    beside a new high part, so that it takes 4096 after 4095 for 8192.
    """
    low = np.maximum.accumulate([t & 0xFFF for t, *_ in rows])
    high = np.array([t >> 12 for t, *_ in rows]) % 2048
    rows = [(int(t), *row[1:]) for t, row in zip(np.sort(high) << 12 | low, rows, strict=True)]
    content = stream3(rows, vectors)
    events, theirs = both(tmp_path_factory.getbasetemp(), content, "evt3")
    assert columns(events) == theirs == [list(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("vectors", [False, True])
@given(ROWS | BURSTS)
def test_evt_3_gives_what_was_written(tmp_path_factory, vectors, rows):
    """Gaps of half a round of its clock of 17 s cannot be told from a step back."""
    kept = [rows[0]]
    for t, *row in rows[1:]:
        if t - kept[-1][0] < 2**23:
            kept.append((t, *row))
    events = read(tmp_path_factory.getbasetemp(), stream3(kept, vectors))
    start = kept[0][0] >> 24 << 24  # rounds before the first event are not seen
    assert columns(events)[0] == [t - start for t, *_ in kept]
    assert columns(events)[1:] == [list(column) for column in zip(*kept, strict=True)][1:]


@pytest.mark.parametrize("order", ["legacy", "little", "big"])
@given(ROWS | BURSTS)
def test_evt_2_1_holds_the_events_of_evt_2(tmp_path_factory, order, rows):
    """expelliarmus knows no EVT 2.1: its words are those of EVT 2.0 with a mask."""
    place = tmp_path_factory.getbasetemp()
    whole, theirs = both(place, stream2(rows), "evt2")
    assert columns(read(place, stream21(rows, order))) == columns(whole) == theirs


@pytest.mark.parametrize("encoding", ["evt2", "evt3"])
def test_what_expelliarmus_writes_is_read(tmp_path, encoding):
    from expelliarmus import Wizard

    draw = np.random.default_rng(5)
    table = np.zeros(5000, [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])
    # It writes no new high part of EVT 3.0 where only that changes.
    table["t"] = np.sort(draw.integers(0, 3_000_000 if encoding == "evt2" else 4096, 5000))
    table["x"], table["y"] = draw.integers(0, 1280, 5000), draw.integers(0, 720, 5000)
    table["p"] = draw.integers(0, 2, 5000)
    Wizard(encoding=encoding).save(str(tmp_path / "a.raw"), table)
    events = read_events(tmp_path / "a.raw", (720, 1280))
    assert columns(events) == [table[letter].tolist() for letter in "txyp"]
    Wizard(encoding=encoding).cut(
        fpath_in=str(tmp_path / "a.raw"), fpath_out=str(tmp_path / "b.raw"), new_duration=500
    )
    cut = read_events(tmp_path / "b.raw", (720, 1280))
    theirs = Wizard(encoding=encoding).read(str(tmp_path / "b.raw"))
    assert columns(cut) == [theirs[letter].tolist() for letter in "txyp"]
    assert 0 < len(cut) < 5000


# Headers

BODY = struct.pack("<II", high2(0), word2(1, 1, 5, 6))
STATED = {
    "format": ("% format EVT2;height=20;width=30\n", (20, 30)),
    "format in another order": ("% format EVT2;width=30;height=20\n", (20, 30)),
    "geometry": ("% evt 2.0\n% geometry 30x20\n", (20, 30)),
    "width and height": ("% evt 2\n% height 20\n% width 30\n", (20, 30)),
    "geometry and end": ("% evt 2.0\n% geometry 30x20\n% end\n", (20, 30)),
    "CRLF": ("% evt 2.0\r\n% geometry 30x20\r\n% end\r\n", (20, 30)),
    "date and blanks": ("% Date 2024-01-01 10:00:00 \n% evt 2.0 \n% geometry 30x20 \n", (20, 30)),
    "nothing": ("% evt 2.0\n% end\n", None),
    "nonsense": ("% evt 2.0\n% geometry 0x0\n% width -3\n", None),
    "format and evt": ("% evt 2.0\n% format EVT2;height=20;width=30\n", (20, 30)),
}


@pytest.mark.parametrize("case", STATED)
def test_a_header_states_the_sensor_or_not(tmp_path, case):
    header, sensor = STATED[case]
    (tmp_path / "a.raw").write_bytes(header.encode() + BODY)
    assert stated_sensor(tmp_path / "a.raw") == sensor
    assert columns(read_events(tmp_path / "a.raw", (20, 30))) == [[1], [5], [6], [1]]


def test_events_that_begin_like_a_line_of_the_header_are_events(tmp_path):
    header = b"% evt 3.0\n% geometry 2048x2048\n"
    words = [(2, 0x025), (8, 0), (6, 0), (0, 1), (2, 5)]
    body = b"".join(struct.pack("<H", kind << 12 | value) for kind, value in words)
    assert body[:2] == b"% "
    events = read(tmp_path, header + body)
    assert columns(events) == [[0], [5], [1], [0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"% evt 4.0\n% end\n" + BODY, "states 4.0 in its header; expected EVT2, EVT21 or EVT3"),
        (b"% format HISTO3D;height=1;width=1\n% end\n", "states HISTO3D in its header"),
        (b"% evt 3.0\n% format EVT2\n% end\n" + BODY, "states EVT2 and EVT3 in its header"),
        (b"% date 2020\n% end\n" + BODY, r"states no encoding \(evt or format\)"),
        (b"not a header" + BODY, "does not begin with a line of '% '"),
        (b"% evt 2.0", "ends within its header"),
        (evt2(high2(0), word2(0))[:-1], "has 7 bytes of events; expected a multiple of 4"),
        (
            evt21((high2(0), 0), (word2(0), 1))[:-4],
            "has 12 bytes of events; expected a multiple of 8",
        ),
        (evt2(high2(0)), "holds no event"),
        (evt2(high2(0), word2(1, 0, 1500, 5)), "has x from 1500 to 1500; expected 0 to 1279"),
        (
            HEADERS["EVT2"] + evt3(*[(2, 1)] * 20)[len(HEADERS["EVT3"]) :],
            "words of no type of its enc",
        ),
        (evt21((high2(0), 0)).replace(b"legacy", b"middle"), "states the byte order 'middle'"),
        (
            evt21((word2(0), 1), (high2(0), 0)).replace(b";endianness=legacy", b""),
            "does not state the byte order of its EVT 2.1",
        ),
    ],
)
def test_what_is_no_raw_is_refused_in_one_sentence(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, content)
    assert str(tmp_path / "a.raw") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("order", ["legacy", "little"])
def test_a_first_time_tells_the_order_of_halves_where_the_header_does_not(tmp_path, order):
    content = evt21((high2(64), 0), (word2(1, 0, 5, 6), 3), order=order)
    content = content.replace(f";endianness={order}".encode(), b"")
    assert columns(read(tmp_path, content)) == [[64, 64], [5, 6], [6, 6], [1, 1]]


def test_more_events_than_a_recording_can_have_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(binary, "MOST_EVENTS", 3)
    content = evt21((high2(0), 0), (word2(1), 0b111))
    assert len(read(tmp_path, content)) == 3
    with pytest.raises(DataError, match="holds 4 events; expected at most 3 of one recording"):
        read(tmp_path, content + struct.pack("<II", word2(1), 1))


@pytest.mark.every
@settings(max_examples=3000)
@given(st.binary(max_size=400), st.sampled_from(sorted(HEADERS)))
def test_any_words_are_events_or_refused(tmp_path_factory, body, encoding):
    try:
        events = read(tmp_path_factory.getbasetemp(), HEADERS[encoding] + body)
    except DataError:
        return
    assert len(events) > 0
