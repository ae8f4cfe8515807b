"""Recordings as text: every separator, header, polarity and unit that tools write, and what cannot be
read without a word of the user.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ahsar_eval.data.events import text
from ahsar_eval.data.events.files import read_events, stated_sensor
from ahsar_eval.data.events.stream import Events
from ahsar_eval.errors import DataError

SENSOR = (34, 34)
ROWS = [(5, 0, 33, 1), (5, 33, 0, 0), (70_000, 7, 8, 1), (8_388_607, 12, 5, 0)]
WANTED = [list(column) for column in zip(*ROWS, strict=True)]


def columns(events: Events) -> list[list[int]]:
    return [events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()]


def lines(separator: str = ",", order: str = "txyp", rows=ROWS, **words) -> str:
    """Rows in an order of columns; `p` maps polarities to words, `t` times, `-` fills others."""
    write = {"t": str, "x": str, "y": str, "p": str} | words
    return "".join(
        separator.join(
            "7" if key == "-" else write[key](dict(zip("txyp", row, strict=True))[key])
            for key in order
        )
        + "\n"
        for row in rows
    )


def signs(p: int) -> str:
    return ("-1", "1")[p]


# Text, order that is stated, unit that is stated
READ = {
    "names": ("t,x,y,p\n" + lines(), "", None),
    "names in another order": ("x,y,p,t\n" + lines(order="xypt"), "", None),
    "long names": ("timestamp,x,y,polarity\n" + lines(), "", None),
    "names in capitals": ("TS;X;Y;POL\n" + lines(";"), "", None),
    "names in quotes": ('"t","x","y","p"\n' + lines(), "", None),
    "names and blanks": ("t, x, y, p\n" + lines(", "), "", None),
    "an index of pandas": (",t,x,y,p\n" + lines(order="-txyp"), "", None),
    "others among them": ("id,x,y,camera,p,t\n" + lines(order="-xy-pt"), "", None),
    "spaces": ("t x y p\n" + lines(" "), "", None),
    "several spaces": ("t   x y  p\n" + "  " + lines("    ").replace("\n", "\n  ").rstrip(), "", None),
    "tabs": ("ts\tx\ty\tpol\n" + lines("\t"), "", None),
    "semicolons": ("t;x;y;p\n" + lines(";"), "", None),
    "commas at the end": ("t,x,y,p,\n" + lines().replace("\n", ",\n"), "", None),
    "stated order": (lines(), "txyp", None),
    "another stated order": (lines(order="xypt"), "xypt", None),
    "a stated order with others": (lines(order="-xy--pt"), "-xy--pt", None),
    "a stated order of the first columns": (lines(order="txyp-"), "txyp", None),
    "foreign names and a stated order": ("a,b,c,d\n" + lines(), "txyp", None),
    "names win over a stated order": ("x,y,p,t\n" + lines(order="xypt"), "txyp", None),
    "comments": ("# recorded\n% in June\n\n// by us\nt,x,y,p\n" + lines(), "", None),
    "names in a comment": ("# a table\n# t x y p\n" + lines(" "), "", None),
    "comments between": ("t,x,y,p\n" + lines().replace("70000", "# a break\n70000"), "", None),
    "comments of % between": ("% a\nt,x,y,p\n" + lines().replace("70000", "% b\n70000"), "", None),
    "CRLF": (("t,x,y,p\n" + lines()).replace("\n", "\r\n"), "", None),
    "blank lines": ("t,x,y,p\n\n" + lines().replace("\n", "\n\n"), "", None),
    "signs": ("t,x,y,p\n" + lines(p=signs), "", None),
    "signs with a plus": ("t,x,y,p\n" + lines(p=lambda p: ("-1", "+1")[p]), "", None),
    "truth values": ("t,x,y,p\n" + lines(p=lambda p: str(bool(p))), "", None),
    "small truth values": ("t,x,y,p\n" + lines(p=lambda p: str(bool(p)).lower()), "", None),
    "on and off": ("t,x,y,p\n" + lines(p=lambda p: ("OFF", "ON")[p]), "", None),
    "truth values without names": (lines(p=lambda p: str(bool(p))), "txyp", None),
    "floats that are whole": ("t,x,y,p\n" + lines(t=lambda t: f"{t:.1f}", p=lambda p: f"{p}.0"), "", None),
    "exponents": ("t,x,y,p\n" + lines(t=lambda t: f"{t:.7e}"), "", None),
    "seconds": ("t x y p\n" + lines(" ", t=lambda t: f"{t / 1e6:.6f}"), "", "s"),
    "seconds in a name": ("t_s,x,y,p\n" + lines(t=lambda t: f"{t / 1e6:.6f}"), "", None),
    "milliseconds": ("t,x,y,p\n" + lines(t=lambda t: f"{t / 1e3:.3f}"), "", "ms"),
    "milliseconds in a name": ("timestamp [ms],x,y,p\n" + lines(t=lambda t: f"{t / 1e3}"), "", "ms"),
    "nanoseconds": ("t,x,y,p\n" + lines(t=lambda t: str(t * 1000)), "", "ns"),
    "microseconds in a name": ("t(us),x,y,p\n" + lines(), "", None),
    "decimal commas": ("t;x;y;p\n" + lines(";", t=lambda t: f"{t / 1e6:.6f}".replace(".", ",")), "", "s"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".TXT"])
@pytest.mark.parametrize("case", READ)
def test_columns_of_text(tmp_path, case, suffix):
    content, order, unit = READ[case]
    (tmp_path / f"a{suffix}").write_bytes(content.encode())
    assert columns(read_events(tmp_path / f"a{suffix}", SENSOR, order, unit)) == WANTED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_encodings_of_editors(tmp_path, encoding):
    content = "# Größe\nt,x,y,p\n" + lines()
    data = content.encode(encoding)
    (tmp_path / "a.csv").write_bytes(data)
    if encoding in ("utf-16-le", "latin-1"):  # no mark; bytes that are no UTF-8
        with pytest.raises(DataError, match=r"is no text|cannot be read as"):
            read_events(tmp_path / "a.csv", SENSOR)
    else:
        assert columns(read_events(tmp_path / "a.csv", SENSOR)) == WANTED


STATED = {
    "rpg_e2vid": ("40 50\n" + lines(" ", t=lambda t: f"{t / 1e6:.9f}"), "txyp", "s"),
    "Metavision": ("%geometry:40,50\n" + lines(order="xypt"), "xypt", None),
    "a comment": ("# geometry 40x50\nt,x,y,p\n" + lines(), "", None),
}


@pytest.mark.parametrize("case", STATED)
def test_a_first_line_that_states_the_sensor(tmp_path, case):
    content, order, unit = STATED[case]
    (tmp_path / "a.txt").write_text(content)
    events = read_events(tmp_path / "a.txt", None, order, unit)
    assert columns(events) == WANTED
    assert (events.height, events.width) == stated_sensor(tmp_path / "a.txt") == (50, 40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(), r"has the first line '5,0,33,1' and no line names them; .* --columns txyp"),
        ("5.0 3\n6.0 4\n", r"has the first line '5\.0 3' and no line names them"),
        ("t,x,y\n1,2,3\n", r"holds t, x, y; expected exactly one of each"),
        ("t,x,y,p,polarity\n1,2,3,1,1\n", "expected exactly one of each"),
        ("t,t_us,x,y,p\n1,1,2,3,1\n", "expected exactly one of each"),
        ("# only a comment\n", "holds no line of columns"),
        ("t,x,y,p\n", "is no table"),
        ("t,x,y,p\n1,1,2,3,1\n2,2,2,3,1\n", "names 4 columns .* and has 5 in the line after it"),
        ("t,x,y,p\n1,2,3,1\n1,2,3\n", "has 'nan' as p of event 2; expected a number"),
        ("t,x,y,p\n1,2,3\n", "names 4 columns .* and has 3 in the line after"),
        ("t,x,y,p\n1,2,3,1\n2,2,,1\n", "has 'nan' as y of event 2; expected a number"),
        ("t,x,y,p\n1,2,3,1\n2,b,3,1\n", "has 'b' as x of event 2; expected a number"),
        ("t,x,y,p\n1,2,3,1\n1,2,3,1,4,5\n", r"is no table \(.*Expected 4 fields in line 2, saw 6\)"),
        ("t,x,y,p\n0.5,2,3,1\n", "values of t that are no whole numbers; .* another unit"),
        ("t,x,y,p\n1,2,3,2\n", "has p from 2 to 2"),
        ("t,x,y,p\n1,40,3,1\n", "has x from 40 to 40; expected 0 to 33 on a sensor of 34x34"),
        ("t,x,y,p\n2,4,3,1\n1,4,3,1\n", "run backwards"),
        ("t,x,y,p\n-1,4,3,1\n1,4,3,1\n", "has t from -1 to 1"),
        ("t,x,y,p\n1e400,4,3,1\n", "no finite numbers|no whole numbers"),
        ("a\0b" * 9, "is no text"),
        ("Dear reader, this is\nno recording.\n", "expected exactly one of each"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_refused_in_one_sentence(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=message) as error:
        read_events(tmp_path / "a.csv", SENSOR)
    assert str(error.value).startswith(str(tmp_path / "a.csv"))
    assert "\n" not in str(error.value)


def test_a_stated_order_that_is_longer_than_a_line(tmp_path):
    (tmp_path / "a.csv").write_text(lines())
    with pytest.raises(DataError, match=r"--columns states 5 columns \(-txyp\)"):
        read_events(tmp_path / "a.csv", SENSOR, "-txyp")


def test_two_units_are_a_contradiction(tmp_path):
    (tmp_path / "a.csv").write_text("t_ms,x,y,p\n1,2,3,1\n")
    with pytest.raises(DataError, match=r"states times in ms; expected s \(--time-unit\)"):
        read_events(tmp_path / "a.csv", SENSOR, "", "s")
    assert read_events(tmp_path / "a.csv", SENSOR, "", "ms").t.tolist() == [1000]


def test_more_lines_than_a_recording_can_have(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MOST_EVENTS", 3)
    monkeypatch.setattr("ahsar_eval.data.events.binary.MOST_EVENTS", 3)
    (tmp_path / "a.csv").write_text("t,x,y,p\n" + lines())
    with pytest.raises(DataError, match="holds 4 events; expected at most 3"):
        read_events(tmp_path / "a.csv", SENSOR)


@given(
    st.lists(
        st.tuples(*(st.integers(0, 2**40), st.integers(0, 33), st.integers(0, 33), st.integers(0, 1))),
        min_size=1,
        max_size=30,
    ).map(sorted),
    st.sampled_from([",", ";", "\t", " "]),
    st.permutations(["t", "x", "y", "p"]),
    st.booleans(),
)  # fmt: skip
def test_what_pandas_writes_is_read(tmp_path_factory, rows, separator, order, index):
    file: Path = tmp_path_factory.getbasetemp() / "written.csv"
    table = pd.DataFrame(rows, columns=list("txyp"))[order]
    table.to_csv(file, sep=separator, index=index and separator != " ")
    assert columns(read_events(file, SENSOR)) == [
        list(column) for column in zip(*rows, strict=True)
    ]


def test_microseconds_survive_in_seconds_since_1970(tmp_path):
    t = 1_700_000_000_000_000 + np.arange(200) * 7
    body = "".join(f"{us // 10**6}.{us % 10**6:06d} 1 2 1\n" for us in t)
    (tmp_path / "a.txt").write_text(body)
    assert read_events(tmp_path / "a.txt", SENSOR, "txyp", "s").t.tolist() == t.tolist()
