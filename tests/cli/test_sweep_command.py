"""`sweep` end to end: every format, files, the sheet, trainings, and what is refused in one
sentence.
"""

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

from ahsar_eval.cli.evaluations import TRAINING_ONLY, seed_values, training_fields
from ahsar_eval.errors import UsageError
from ahsar_eval.training.request import TrainingRequest

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


@pytest.fixture
def digits(few_digits):
    """Forty digits at three scales."""
    return ["--data", f"npz:{few_digits}", "--scales", "0.5,1,2", "--bootstrap", "100"]


def test_a_pair_in_every_form_with_files_and_sheet(command, tiny_pair, digits, tmp_path):
    out = tmp_path / "results"
    found = command(
        "sweep",
        *tiny_pair,
        *digits,
        "--ood",
        "photo-patches",
        "--out",
        out,
        "--figures",
        out,
        "--figure-format",
        "svg",
    )
    assert found.code == 0, found.err
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"sweep.{suffix}" for suffix in ("csv", "json", "md", "tex")),
        "threshold_sweep.csv",
        "threshold_sweep.svg",
    ]
    assert "Threshold sweep on npz:" in found.out
    assert "AUROC, photo-patches" in found.out
    assert "1 (own)" in found.out  # the baseline's
    assert "0.988 (own)" in found.out  # mean of AHSAR's 0.75 to 1.25 over 2, 2, 2, 3 and 1 layers
    assert "0.750–1.250" in found.out
    assert "Layers at the network's own thresholds" not in found.out
    assert "Layers at the network's own thresholds" in (out / "sweep.md").read_text(
        encoding="utf-8"
    )
    content = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    assert [(point["row"], point["checkpoint"], point["scale"]) for point in content["points"]] == [
        ("own", "small-baseline", 1.0),
        ("scale", "small-baseline", 0.5),
        ("scale", "small-baseline", 2.0),
        ("own", "small-ahsar", 0.9875),
        *(("scale", "small-ahsar", scale) for scale in (0.5, 1.0, 2.0)),
    ]
    assert len(content["layers"]) == 7 * 10
    assert content["provenance"]["scales"] == [0.5, 1.0, 2.0]
    rows = list(csv.DictReader(io.StringIO((out / "sweep.csv").read_text(encoding="utf-8"))))
    assert {row["row"] for row in rows} == {"own", "scale", "layer"}
    one = next(row for row in rows if row["row"] == "scale" and row["scale"] == "2.0")
    own = [
        row
        for row in rows
        if row["row"] == "layer" and row["checkpoint"] == "small-baseline" and row["scale"] == "2.0"
    ]
    assert float(one["gate"]) == pytest.approx(
        sum(float(row["gate"]) for row in own) / 10, rel=1e-12
    )
    assert 0 <= float(one["auroc photo-patches"]) <= 1


def test_a_second_call_records_nothing(command, tiny_pair, digits, monkeypatch):
    first = command("sweep", tiny_pair[0], *digits, "--format", "csv")
    assert first.code == 0, first.err

    def never(*arguments, **options):
        raise AssertionError("a pass was made")

    monkeypatch.setattr("ahsar_eval.recording.runner.record", never)
    monkeypatch.setattr("ahsar_eval.evaluation.sweep.measure_gate", never)
    assert command("sweep", tiny_pair[0], *digits, "--format", "csv") == first


@pytest.mark.parametrize("form", ["json", "csv", "markdown", "latex"])
def test_other_forms(command, tiny_pair, digits, form):
    found = command("sweep", tiny_pair[0], *digits, "--format", form, "--detail")
    assert (found.code, found.err) == (0, "")
    assert found.out


def test_trainings_at_each_scale_beside_baseline_and_ahsar(command, tmp_path):
    small = [
        "--width",
        "0.0625",
        "--timesteps",
        "2",
        "--epochs",
        "2",
        "--batch-size",
        "64",
        "--samples",
        "128",
    ]
    wanted = [
        "sweep",
        "--train",
        *small,
        "--scales",
        "0.5,2",
        "--bootstrap",
        "100",
        "--on",
        "validation",
    ]
    found = command(*wanted, "--out", tmp_path, "--figures", tmp_path, "--figure-format", "svg")
    assert found.code == 0, found.err
    assert "training 1 of 4: fixed:0.5, seed 0" in found.err
    assert {path.name for path in (tmp_path / "trainings").glob("*.pt")} == {
        "fixed-0.5-seed0.pt",
        "baseline-seed0.pt",
        "fixed-2-seed0.pt",
        "ahsar-seed0.pt",
    }
    assert "Trained at each scale: vgg13 on digits, bptt, step mode m" in found.out
    assert "1 (baseline)" in found.out
    content = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert {point["checkpoint"] for point in content["points"]} == {"baseline-seed0", "ahsar-seed0"}
    assert {point["role"] for point in content["points"]} == {"validation"}
    assert len(content["trainings"]) == 4 * 2
    assert content["provenance"]["trainings"][0]["samples"] == 128
    sheet = (tmp_path / "threshold_sweep.svg").read_text(encoding="utf-8")
    assert "AHSAR, epoch 2" in sheet
    again = command(*wanted, "--out", tmp_path)
    assert again.code == 0, again.err
    assert "training" not in again.err
    assert again.out.splitlines()[:6] == found.out.splitlines()[:6]
    other = command(*wanted, "--epochs", "3", "--out", tmp_path)
    assert other.code == 2
    assert "was trained with epochs 2, not as asked now" in other.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scales", "0,1"], "different positive numbers"),
        (["--scales", "2:1:0.5"], "whose step divides the range"),
        (["--bootstrap", "10"], "give no interval"),
        (["--profile", "nothing"], "nothing"),
        (
            ["--ood", "photo-patches", "--ood", "photo-patches"],
            "photo-patches was named twice",
        ),
        (["--ood", "nothing"], "nothing"),
        (["--data", "nothing"], "nothing"),
        (["nothing.pt", "--epochs", "3"], "--epochs is of trainings; add --train"),
        (["nothing.pt", "--seeds", "1"], "--seeds is of trainings; add --train"),
        (["--train"], "name the folder with --out"),
        (
            ["nothing.pt", "--train", "--out", "x", "--model", "a:b"],
            "--model is for checkpoints that are there already",
        ),
        (
            ["nothing.pt", "--train", "--out", "x", "--classes", "3"],
            "--classes is for checkpoints that are there already",
        ),
        (
            ["nothing.pt", "--train", "--out", "x", "--input-kind", "a=analog"],
            "--input-kind is for checkpoints that are there already",
        ),
        (["--train", "--out", "x", "--seeds", "0,a"], "expected whole numbers such as 0,1,2"),
        (["--train", "--out", "x", "--seeds", "1,1"], "names a seed twice"),
        (["--train", "--out", "x", "--epochs", "0"], "epochs is 0; expected at least 1"),
        (["--train", "--out", "x", "--data", "photo-patches"], "no labels"),
        (["--train", "--out", "x", "--input-shape", "1,2"], "expected three whole numbers"),
        (["--train", "--out", "x", "--ood", "nothing"], "unknown set 'nothing'"),
        (["--train", "--out", "x", "--ood", "n-mnist:hot_pixels:9"], "severit"),
        (["--train", "--out", "x", "--profile", "nothing"], "nothing"),
        (
            ["--train", "--out", "x", "--scales", "0.50000001,0.50000002"],
            "give scales of at most six digits",
        ),
        (
            ["small.pt", "--train", "--out", "x"],
            "--train makes its own networks, and small.pt was named",
        ),
        (["nothing.pt"], "no checkpoint 'nothing.pt'"),
        (["--on", "elsewhere"], "elsewhere"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(command, arguments, words):
    found = command("sweep", *arguments)
    assert (found.code, found.out) == (2, "")
    assert words in found.err
    assert len(found.err.strip().splitlines()) == 1
    assert not list(Path.cwd().iterdir()), "nothing was trained or written"


def test_a_hold_out_that_is_not_known_is_refused(command, tiny_pair):
    found = command("sweep", tiny_pair[0], "--data", "digits", "--on", "validation")
    assert found.code == 2
    assert "does not say that its training held out these samples" in found.err


def test_options_of_trainings_are_fields_of_a_request():
    fields = {field.name for field in dataclasses.fields(TrainingRequest)}
    assert set(TRAINING_ONLY) <= fields
    given = {"width": 0.25, "batch_size": 32, "timesteps": 2, "scales": "1", "form": "csv"}
    given["input_shape"] = "2,16,16"
    asked = training_fields(given, "digits-dvs")
    assert asked == {
        "width": 0.25,
        "batch_size": 32,
        "timesteps": 2,
        "data": "digits-dvs",
        "input_shape": "2,16,16",
    }
    assert TrainingRequest(**asked).epochs == TrainingRequest().epochs
    assert TrainingRequest(**asked).input_shape == (2, 16, 16)
    assert TrainingRequest(**training_fields({}, "")) == TrainingRequest()
    assert seed_values("3, 1") == (3, 1)
    with pytest.raises(UsageError, match="--seeds is"):
        seed_values("")


def test_help_names_the_papers_scales(command):
    found = command("sweep", "--help")
    assert found.code == 0
    assert "0.1:2:0.05" in found.out
