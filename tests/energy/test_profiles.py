"""Profiles of energy per operation: those shipped, and a user's own file with everything that can
be wrong in it.
"""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ahsar_eval.energy.profiles import OBTAINED, PROFILES, MemoryPrices, Profile, profile_of
from ahsar_eval.errors import UsageError

GOOD = """
name = "my-chip"
unit = "pJ"
node = "7 nm"
number_format = "int4"
includes = "a synaptic operation, weights in the core"
obtained = "measured"
source = "our bench, table 1"
ac_pj = 1.5
"""

# reference: ISSCC 2014 for 45 nm, and the chips' figures with the figure that disagrees beside it
# where there are two.
SYNAPTIC = {
    "loihi": 23.6,
    "truenorth": 26,
    "truenorth-2.5": 2.5,
    "spinnaker-45": 45,
    "spinnaker-13300": 13300,
    "spinnaker2-10": 10,
    "spinnaker2-450": 450,
    "tianjic": 1.54,
    "odin": 12.7,
    "reckon": 5.3,
    "seneca": 2.8,
    "ubrain": 26,
}
ARITHMETIC = {  # add, multiply
    "45nm-fp32": (0.9, 3.7),
    "45nm-fp16": (0.4, 1.1),
    "45nm-int32": (0.1, 3.1),
    "45nm-int8": (0.03, 0.2),
}


def written(folder: Path, text: str) -> str:
    file = folder / "chip.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_the_shipped_profiles_are_those_of_the_sources():
    assert set(PROFILES) == {*ARITHMETIC, *SYNAPTIC}
    assert next(iter(PROFILES)) == "45nm-fp32"
    for name, price in SYNAPTIC.items():
        assert (PROFILES[name].ac_pj, PROFILES[name].mac_pj) == (price, None), name
    assert (PROFILES["loihi"].neuron_active_pj, PROFILES["loihi"].neuron_inactive_pj) == (81, 52)


@pytest.mark.parametrize("name", ARITHMETIC)
def test_a_mac_is_a_multiplication_and_an_addition_and_a_comparison_an_addition(name):
    add, multiply = ARITHMETIC[name]
    profile = PROFILES[name]
    assert (profile.add_pj, profile.ac_pj, profile.compare_pj, profile.multiply_pj) == (
        add,
        add,
        add,
        multiply,
    )
    assert profile.mac_pj == pytest.approx(add + multiply, abs=1e-12)
    assert profile.price("write") is None
    assert profile.word_bits == int(
        "".join(letter for letter in profile.number_format if letter.isdigit())
    )


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_says_what_it_is(name):
    profile = PROFILES[name]
    assert profile.name == name
    assert profile.unit == "pJ"
    assert profile.obtained in OBTAINED
    assert all(
        getattr(profile, key).strip() for key in ("node", "number_format", "includes", "source")
    )


@pytest.mark.parametrize(
    ("kibibytes", "price"),
    [(0, 0), (4, 5), (8, 10), (20, 15), (32, 20), (528, 60), (1024, 100), (4096, 100)],
)
def test_memory_is_priced_by_capacity_between_the_published_points(kibibytes, price):
    memory = PROFILES["45nm-int32"].memory_pj
    assert memory == MemoryPrices(64, ((8192, 10), (32768, 20), (1048576, 100)))
    assert memory is not None
    assert memory.access_pj(kibibytes * 1024) == pytest.approx(price, abs=1e-9)


def test_a_file_of_the_user_s_own_is_read(tmp_path):
    found = profile_of(written(tmp_path, GOOD))
    assert found == Profile(
        "my-chip",
        "pJ",
        "7 nm",
        "int4",
        "a synaptic operation, weights in the core",
        "measured",
        "our bench, table 1",
        ac_pj=1.5,
    )
    neuron = "neuron_active_pj = 2.0\nneuron_inactive_pj = 0"
    memory = "word_bits = 4\nmemory_pj = { width_bits = 32, points = [[1024, 1]] }"
    more = f'mac_pj = 3\n{neuron}\ncovers = ["bias"]\n{memory}'
    full = profile_of(written(tmp_path, f"{GOOD}{more}"))
    changes: dict[str, Any] = {
        "mac_pj": 3.0,
        "neuron_active_pj": 2.0,
        "neuron_inactive_pj": 0.0,
        "covers": ("bias",),
        "word_bits": 4,
    }
    assert full == replace(found, **changes, memory_pj=MemoryPrices(32, ((1024, 1),)))


@pytest.mark.parametrize("name", PROFILES)
def test_a_shipped_profile_written_as_a_file_reads_back_the_same(tmp_path, name):
    profile = PROFILES[name]
    lines = []
    for field in fields(profile):
        value = getattr(profile, field.name)
        if isinstance(value, MemoryPrices):
            points = ", ".join(f"[{size}, {price}]" for size, price in value.points)
            lines.append(f"memory_pj = {{ width_bits = {value.width_bits}, points = [{points}] }}")
        elif isinstance(value, tuple):
            lines.append(f"covers = {list(value)}")
        elif value is not None:
            lines.append(
                f"{field.name} = {'mine' if field.name == 'name' else value!r}"
                if isinstance(value, str)
                else f"{field.name} = {value}"
            )
    text = "\n".join(lines).replace("name = mine", "name = 'mine'")
    assert profile_of(written(tmp_path, text)) == replace(profile, name="mine")


BROKEN = {
    "without a source": (
        GOOD.replace('source = "our bench, table 1"', ""),
        "has no source; a profile needs one",
    ),
    "an empty source": (GOOD.replace("our bench, table 1", "  "), "has no source"),
    "a number as source": (GOOD.replace('"our bench, table 1"', "7"), "has no source"),
    "an empty name": (
        GOOD.replace("my-chip", ""),
        "has no name; a profile needs one: write name =",
    ),
    "a shipped name": (
        GOOD.replace("my-chip", "loihi"),
        "has the name 'loihi' of a shipped profile; give it a name of its own",
    ),
    "another unit": (GOOD.replace('"pJ"', '"nJ"'), "says unit = 'nJ'; expected 'pJ'"),
    "no unit": (GOOD.replace('unit = "pJ"', ""), "says unit = None; expected 'pJ'"),
    "no node": (GOOD.replace('node = "7 nm"', ""), "has no node"),
    "no includes": (
        GOOD.replace("a synaptic operation, weights in the core", ""),
        "has no includes",
    ),
    "another way": (
        GOOD.replace("measured", "guessed"),
        "says obtained = 'guessed'; expected 'measured', 'simulated', 'published calculation'",
    ),
    "an unknown key": (
        GOOD + "sop_pj = 2",
        "has the unknown key 'sop_pj'; a profile has name, unit",
    ),
    "no price": (GOOD.replace("ac_pj = 1.5", ""), "has no price; write at least mac_pj or ac_pj"),
    "a negative price": (
        GOOD.replace("1.5", "-1.5"),
        r"has ac_pj = -1\.5; expected a finite number of picojoules, 0 or more",
    ),
    "a price that is not finite": (
        GOOD.replace("1.5", "inf"),
        "has ac_pj = inf; expected a finite number",
    ),
    "a price that is no number": (
        GOOD.replace("1.5", "nan"),
        "has ac_pj = nan; expected a finite number",
    ),
    "a price that is true": (
        GOOD.replace("1.5", "true"),
        "has ac_pj = True; expected a finite number",
    ),
    "a price in words": (
        GOOD.replace("1.5", "'1.5'"),
        "has ac_pj = '1.5'; expected a finite number",
    ),
    "one kind of update": (
        GOOD + "neuron_active_pj = 3",
        "prices one kind of neuron update; write both",
    ),
    "covers of no part": (
        GOOD + 'covers = ["synapses"]',
        r"has covers = \['synapses'\]; expected a list of neurons",
    ),
    "covers as text": (GOOD + 'covers = "bias"', "has covers = 'bias'; expected a list"),
    "half a bit": (GOOD + "word_bits = 0.5", r"has word_bits = 0\.5; expected a whole number"),
    "a true word": (GOOD + "word_bits = true", "has word_bits = True; expected a whole number"),
    "memory without a word": (
        GOOD + "memory_pj = { width_bits = 64, points = [[8, 1]] }",
        "prices memory but no word",
    ),
    "memory without points": (
        GOOD + "word_bits = 8\nmemory_pj = { width_bits = 64, points = [] }",
        "has a memory_pj that cannot be read",
    ),
    "memory as a number": (
        GOOD + "word_bits = 8\nmemory_pj = 3",
        "has a memory_pj that cannot be read",
    ),
    "a point of three": (
        GOOD + "word_bits = 8\nmemory_pj = { width_bits = 64, points = [[1, 2, 3]] }",
        "has a memory_pj that cannot be read",
    ),
    "a price below nothing": (
        GOOD + "word_bits = 8\nmemory_pj = { width_bits = 64, points = [[8, -1]] }",
        "has the memory price = -1; expected",
    ),
    "falling capacities": (
        GOOD + "word_bits = 8\nmemory_pj = { width_bits = 64, points = [[8, 1], [8, 2]] }",
        "has memory capacities that do not rise",
    ),
    "no capacity": (
        GOOD + "word_bits = 8\nmemory_pj = { width_bits = 64, points = [[0, 1]] }",
        "has memory capacities that do not rise",
    ),
    "a syntax error": (GOOD + "ac_pj 3", r"is no valid TOML in UTF-8 \(.+\); mend that line"),
    "a key twice": (GOOD + "ac_pj = 3", r"is no valid TOML in UTF-8 \(.+\); mend that line"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, text, said):
    with pytest.raises(UsageError, match=said) as refused:
        profile_of(written(tmp_path, text))
    assert "chip.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"absent.toml' cannot be read: .+; check the path"):
        profile_of(str(tmp_path / "absent.toml"))
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"folder.toml' cannot be read: .+; check the path"):
        profile_of(str(folder))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"name = '\xff'")
    with pytest.raises(
        UsageError, match=r"binary.toml' is no valid TOML in UTF-8 \(.+\); mend that line"
    ):
        profile_of(str(binary))
    deep = tmp_path / "deep.toml"
    deep.write_text("a = " + "[" * 20_000, encoding="utf-8")
    with pytest.raises(UsageError, match=r"deep.toml' is no valid TOML"):
        profile_of(str(deep))


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("loihi2", "Loihi 2"),
        ("Loihi-2", "Loihi 2"),
        ("akida", "Akida"),
        ("Speck", "Speck"),
        ("brainscales-2", "BrainScaleS-2"),
    ],
)
def test_a_chip_without_a_published_figure_is_named_and_not_guessed(name, chip):
    with pytest.raises(
        UsageError,
        match=(
            rf"no primary figure per operation is published for {chip}, so none is shipped; "
            r".*--profile FILE.toml"
        ),
    ):
        profile_of(name)


def test_an_unknown_profile_is_refused_with_those_known():
    with pytest.raises(
        UsageError,
        match=(
            r"unknown energy profile 'mine'; known are 45nm-fp32, 45nm-fp16, 45nm-int32, "
            r"45nm-int8, loihi, .*\.toml"
        ),
    ):
        profile_of("mine")


def test_all_prices_are_finite():
    for profile in PROFILES.values():
        prices = [
            getattr(profile, field.name)
            for field in fields(profile)
            if field.name.endswith("_pj") and field.name != "memory_pj"
        ]
        assert all(price is None or (math.isfinite(price) and price > 0) for price in prices), (
            profile.name
        )
