"""The reconciliation sums exactly for every pair of conventions, and a step that is wrong by one is
seen.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.energy.calls import Amount, Run
from ahsar_eval.energy.conventions import (
    CONVENTIONS,
    OF_PARTS,
    REASONS,
    REFERENCE,
    reconcile,
    totals,
)
from ahsar_eval.recording import Recording, Seen

PAIRS = list(permutations(CONVENTIONS, 2))


def number(row: dict[str, Any], name: str) -> Fraction:
    return Fraction(row[f"{name}_total"])


def check_every_pair(recording: Recording, batch_size: int) -> None:
    """Sums taken here, not by `check` alone."""
    found = {pair: reconcile(recording, *pair, batch_size) for pair in PAIRS}
    alone = {name: totals(recording, name, batch_size) for name in CONVENTIONS}
    for (start, end), way in found.items():
        assert (way["start"], way["end"]) == (alone[start], alone[end])
        steps = [one for step in way["steps"] for one in step["layers"]]
        for name in ("macs", "acs"):
            added = sum(number(one, name) for one in steps)
            assert number(alone[start], name) + added == number(alone[end], name), (start, end)
            assert added == sum(number(step, name) for step in way["steps"])
            rows = (alone[start]["layers"], steps, alone[end]["layers"])
            for layer in {one["layer"] for one in (*rows[0], *rows[2])}:
                first, more, last = (
                    sum(number(one, name) for one in amounts if one["layer"] == layer)
                    for amounts in rows
                )
                assert first + more == last, (start, end, layer)
        there, back = (
            {
                (step["name"], one["layer"]): [sign * number(one, n) for n in ("macs", "acs")]
                for step in ledger["steps"]
                for one in step["layers"]
            }
            for sign, ledger in ((1, way), (-1, found[end, start]))
        )
        assert back == there, "the way back takes the same steps"


@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 5),
    steps=st.integers(1, 3),
    step_mode=st.sampled_from("ms"),
    batch_size=st.integers(1, 6),
)
@settings(max_examples=25)
def test_every_pair_sums_exactly_on_drawn_values(
    handmade, seed, samples, steps, step_mode, batch_size
):
    check_every_pair(handmade.Made(seed, samples, steps, step_mode).recording, batch_size)


def shaken(seen: Seen, draw: np.random.Generator) -> Seen:
    """Any flags and counts, whether values could have them or not."""
    shape = seen.low.shape
    low = draw.choice([-1.0, 0, 0.5, 1], shape).astype(np.float32)
    uses = draw.integers(0, 1000, shape)
    return replace(
        seen,
        nonzero=draw.integers(0, 100, shape),
        fan_out_ops=uses,
        nonzero_fan_out_ops=uses - draw.integers(0, 9, shape),
        total=draw.choice([0.0, 1.0, 7.0, 0.1, 1 / 3, 123456.75], shape),
        low=low,
        high=low + draw.choice([0.0, 0.5, 1.0], shape).astype(np.float32),
        two_valued=draw.random(shape) < 0.5,
        signed=draw.random(shape) < 0.5,
        whole=draw.random(shape) < 0.5,
    )


@given(
    seed=st.integers(0, 10_000),
    samples=st.integers(1, 5),
    steps=st.integers(1, 3),
    step_mode=st.sampled_from("ms"),
    batch_size=st.integers(1, 6),
)
@settings(max_examples=25)
def test_every_pair_sums_exactly_on_any_flags_and_counts(
    handmade, seed, samples, steps, step_mode, batch_size
):
    recording, draw = (
        handmade.Made(seed, samples, steps, step_mode).recording,
        np.random.default_rng(seed),
    )
    synapses = tuple(
        synapse
        if synapse.kind == "spikes" or synapse.seen is None
        else replace(synapse, seen=shaken(synapse.seen, draw))
        for synapse in recording.synapses
    )
    operators = tuple(
        replace(
            operator,
            operands=tuple(shaken(each, draw) for each in operator.operands),
            coincidences=None
            if operator.coincidences is None
            else draw.integers(0, 99, operator.coincidences.shape),
        )
        for operator in recording.operators
    )
    check_every_pair(replace(recording, synapses=synapses, operators=operators), batch_size)


# A wrong step is seen

STEPS = [(name, step) for name, convention in CONVENTIONS.items() for step in convention.steps]


@pytest.mark.parametrize("wrong", ["left out", "one too many", "in the wrong layer"])
@pytest.mark.parametrize(("name", "step"), STEPS)
def test_a_step_that_is_wrong_does_not_sum(handmade, name, step, wrong, monkeypatch):
    recording = handmade.Made(29, 5, 3, "m").recording
    right = CONVENTIONS[name].steps[step]

    def broken(run: Run) -> Iterator[Amount]:
        amounts = [amount for amount in right(run) if amount.macs or amount.acs]
        assert amounts, f"the recording shows nothing of {step!r}"
        first = amounts[0]
        if wrong == "left out":
            return iter(amounts[1:])
        if wrong == "one too many":
            return iter([first._replace(acs=first.acs + 1), *amounts[1:]])
        return iter([first._replace(layer="elsewhere"), *amounts[1:]])

    steps = {**CONVENTIONS[name].steps, step: broken}
    other = next(each for each in CONVENTIONS if each not in (name, REFERENCE))
    reconcile(recording, REFERENCE, name, 2)
    monkeypatch.setitem(CONVENTIONS, name, replace(CONVENTIONS[name], steps=steps))
    for start, end in ((REFERENCE, name), (name, other)):
        with pytest.raises(
            ValueError, match=f"the ledger from {start} to {end} does not end at what {end} counts"
        ):
            reconcile(recording, start, end, 2)


@pytest.mark.parametrize("name", [name for name in CONVENTIONS if name != REFERENCE])
def test_a_way_without_one_of_its_steps_does_not_sum(handmade, name, monkeypatch):
    recording, convention = handmade.Made(29, 5, 3, "m").recording, CONVENTIONS[name]
    for step in convention.steps:
        monkeypatch.setitem(
            CONVENTIONS,
            name,
            replace(
                convention,
                steps={each: way for each, way in convention.steps.items() if each != step},
            ),
        )
        with pytest.raises(ValueError, match="this is a fault of ahsar-eval or of the recording"):
            reconcile(recording, REFERENCE, name, 2)


# Its form


def test_every_step_has_a_name_and_a_reason_and_none_is_a_remainder():
    parts = {part for convention in CONVENTIONS.values() for part in convention.parts}
    named = {OF_PARTS.get(part, part) for part in parts - {"synapses"}}
    assert {step for _, step in STEPS} | named == set(REASONS), (
        "a name without a step, or a step without a reason"
    )
    assert not any(
        word in name for name in REASONS for word in ("rest", "remainder", "other", "difference")
    )
    assert not CONVENTIONS[REFERENCE].steps


def test_a_convention_to_itself_changes_nothing(handmade):
    for name in CONVENTIONS:
        assert reconcile(handmade.Made(2, 3, 2, "m").recording, name, name, 2)["steps"] == []


def test_json_holds_start_steps_and_end(handmade):
    content = reconcile(handmade.Made(2, 3, 2, "m").recording, "neurobench", "syops", 2)
    assert (content["start"]["convention"], content["end"]["convention"]) == ("neurobench", "syops")
    total = sum(
        (Fraction(step["acs_total"]) for step in content["steps"]),
        Fraction(content["start"]["acs_total"]),
    )
    assert total == Fraction(content["end"]["acs_total"])
    assert content["steps"]
    assert all(step["layers"] for step in content["steps"]), "a step that changes nothing"
    assert all(
        one["macs_total"] or one["acs_total"] for step in content["steps"] for one in step["layers"]
    )
    for step in content["steps"]:
        assert sum(Fraction(each["macs_total"]) for each in step["layers"]) == Fraction(
            step["macs_total"]
        )
