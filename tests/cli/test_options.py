"""Options made from requests: their groups, how they become a request again, and completion."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import ahsar_eval
from ahsar_eval.cli.commands import Command, takes
from ahsar_eval.cli.completion import NAMES, SCORES, completed
from ahsar_eval.cli.main import cli
from ahsar_eval.data import DataOptions
from ahsar_eval.evaluation.requests import NetworkOptions, Request
from ahsar_eval.options import GROUPS, described, nested


@dataclasses.dataclass(frozen=True)
@described(__file__, "asked.toml")
class Inner:
    depth: int = 3
    folder: Path = dataclasses.field(default_factory=lambda: Path("here"))


@dataclasses.dataclass(frozen=True)
@described(__file__, "asked.toml")
class Asked:
    name: str | None = None
    many: tuple[float, ...] = (1.5,)
    kind: str = "a"
    flag: bool = False
    inner: Inner = nested(Inner)
    untold: int = 7


def called(*words: str) -> Asked:
    found: list[Asked] = []

    @click.command(cls=Command)
    @takes(asked=Asked)
    def run(asked: Asked) -> None:
        found.append(asked)

    run.main([*words], standalone_mode=False)
    return found[0]


def test_what_is_not_given_is_the_default_of_the_field():
    assert called() == Asked()


def test_what_is_given_becomes_the_field():
    words = "--name x --number 2 --number 3 --kind b --flag --depth 5 --folder there".split()
    assert called(*words) == Asked("x", (2.0, 3.0), "b", True, Inner(5, Path("there")))


def test_help_shows_options_in_groups_with_their_defaults():
    @click.command(cls=Command)
    @takes(asked=Asked)
    def run(asked: Asked) -> None: ...

    text = run.get_help(click.Context(run))
    places = [text.index(f"{group.capitalize()}:") for group in ("inputs", "network", "scores")]
    assert places == sorted(places)
    assert "[default: 3]" in text
    assert "Energy:" not in text, "an empty group has no heading"
    assert text.index("--depth") > text.index("Network:") > text.index("--name")


@pytest.mark.parametrize("name", ["ood", "compare"])
def test_every_field_of_a_request_is_an_option(name):
    flags = {flag for parameter in cli.commands[name].params for flag in parameter.opts}
    for request in (Request, NetworkOptions, DataOptions):
        for field in dataclasses.fields(request):
            if "help" in field.metadata and (name, field.name) not in (
                *(("compare", of) for of in ("baseline", "require", "on")),
                ("ood", "metrics"),
            ):
                flag = field.metadata.get("flag") or f"--{field.name.replace('_', '-')}"
                assert flag in flags
                assert field.metadata["group"] in GROUPS


def test_scores_that_are_completed_are_those_there_are():
    assert [*ahsar_eval.ood.SCORES, "all"] == SCORES


@pytest.mark.parametrize(
    ("kind", "begun", "offered"),
    [
        ("set", "sv", "svhn"),
        ("set", "digits:rot", "digits:rotation"),
        ("set", "digits-dvs:event_d", "digits-dvs:event_drop"),
        ("shift", "fo", "fog"),
        ("score", "mut", "mutual-information"),
        ("checkpoint", "digits-vgg13-a", "digits-vgg13-ahsar"),
        ("profile", "45nm-i", "45nm-int32"),
        ("layer", "features.lif5", "features.lif5_1"),
    ],
)
def test_names_are_completed(kind, begun, offered):
    values = [item.value for item in completed(kind, begun, click.Context(cli))]
    assert offered in values
    assert set(NAMES) == {"set", "shift", "score", "checkpoint", "profile", "layer"}


def test_quiet_says_nothing_but_results_and_errors(command, few_digits, tiny_pair):
    words = ("ood", *tiny_pair, "--id", f"npz:{few_digits}", "--ood", "photo-patches")
    usual = command(*words, "--bootstrap", 100, "--no-cache", "--precision", "bf16")
    quiet = command(*words, "--bootstrap", 100, "--no-cache", "--precision", "bf16", "--quiet")
    assert usual.err
    assert (quiet.err, quiet.out) == ("", usual.out)
    wrong = command("ood", "--id", "nothing", "--ood", "digits", "--quiet")
    assert wrong.code == 2
    assert "unknown set" in wrong.err


def test_verbose_says_what_is_run_and_what_is_found(command, few_digits, tiny_pair, tmp_path):
    words = ["ood", tiny_pair[0], "--id", f"npz:{few_digits}", "--ood", "photo-patches"]
    words += ["--bootstrap", "100", "--cache", tmp_path]
    first = command(*words, "--verbose").err
    assert "recorded photo-patches with small-baseline: 520 samples in" in first
    again = command(*words, "--verbose", "--seed", 1).err
    assert "found the recording of photo-patches with small-baseline" in again
    assert command(*words, "--seed", 2).err == ""


def test_completion_of_options_works_from_the_shell():
    words = "ahsar-eval ood --id sv"
    asked = {"_AHSAR_EVAL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "ahsar_eval"],
        capture_output=True,
        text=True,
        env={**os.environ, **asked},
        timeout=60,
    )
    assert done.stdout.split() == ["plain,svhn"]
