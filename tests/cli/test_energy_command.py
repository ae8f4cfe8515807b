"""`energy` end to end: choices, profiles, shifts, threshold scales, other counters, files, figures,
and what is refused.
"""

import csv
import io
import json
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ahsar_eval.energy import conventions
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.profiles import PROFILES
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.energy import frame_notes, pairs_of, shift_names
from ahsar_eval.evaluation.requests import CONVENTIONS, EnergyRequest, scale_values
from ahsar_eval.recording import record

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


@pytest.fixture
def digits(few_digits):
    """Forty digits, as --data."""
    return ["--data", f"npz:{few_digits}"]


@pytest.fixture
def passes(monkeypatch):
    """Every pass a command makes, by the split's name without its path."""
    made = []

    def counted(net, split, **options):
        made.append(split.name.rpartition(".npz")[2])
        return record(net, split, **options)

    monkeypatch.setattr("ahsar_eval.recording.runner.record", counted)
    return made


def json_of(outcome):
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def test_the_options_offer_what_there_is():
    assert all(field.default == field.metadata["choices"][0] for field in fields(Choices))
    assert set(CONVENTIONS) == set(conventions.CONVENTIONS)
    assert CONVENTIONS[0] == conventions.REFERENCE == "ahsar-eval"
    asked = EnergyRequest.__dataclass_fields__["conventions"].metadata["help"]
    assert asked.endswith(f"{', '.join(CONVENTIONS)}; or all.")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1", (1.0,)),
        ("2,0.5, 1", (0.5, 1.0, 2.0)),
        ("0.5:2:0.25", (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)),
        ("0.1:0.7:0.1", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),  # no 0.30000000000000004
        ("1:1:0.5", (1.0,)),
    ],
)
def test_scales_as_a_list_or_a_range_with_both_ends(text, values):
    assert scale_values(text) == values


@pytest.mark.parametrize(
    "text",
    [
        *("", "a,b", "0.5:2", "0.5:2:0.25:1", "0.5:2,3", "0,1", "nan", "inf", "1:inf:1"),
        *("-1:1:0.5", "-2:-1:0.5", "1:2:0", "2:1:0.5", "0.5:2:0.4", "0.001:1:0.001", "1:101:1"),
        *("1:1e999999:1", "1,0.5,1.0", "1e-400,1", "1e400", "nan:1:1", "snan", "1,-1"),
    ],
)
def test_scales_that_cannot_be_are_refused(text):
    with pytest.raises(UsageError) as caught:
        scale_values(text)
    expected = "expected at most 100 different positive numbers, such as 0.5,1,2, or LOW:HIGH:STEP"
    assert f"--scales is {text!r}; {expected}" in str(caught.value)


def test_shifts_stand_between_commas_and_a_path_keeps_its_own():
    assert shift_names("contrast, fog:3") == ["contrast", "fog:3"]
    assert shift_names("npz:a,b.npz:fog") == ["npz:a,b.npz:fog"]


def test_pairs_to_explain():
    assert pairs_of(None, ("syops",)) == []
    assert pairs_of("all", ()) == [("ahsar-eval", name) for name in CONVENTIONS[1:]]
    assert pairs_of("all", ("ahsar-eval", "syops")) == [("ahsar-eval", "syops")]
    assert pairs_of("neurobench:spikingjelly", ()) == [("neurobench", "spikingjelly")]


def test_a_plain_call_keeps_its_form_and_makes_one_pass(command, tiny_pair, digits, passes):
    found = json_of(command("energy", tiny_pair[0], *digits, "--format", "json", "--no-cache"))
    assert passes == [""]
    assert found["total_energy_pj"] == pytest.approx(
        sum(
            part["energy_pj"] or 0
            for part in (*found["layers"], *found["neurons"], *found["operators"])
        ),
        rel=1e-9,
    )
    assert found["choices"] == vars(Choices())
    assert found["provenance"]["checkpoints"][0]["data"]["n"] == 40
    rows = list(
        csv.DictReader(io.StringIO(command("energy", tiny_pair[0], *digits, "--format", "csv").out))
    )
    assert [row["layer"] for row in rows if row["row"] == "layer"] == [
        layer["name"] for layer in found["layers"]
    ]


def test_choices_change_the_number_and_are_named(command, tiny_pair, digits):
    plain, other = (
        json_of(command("energy", tiny_pair[0], *digits, "--format", "json", *more))
        for more in ([], ["--first-layer", "every-step", "--batch-norm", "counted"])
    )
    assert other["total_macs"] == 2 * plain["total_macs"]  # two steps
    assert other["choices"]["first_layer"] == "every-step"
    assert "normalisation" in {part["part"] for part in other["parts"]} - {
        part["part"] for part in plain["parts"]
    }
    said = command("energy", tiny_pair[0], *digits, "--first-layer", "every-step").out
    assert "Choices: first layer every-step, MACs dense" in said
    refused = command("energy", tiny_pair[0], *digits, "--macs", "some")
    assert (refused.code, refused.out) == (2, "")


def test_frames_of_events_say_how_they_were_charged(command, digits, tiny_pair):
    refused = command(
        "energy", "digits-dvs-vgg13-baseline", "--data", "digits-dvs", "--event-frames", "replayed"
    )
    assert (refused.code, refused.out) == (2, "")
    assert (
        "the frames that features.conv1_1 receives are no whole counts of events in every sample"
        in refused.err
    )
    refused = command("energy", tiny_pair[0], *digits, "--event-frames", "replayed")
    assert (refused.code, refused.out) == (2, "")
    assert "--event-frames replayed is for event recordings, and npz:" in refused.err
    events: Any = SimpleNamespace(modality="events")
    for choice, words in (
        ("analog", "Frames of events: analog, for frames hold event counts"),
        ("replayed", "Frames of events: replayed, for a count"),
    ):
        (note,) = frame_notes([events], Choices(event_frames=choice))
        assert note.startswith(words)
    assert "Frames of events" not in command("energy", tiny_pair[0], *digits).out


def test_several_profiles_make_one_pass(command, tiny_pair, digits, passes, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\nunit = "pJ"\nnode = "7 nm"\nnumber_format = "int4"\nincludes = "all"\n'
        'obtained = "measured"\n'
        'source = "a thesis"\nac_pj = 2.0\nmac_pj = 3.0\nadd_pj = 0\nmultiply_pj = 0\ncompare_pj = '
        "0\nwrite_pj = 0\n"
    )
    options = [part for name in ("45nm-int8", "loihi", file) for part in ("--profile", name)]
    found = json_of(
        command("energy", tiny_pair[0], *digits, *options, "--format", "json", "--no-cache")
    )
    assert passes == [""]
    assert [one["profile"] for one in found] == ["45nm-int8", "loihi", "mine"]
    assert found[2]["total_energy_pj"] == pytest.approx(
        2 * found[2]["total_acs"] + 3 * found[2]["total_macs"]
    )
    assert found[1]["unpriced"]
    table = command("energy", tiny_pair[0], *digits, "--profile", "loihi").out
    assert "Not priced by loihi" in table


def test_every_shipped_profile_gives_a_table(command, tiny_pair, digits):
    options = [part for name in PROFILES for part in ("--profile", name)]
    done = command("energy", tiny_pair[0], *digits, *options, "--detail")
    assert (done.code, done.err) == (0, "")
    assert all(f"n = 40), {name}" in done.out for name in PROFILES)
    assert "published break-even points" in done.out
    assert "published break-even points" not in command("energy", tiny_pair[0], *digits).out


def test_shifts_scales_conventions_and_ledgers_in_one_json(
    command, tiny_pair, digits, passes, tmp_path
):
    asked = [
        "--shift",
        "contrast:5",
        "--shift",
        "rotation:1",
        "--scales",
        "0.5,1",
        "--convention",
        "neurobench",
        "--explain",
    ]
    cache = ["--cache", tmp_path / "cache", "--out", tmp_path / "out"]
    found = json_of(command("energy", *tiny_pair, *digits, *asked, *cache, "--format", "json"))
    # The baseline's own thresholds are scale 1; the controller's are no single scale.
    assert passes == [
        "",
        ":contrast:5",
        ":rotation:1",
        "",
        "",
        ":contrast:5",
        ":rotation:1",
        "",
        "",
    ]
    assert len(found["results"]) == 2
    assert [(one["checkpoint"], one["shift"], one["members"]) for one in found["shifts"]] == [
        (name, shift, members)
        for name in ("small-baseline", "small-ahsar")
        for shift, members in (("contrast", 1), ("rotation", 1), (None, 2))
    ]
    assert {one["quantity"] for one in found["contrasts"]} == {
        "energy_pj",
        "synops",
        "rate",
        "accuracy",
    }
    assert [(one["checkpoint"], one["scale"], one["own"]) for one in found["scales"]] == [
        *[("small-baseline", 0.5, False), ("small-baseline", 1.0, True)],
        *[("small-ahsar", 0.5, False), ("small-ahsar", 1.0, False), ("small-ahsar", None, True)],
    ]
    assert [(one["checkpoint"], one["convention"]) for one in found["conventions"]] == [
        ("small-baseline", "neurobench"),
        ("small-ahsar", "neurobench"),
    ]
    for one in found["ledger"]:
        for kind in ("macs_total", "acs_total"):
            assert one["start"][kind] + sum(step[kind] for step in one["steps"]) == one["end"][kind]
    assert len(found["provenance"]["checkpoints"][0]["shifts"]) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"energy.{form}" for form in ("csv", "json", "md", "tex")
    ]
    assert json.loads((tmp_path / "out" / "energy.json").read_text()) == found
    rows = list(csv.DictReader((tmp_path / "out" / "energy.csv").open()))
    assert {"shift", "shift layer", "contrast", "scale", "convention", "ledger"} < {
        row["row"] for row in rows
    }
    passes.clear()
    table = command("energy", *tiny_pair, *digits, *asked, *cache)
    assert passes == []
    assert (table.code, table.err) == (0, "")
    for words in (
        "Energy under shift",
        "Change of B against change of A",
        "Pareto front",
        "From ahsar-eval to neurobench",
    ):
        assert words in table.out
    assert "Layers of small-ahsar under shift" not in table.out
    assert "Layers of small-ahsar under shift" in (tmp_path / "out" / "energy.md").read_text()
    assert "shift layer" in {
        row["row"]
        for row in csv.DictReader(io.StringIO((tmp_path / "out" / "energy.csv").read_text()))
    }


def test_figures_lie_where_they_were_asked_for(command, tiny_pair, digits, tmp_path):
    asked = [
        "--shift",
        "contrast:1,contrast:5",
        "--scales",
        "0.5,1",
        "--explain",
        "neurobench:syops",
    ]
    one = command(
        "energy",
        tiny_pair[0],
        *digits,
        *asked,
        "--figures",
        tmp_path / "one",
        "--figure-format",
        "png",
    )
    assert one.code == 0
    names = {path.stem for path in (tmp_path / "one").glob("*.png")}
    assert {
        "energy_layers",
        "energy_severity",
        "energy_pareto",
        "energy_distribution",
        "energy_ledger_neurobench_syops",
    } <= names
    assert all(f"wrote {tmp_path / 'one' / name}.png" in one.err for name in names)
    two = [part for name in ("45nm-int8", "45nm-fp32") for part in ("--profile", name)]
    done = command("energy", tiny_pair[0], *digits, *two, "--figures", tmp_path / "two")
    assert done.code == 0
    for name in ("45nm-int8", "45nm-fp32"):
        assert f"wrote {tmp_path / 'two' / name / 'energy_layers'}.pdf" in done.err.splitlines()


def test_memory_is_asked_for(command, tiny_pair, digits):
    plain, memory = (
        command("energy", tiny_pair[0], *digits, *more).out for more in ([], ["--memory"])
    )
    assert "With memory access" not in plain
    assert "With memory access (Lemaire et al. 2022)" in memory


def test_a_shift_of_unlabelled_samples_has_a_dash_for_accuracy(
    command, tiny_pair, few_digits, tmp_path
):
    np.savez(tmp_path / "bare.npz", x=np.load(few_digits)["x"])
    done = command(
        "energy",
        tiny_pair[0],
        "--data",
        f"npz:{tmp_path / 'bare.npz'}",
        "--shift",
        "contrast:5",
        "--scales",
        "0.5",
    )
    assert (done.code, done.err) == (0, "")
    assert "– : no accuracy" in done.out
    assert "–   " in next(line for line in done.out.splitlines() if ":contrast:5" in line)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shift", "blurr"], "unknown shift 'blurr'"),
        (["--shift", "photo-patches:contrast"], "is no shift of"),
        (["--shift", "contrast:7"], "severity '7'"),
        (["--shift", "contrast,contrast:2"], "was named twice; name it once"),
        (["--scales", "0.5:2:0.4"], "whose step divides the range"),
        (["--scales", "1", "--scale", "2"], "starts from a network's own thresholds"),
        (["--scales", "1", "--no-replay"], "starts from a network's own thresholds"),
        (["--profile", "loihi2"], "no primary figure per operation is published for Loihi 2"),
        (["--profile", "missing.toml"], "the profile 'missing.toml' cannot be read: No such file"),
        (["--profile", "loihi", "--profile", "loihi"], "the profile loihi was named twice"),
        (
            ["--profile", "loihi", "--memory"],
            "--memory needs a profile that prices memory access, and loihi does not",
        ),
        (["--convention", "fvcore"], "unknown convention 'fvcore'"),
        (["--convention", "syops,syops"], "the convention syops was named twice"),
        (
            ["--explain", "neurobench"],
            "--explain neurobench names no two conventions; expected START:END",
        ),
        (["--explain", "neurobench:fvcore"], "unknown convention 'fvcore'"),
        (["--explain", "syops:syops"], "walks from a convention to itself; name two"),
        (["--explain", "all", "--convention", "fvcore"], "unknown convention 'fvcore'"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_before_the_first_pass(
    options, words, command, tiny_pair, digits, passes
):
    done = command("energy", tiny_pair[0], *digits, *options)
    assert (done.code, done.out, passes) == (2, "", [])
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize("option", ["--figures", "--out"])
def test_a_folder_that_cannot_be_written_is_refused_first(
    option, command, tiny_pair, digits, passes, tmp_path
):
    (tmp_path / "file").write_text("")
    done = command("energy", tiny_pair[0], *digits, option, tmp_path / "file")
    assert (done.code, done.out, passes) == (2, "", [])
    assert len(done.err.strip().splitlines()) == 1
