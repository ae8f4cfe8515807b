"""Streams that go on from where results of an earlier one say that it ended."""

import json

import pytest

ASKED = (
    *("ood", "digits-vgg13-baseline", "--id", "digits", "--limit", "96", "--bootstrap", "100"),
    *("--adapt", "layer", "--protocol", "continual", "--no-cache"),
)


def results(file):
    """The state in which the stream of a file of results ended, layer → c, and accuracy by set."""
    found = json.loads(file.read_text())
    (left,) = [
        one["adaptation_state"]["regulation"]["state"]
        for one in found["provenance"]["checkpoints"]
        if "adaptation_state" in one
    ]
    rows = [row for row in found["rows"] if row["thresholds"] == "layer, continual"]
    return left, {row["ood"]: row["accuracy_ood"] for row in rows}


def test_a_stream_in_two_parts_is_one_stream(command, tmp_path):
    """The ID set and a shift; again from there; and the ID set, the shift and both once more."""
    first, second, other = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    shift = ("--ood", "digits:contrast:3")
    assert command(*ASKED, *shift, "--out", first).code == 0
    again = command(*ASKED, *shift, "--out", second, "--adapt-start", first / "ood.json")
    assert "it begins where an earlier stream ended" in again.out
    assert command(*ASKED, *shift, "--out", other).code == 0
    (left, one), (later, two), (same, _) = (results(f / "ood.json") for f in (first, second, other))
    assert left == same != later
    assert two["digits:contrast:3"] > one["digits:contrast:3"]  # it has had more time to adapt


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (None, (), "cannot read "),
        ("[", (), "holds no results of ahsar-eval"),
        ('{"provenance": {"checkpoints": []}}', (), "says of no stream where it left"),
        ("{}", ("--protocol", "episodic"), "goes on from where a stream ended"),
    ],
)
def test_what_a_stream_cannot_begin_with(command, tmp_path, content, options, said):
    file = tmp_path / "ood.json"
    if content is not None:
        file.write_text(content)
    asked = (*ASKED, "--ood", "digits:contrast:3", "--adapt-start", file, *options)
    found = command(*asked)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert found.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--protocol", "online"), "--protocol says how networks adapt, and none does"),
        (
            ("--adapt-samples", "8", "--set-points", "x.json"),
            "--adapt-samples and --set-points say how networks adapt, and none does",
        ),
        (("--adapt", "layer", "--scale", "0.5"), "was given a scale, which --adapt would undo"),
        (("--adapt", "channel", "--no-replay"), "was given a scale, which --adapt would undo"),
    ],
)
def test_what_is_said_of_nothing_that_adapts_is_refused(command, options, said):
    sets = ("--id", "digits", "--ood", "digits:contrast:3", "--limit", "96")
    found = command("ood", "digits-vgg13-baseline", *sets, *options)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert found.err.count("\n") == 1
