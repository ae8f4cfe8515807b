"""`monitor` end to end: every format, files and figure; what is kept; what is refused in one
sentence.
"""

import csv
import io
import json
from dataclasses import replace

import pytest

from ahsar_eval.cli.main import cli
from ahsar_eval.data import DataOptions
from ahsar_eval.evaluation.calibration import calibrated
from ahsar_eval.networks.checkpoints import save_checkpoint
from ahsar_eval.recording.runner import Runner

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


@pytest.fixture(scope="module")
def watched(make_tiny, tmp_path_factory):
    """A checkpoint with set points, and one with those beside it that are another's."""
    folder = tmp_path_factory.mktemp("watched")
    checkpoint = make_tiny()
    points = calibrated(Runner(checkpoint), "digits", DataOptions())
    save_checkpoint(replace(checkpoint, set_points=points), folder / "tiny.pt")
    save_checkpoint(checkpoint, folder / "bare.pt")
    replace(points, network="another").save(folder / "others.json")
    return folder


@pytest.fixture
def asked(few_digits):
    """Twelve digits in batches of three against photographs."""
    words = ["--id", f"npz:{few_digits}", "--ood", "photo-patches", "--limit", "12"]
    return [*words, "--batch", "3,2", "--draws", "4", "--bootstrap", "100"]


def test_files_and_figure_in_every_form(command, watched, asked, tmp_path):
    out = tmp_path / "results"
    more = ["--false-alarms", "0.1", "--out", out, "--figures", out, "--figure-format", "svg"]
    found = command("monitor", watched / "tiny.pt", *asked, *more)
    assert found.code == 0, found.err
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"monitor.{suffix}" for suffix in ("csv", "json", "md", "svg", "tex")),
    ]
    content = json.loads((out / "monitor.json").read_text(encoding="utf-8"))
    assert [row["batch"] for row in content["rows"]] == [2, 3]
    assert content["provenance"]["checkpoints"][0]["set_points"]["name"] == "digits"
    assert "Batches that raise an alarm, tiny" in found.out


def test_the_table_of_a_terminal(command, watched, asked, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    found = command("monitor", watched / "tiny.pt", *asked)
    assert (found.code, found.err) == (0, "")
    assert max(map(len, found.out.splitlines())) <= 80
    assert "photo-patches" in found.out


def test_a_second_call_runs_nothing_and_other_set_points_do(
    command, watched, asked, monkeypatch, tmp_path
):
    first = command("monitor", watched / "tiny.pt", *asked, "--format", "csv")
    assert first.code == 0, first.err
    rows = list(csv.DictReader(io.StringIO(first.out)))
    assert [(row["kind"], row["batch"]) for row in rows] == [
        *(("set", "2"), ("set", "3"), ("id", "2"), ("id", "3")),
    ]

    def never(*arguments, **options):
        raise AssertionError("a pass was made")

    monkeypatch.setattr("ahsar_eval.evaluation.monitor.watch", never)
    assert command("monitor", watched / "tiny.pt", *asked, "--format", "csv") == first
    other = tmp_path / "other.json"
    data = json.loads((watched / "others.json").read_text(encoding="utf-8"))
    own = calibrated_network(watched)
    layer = next(iter(data["layers"].values()))
    layer["layer_rate"] += 0.1
    other.write_text(json.dumps({**data, "network": own}), encoding="utf-8")
    with pytest.raises(AssertionError, match="a pass was made"):
        command("monitor", watched / "tiny.pt", *asked, "--set-points", other)


def calibrated_network(folder) -> str:
    from ahsar_eval.networks.checkpoints import load_checkpoint

    return load_checkpoint(folder / "tiny.pt").identity


@pytest.mark.parametrize(
    ("network", "more", "words"),
    [
        ("bare.pt", [], "bare has no set points"),
        ("tiny.pt", ["--set-points", "others.json"], "set points of another network than tiny"),
        ("tiny.pt", ["--set-points", "none.json"], "cannot read"),
        ("tiny.pt", ["--batch", "9"], "gives 1 batch of 9 samples (it has 12"),
        ("tiny.pt", ["--batch", "0"], "expected different whole numbers of samples"),
        ("tiny.pt", ["--false-alarms", "2"], "expected a rate between 0 and 1"),
        ("tiny.pt", ["--draws", "1"], "--draws"),
        ("tiny.pt", ["--ood", "photo-patches"], "photo-patches was named twice"),
    ],
)
def test_refused_in_one_sentence(command, watched, asked, network, more, words):
    more = [str(watched / word) if word.endswith(".json") else word for word in more]
    found = command("monitor", watched / network, *asked, *more)
    assert (found.code, found.out) == (2, "")
    assert words in found.err
    assert len(found.err.splitlines()) == 1


def test_without_an_ood_set(command, watched, few_digits):
    found = command("monitor", watched / "tiny.pt", "--id", f"npz:{few_digits}")
    assert found.code == 2
    assert "no OOD set was named; give at least one with --ood" in found.err


def test_a_scale_is_no_option():
    flags = {flag for parameter in cli.commands["monitor"].params for flag in parameter.opts}
    assert {"--set-points", "--batch", "--threads"} <= flags
    assert not {"--scale", "--no-replay"} & flags
