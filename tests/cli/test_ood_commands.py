"""`ood` and `compare` end to end: scores, groups, means, classes, forms, figures, comparisons, and
what is refused.
"""

import csv
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ahsar_eval.data import SETS, Entry
from ahsar_eval.data.given import as_set
from ahsar_eval.networks.checkpoints import load_checkpoint, save_checkpoint
from ahsar_eval.recording import record

SMALL = ["--bootstrap", "100"]


pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


@pytest.fixture
def sets(few_digits):
    """Forty digits; the same turned by five severities, and with less contrast."""
    name = f"npz:{few_digits}"
    return ["--id", name, "--ood", f"{name}:rotation", "--ood", f"{name}:contrast:5", *SMALL]


def json_of(outcome):
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def refused(outcome, words):
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_json_holds_sets_means_and_the_id_set_apart(command, tiny_pair, sets):
    found = json_of(command("ood", *tiny_pair, *sets, "--format", "json"))
    assert [(row["checkpoint"], row["severity"]) for row in found["rows"]] == [
        (name, severity)
        for name in ("small-baseline", "small-ahsar")
        for severity in (1, 2, 3, 4, 5, 5)
    ]
    assert {row["kind"] for row in found["rows"]} == {"set"}
    assert [row["ood"].rpartition(".npz")[2] for row in found["means"]] == [
        ":rotation",
        ", 2 shifts",
    ] * 2
    assert [row["checkpoint"] for row in found["id"]] == ["small-baseline", "small-ahsar"]
    rotated = [row["auroc"] for row in found["rows"][:5]]
    assert found["means"][0]["auroc"] == pytest.approx(np.mean(rotated), abs=1e-12)
    assert found["means"][0]["members"] == 5
    facts = found["provenance"]
    assert (facts["bootstrap_replicates"], facts["tpr"], facts["scores"]) == (
        100,
        0.95,
        ["entropy"],
    )


def test_a_shift_at_several_severities_is_one_line_until_each_is_asked_for(
    command, tiny_pair, sets
):
    short = command("ood", tiny_pair[0], *sets)
    assert (short.code, short.err) == (0, "")
    assert re.search(r"^npz:\S*:rotation:1–5 +200 ", short.out, re.M)
    assert ":rotation:3" not in short.out
    long = command("ood", tiny_pair[0], *sets, "--by", "severity")
    assert all(f":rotation:{severity} " in long.out for severity in range(1, 6))
    assert ":rotation:1–5 " in long.out


def test_by_class_every_class_of_a_set_is_a_line(command, tiny_pair, sets):
    found = json_of(
        command(
            "ood",
            tiny_pair[0],
            *sets[:2],
            "--ood",
            sets[5],
            *SMALL,
            "--by",
            "class",
            "--format",
            "json",
        )
    )
    classes = [row for row in found["rows"] if row["kind"] == "class"]
    assert [row["class"] for row in classes] == [str(digit) for digit in range(10)]
    assert {(row["n_id"], row["n_ood"]) for row in classes} == {(40, 4)}
    assert (
        "class 7"
        in command("ood", tiny_pair[0], *sets[:2], "--ood", sets[5], *SMALL, "--by", "class").out
    )


def test_several_scores_are_read_off_one_pass(command, tiny_pair, sets, monkeypatch):
    made = []

    def counted(net, split, **options):
        made.append(split.name)
        return record(net, split, **options)

    monkeypatch.setattr("ahsar_eval.recording.runner.record", counted)
    done = command(
        "ood", tiny_pair[0], *sets, "--score", "entropy,energy", "--score", "msp", "--no-cache"
    )
    assert done.code == 0
    assert len(made) == 7
    for title in ("predictive entropy", "energy", "MSP"):
        assert f"\n{title}\n" in f"\n{done.out}"
    rows = json_of(
        command("ood", tiny_pair[0], *sets, "--score", "entropy,energy,msp", "--format", "json")
    )["rows"]
    assert [row["score"] for row in rows] == [
        name for name in ("entropy", "energy", "msp") for _ in range(6)
    ]


def test_all_scores_but_odin_and_a_note_for_what_cannot_be_had(command, tiny_pair, sets):
    done = command("ood", tiny_pair[0], *sets, "--score", "all", "--format", "json")
    found = json_of(done)
    assert {row["score"] for row in found["rows"]} == {
        *(
            "entropy",
            "entropy-of-mean-softmax",
            "mean-entropy",
            "mutual-information",
            "msp",
            "max-logit",
            "energy",
            "gen",
        )
    }
    (note,) = [note for note in found["provenance"]["notes"] if "knn" in note]
    assert note.startswith(
        "Left out for small-baseline, knn, mahalanobis, relative-mahalanobis, vim, scp: "
    )
    assert "name a set with --fit" in note
    fitted = json_of(
        command(
            "ood", tiny_pair[0], *sets, "--score", "knn,scp", "--fit", "digits", "--format", "json"
        )
    )
    assert [row["score"] for row in fitted["rows"]] == ["knn"] * 6 + ["scp"] * 6
    (split,) = fitted["provenance"]["checkpoints"][0]["fitted_on"]
    assert (split["name"], split["role"], split["n"]) == ("digits", "train", 1167)


@pytest.fixture
def openood(monkeypatch):
    """Small colour sets under the names of OpenOOD's groups for CIFAR-10, in place of the real
    ones.
    """
    names = ("cifar10", "cifar100", "tiny-imagenet", "mnist", "svhn", "textures", "places365")
    for number, name in enumerate(names):
        drawn = np.random.default_rng(number).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
        made = replace(
            as_set((drawn, np.arange(12) % 10), name),
            role="test",
            classes=tuple(f"{name} {label}" for label in range(10)),
            label_space=name,
            note="drawn",
        )
        monkeypatch.setitem(SETS.own, name, Entry(lambda role, options, made=made: made, "drawn"))  # type: ignore[misc]


def test_near_and_far_stand_apart_with_their_means(command, make_tiny, tmp_path, openood):
    save_checkpoint(make_tiny(input_shape=(3, 32, 32)), tmp_path / "colour.pt")
    arguments = [
        "ood",
        tmp_path / "colour.pt",
        "--id",
        "cifar10",
        "--ood",
        "near",
        "--ood",
        "far",
        "--ood",
        "photo-patches",
        *SMALL,
    ]
    found = json_of(command(*arguments, "--format", "json"))
    assert {row["ood"]: row["group"] for row in found["rows"]} == {
        **dict.fromkeys(("cifar100", "tiny-imagenet"), "near"),
        **dict.fromkeys(("mnist", "svhn", "textures", "places365"), "far"),
        "photo-patches": "",
    }
    assert [(row["ood"], row["members"], row["n_ood"]) for row in found["means"]] == [
        ("near", 2, 24),
        ("far", 4, 48),
    ]
    for mean in found["means"]:
        assert mean["auroc"] == pytest.approx(
            np.mean([row["auroc"] for row in found["rows"] if row["group"] == mean["ood"]]),
            abs=1e-12,
        )
    lines = [line.split()[0] for line in command(*arguments).out.splitlines()[2:] if line.strip()][
        :12
    ]
    assert lines == [
        "near",
        "cifar100",
        "tiny-imagenet",
        "mean",
        "far",
        "mnist",
        "svhn",
        "textures",
        "places365",
        "mean",
        "other",
        "photo-patches",
    ]


def test_at_another_tpr(command, tiny_pair, sets):
    rows = json_of(command("ood", tiny_pair[0], *sets, "--tpr", "0.8", "--format", "json"))["rows"]
    assert {row["tpr"] for row in rows} == {0.8}
    assert "fpr_at_95_tpr" not in rows[0]
    assert "FPR@80TPR" in command("ood", tiny_pair[0], *sets, "--tpr", "0.8").out


def test_every_form_is_written_whole_with_its_provenance(command, tiny_pair, sets, tmp_path):
    out = tmp_path / "results"
    done = command("ood", *tiny_pair, *sets, "--out", out, "--format", "latex")
    assert (done.code, done.err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "ood.csv",
        "ood.json",
        "ood.md",
        "ood.tex",
    ]
    sha = load_checkpoint(tiny_pair[0]).sha256
    identity = json.loads((out / "ood.json").read_text())["provenance"]["checkpoints"][0]["id"][
        "identity"
    ]
    for name in ("ood.md", "ood.tex"):
        text = (out / name).read_text()
        assert sha in text
        assert identity in text
        assert "seed: 0" in text
        assert "Brier" in text  # files hold every metric
    assert "\\toprule" in done.out
    assert "Brier" not in done.out
    lines = list(csv.DictReader(io.StringIO((out / "ood.csv").read_text())))
    assert [line["kind"] for line in lines] == ["set"] * 12 + ["mean"] * 4
    assert "Brier" in command("ood", tiny_pair[0], *sets, "--detail").out


def test_figures_are_written_beside_their_numbers(command, tiny_pair, sets, tmp_path):
    done = command(
        "ood", *tiny_pair, *sets, "--figures", tmp_path / "figures", "--figure-format", "png"
    )
    assert done.code == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {"scores", "roc", "severity", "reliability", "risk-coverage"}
    assert {
        name.rpartition(".")[0].rpartition("-")[0] or name.rpartition(".")[0]
        for name in names
        if name.startswith("risk")
    } == {"risk"}
    assert {f"{stem}.csv" for stem in stems} <= names
    for stem in stems:
        pages = [name for name in names if re.fullmatch(rf"{stem}(-\d+)?\.png", name)]
        assert pages
        for page in pages:
            assert np.asarray(Image.open(tmp_path / "figures" / page)).std() > 1
    assert all(f"wrote {tmp_path / 'figures'}" in line for line in done.err.strip().splitlines())


def test_the_note_on_auroc_that_falls_while_accuracy_rises(command):
    shipped = command("ood", "--id", "digits", "--ood", "digits:gaussian_noise:5", *SMALL)
    words = (
        "More accurate and yet lower in AUROC: digits-vgg13-ahsar than digits-vgg13-baseline "
        "on "
        "digits:gaussian_noise:5."
    )
    assert words in shipped.out
    one = command(
        "ood", "digits-vgg13-ahsar", "--id", "digits", "--ood", "digits:gaussian_noise:5", *SMALL
    )
    assert "More accurate" not in one.out
    same = command(
        "ood",
        "digits-vgg13-ahsar",
        "digits-vgg13-baseline",
        "--id",
        "digits",
        "--ood",
        "digits:gaussian_noise:5",
        *SMALL,
    )
    assert words in same.out  # whichever is named first


# compare


def test_compare_gives_each_difference_its_interval_and_p_value(command, tiny_pair, sets):
    found = json_of(command("compare", *tiny_pair, *sets, "--format", "json"))
    assert (found["a"], found["b"]) == (["small-baseline"], ["small-ahsar"])
    rows = {
        (row["ood"], row["score"]): row
        for name in tiny_pair
        for row in json_of(command("ood", name, *sets, "--format", "json"))["means"]
    }
    (mean,) = [
        each
        for each in found["differences"]
        if (each["ood"].endswith(":rotation"), each["metric"]) == (True, "auroc")
    ]
    assert mean["b"] == rows[mean["ood"], "entropy"]["auroc"]
    assert mean["difference"] == pytest.approx(mean["b"] - mean["a"], abs=1e-12)
    assert mean["method"] == "paired cluster bootstrap"
    assert mean["low"] <= mean["difference"] <= mean["high"]
    assert mean["p_value"] <= mean["p_holm"] <= 1
    assert {each["metric"] for each in found["differences"]} == {
        "auroc",
        "fpr_at_tpr",
        "accuracy",
        "mean_rate",
    }
    assert not [each for each in found["differences"] if each["ood"].endswith(":rotation:3")]
    every = json_of(
        command(
            "compare", *tiny_pair, *sets, "--metric", "all", "--by", "severity", "--format", "json"
        )
    )["differences"]
    assert {"nll", "brier", "ece", "aupr_in", "detection_error"} <= {
        each["metric"] for each in every
    }
    assert [each for each in every if each["ood"].endswith(":rotation:3")]


def test_compare_prints_a_table_and_writes_every_form(command, tiny_pair, sets, tmp_path):
    done = command("compare", *tiny_pair, *sets, "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"B − A +95 % interval +p +p \(Holm\)", done.out)
    assert "what these two networks would show on other images" in done.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"compare.{form}" for form in ("csv", "json", "md", "tex")
    ]


def test_seeds_are_matched_by_what_the_checkpoints_say(command, make_tiny, sets, tmp_path):
    for name, seed, threshold in (("a0", 0, 1.0), ("a1", 1, 0.9), ("b0", 0, 0.8), ("b1", 1, 0.7)):
        made = make_tiny(v_threshold=threshold)
        save_checkpoint(
            replace(made, provenance={**made.provenance, "seed": seed}), tmp_path / f"{name}.pt"
        )
    files = {name: str(tmp_path / f"{name}.pt") for name in ("a0", "a1", "b0", "b1")}
    found = json_of(
        command(
            "compare",
            f"{files['a0']},{files['a1']}",
            f"{files['b1']},{files['b0']}",
            *sets,
            "--format",
            "json",
        )
    )
    assert (found["a"], found["b"]) == (["a0", "a1"], ["b0", "b1"])
    assert "Matched by seed: 0, 1." in found["provenance"]["notes"]
    assert {(each["seeds"], each["method"]) for each in found["differences"]} == {
        (2, "bootstrap over seeds and images")
    }
    assert any("2 seeds say little" in note for note in found["provenance"]["notes"])


def test_copies_of_one_file_are_no_two_seeds(command, tiny_pair, sets, tmp_path):
    for name in ("a0.pt", "a1.pt"):
        (tmp_path / name).write_bytes(tiny_pair[0].read_bytes())
    found = command(
        "compare",
        f"{tmp_path / 'a0.pt'},{tmp_path / 'a1.pt'}",
        f"{tiny_pair[0]},{tiny_pair[1]}",
        *sets,
    )
    refused(
        found, "two checkpoints of one side are the same file; seeds must be trainings of their own"
    )


def test_a_score_that_one_network_cannot_have_is_compared_for_none(command, tiny_pair, sets):
    """The shipped baseline reads all of its hold-out right: no temperature can be fitted there, and
    the AHSAR network has one.
    """
    pair = [
        "compare",
        "digits-vgg13-baseline",
        "digits-vgg13-ahsar",
        "--id",
        "digits",
        "--ood",
        "digits:contrast:5",
        *SMALL,
    ]
    found = json_of(command(*pair, "--score", "all", "--format", "json"))
    scores = {each["score"] for each in found["differences"]}
    assert "msp-temperature" not in scores
    assert {"entropy", "knn", "scp", "vim"} <= scores
    assert any(
        note.startswith("Left out for digits-vgg13-baseline, msp-temperature: ")
        for note in found["provenance"]["notes"]
    )
    had = {
        entry["name"]: "msp-temperature" in entry["scores"]
        for entry in found["provenance"]["checkpoints"]
    }
    assert had == {"digits-vgg13-baseline": False, "digits-vgg13-ahsar": True}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["compare", "digits-vgg13-ahsar,digits-vgg13-baseline", "digits-resnet18-ahsar"],
            "A names 2 checkpoints and B 1; expected as many of each",
        ),
        (
            ["compare", "digits-vgg13-ahsar", "digits-vgg13-ahsar"],
            "the checkpoint digits-vgg13-ahsar was named twice; name it once",
        ),
        (["compare", "digits-vgg13-ahsar", "nowhere.pt"], "nowhere.pt"),
        (
            ["compare", "digits-vgg13-ahsar", "digits-vgg13-baseline", "--metric", "fog"],
            "unknown metric 'fog'; known are auroc, ",
        ),
        (
            ["compare", "digits-vgg13-ahsar", "digits-vgg13-baseline", "--metric", "auroc,auroc"],
            "the metric auroc was named twice",
        ),
        (
            ["compare", "digits-vgg13-ahsar", "digits-vgg13-baseline", "--metric", "all,auroc"],
            "--metric all stands for every metric",
        ),
        (
            [
                "compare",
                "digits-vgg13-ahsar",
                "digits-vgg13-baseline",
                "--metric",
                "relative_corruption_error",
            ],
            "unknown metric 'relative",
        ),
        (
            ["ood", "--fit", "digits"],
            "--fit digits says what scores are fitted on, and none of these is fitted; leave it "
            "out",
        ),
        (
            ["ood", "--score", "knn", "--fit", "photo-patches", "--ood", "photo-patches"],
            "knn must not be fitted on photo-patches",
        ),
        (["ood", "--score", "fog"], "unknown score 'fog'; known are entropy, "),
        (["ood", "--score", "entropy,entropy"], "the score entropy was named twice; name it once"),
        (
            ["ood", "--score", "all,msp"],
            "--score all stands for every score but odin; name no other beside it",
        ),
        (["ood", "--tpr", "95"], "the TPR is 95; expected a number between 0 and 1, such as 0.95"),
        (
            ["ood", "--bootstrap", "10"],
            "10 bootstrap replicates give no interval; expected at least 100",
        ),
        (["ood", "--baseline", "nobody"], "the baseline nobody is none of the checkpoints"),
        (
            ["ood", "--score", "msp-temperature", "--fit", "digits:fog:2"],
            "--fit digits:fog:2 names a shift",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(command, arguments, words):
    refused(command(*arguments, "--id", "digits", "--ood", "digits:contrast:5"), words)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(
    command, tiny_pair, sets, tmp_path
):
    (tmp_path / "file").write_text("")
    for option in ("--out", "--figures"):
        refused(command("ood", tiny_pair[0], *sets, option, tmp_path / "file" / "below"), "file")
