"""--engine and --precision reach every recording of a command, and its result says what ran."""

import json

import pytest

from ahsar_eval.recording import record


@pytest.fixture
def commands(tiny_pair):
    """On small networks: engine and precision are asked for in the same words for all."""
    sets = ("--id", "digits", "--ood", "photo-patches", "--format", "json")
    return {
        "ood": ("ood", tiny_pair[1], *sets),
        "compare": ("compare", *tiny_pair, *sets),
        "energy": ("energy", tiny_pair[1], "--data", "digits", "--format", "json"),
    }


@pytest.mark.parametrize("name", ["ood", "compare", "energy"])
@pytest.mark.parametrize(
    ("options", "engine", "precision"),
    [
        ((), "compiled", "fp32"),
        (("--engine", "reference"), "reference", "fp32"),
        (("--precision", "bf16"), "compiled", "bf16"),
    ],
)
def test_results_say_what_ran(command, commands, name, options, engine, precision):
    outcome = command(*commands[name], *options)
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    facts = found[0]["provenance"] if isinstance(found, list) else found["provenance"]
    for checkpoint in facts["checkpoints"]:
        assert (checkpoint["engine"], checkpoint["precision"]) == (engine, precision)
        assert set(checkpoint["ran"]) == (
            {"digits"} if name == "energy" else {"digits", "photo-patches"}
        )
        for how in checkpoint["ran"].values():
            assert (how["engine"], how["precision"]) == (engine, precision)
            assert ("engine_difference" in how) == (engine == "compiled")
    said = [line for line in outcome.err.splitlines() if " in bf16: on 16 samples " in line]
    assert bool(said) == (precision == "bf16")


@pytest.mark.parametrize("options", [("--engine", "reference"), ("--precision", "bf16")])
def test_a_raster_is_recorded_as_asked(command, tiny_pair, options, tmp_path, monkeypatch):
    asked = []

    def noted(*inputs, **settings):
        asked.append(settings)
        return record(*inputs, **settings)

    monkeypatch.setattr("ahsar_eval.recording.runner.record", noted)
    outcome = command(
        "raster",
        tiny_pair[1],
        "--data",
        "digits",
        "--layer",
        "5",
        "--out",
        tmp_path / "raster.png",
        *options,
    )
    assert outcome.code == 0, outcome.err
    name, value = options[0].removeprefix("--"), options[1]
    assert {one[name] for one in asked} == {value}


def test_a_stored_recording_is_told_of_as_it_ran(command, commands):
    arguments = (*commands["ood"], "--seed", "3")
    first, again = (
        json.loads(command(*arguments).out)["provenance"]["checkpoints"][0]["ran"] for _ in range(2)
    )
    assert first == again
    assert first["digits"]["engine_difference"]["samples"] >= 4
