"""Methods by name, and recipes that cannot work."""

from dataclasses import replace

import pytest

from ahsar_eval.errors import UsageError
from ahsar_eval.homeostasis import HomeostaticParams
from ahsar_eval.training.request import METHODS, Recipe, parse_method

DEFAULTS = HomeostaticParams()


def test_each_method_differs_from_ahsar_in_one_thing():
    assert parse_method("ahsar").params == DEFAULTS
    assert parse_method("ahsar-no-rt").params == replace(DEFAULTS, gamma=0.0)
    assert parse_method("ahsar-no-dh").params == replace(DEFAULTS, diffusion=0.0)
    assert parse_method("ahsar-no-gain").params == replace(DEFAULTS, use_gain=False)
    assert parse_method("baseline").params is None
    for name in ("ahsar", "ahsar-no-rt", "ahsar-no-dh", "ahsar-no-gain", "baseline"):
        assert (parse_method(name).name, parse_method(name).fixed_scale) == (name, 1.0)


def test_every_listed_method_is_read():
    for name in METHODS:
        parse_method(name.replace("S", "0.8").replace("CKPT", "digits-vgg13-ahsar"))


def test_given_parameters_stand_beneath_the_ablation():
    own = HomeostaticParams(beta=0.07, gamma=0.2)
    assert parse_method("ahsar", own).params == own
    assert parse_method("ahsar-no-rt", own).params == replace(own, gamma=0.0)


@pytest.mark.parametrize(
    ("text", "scale"), [("fixed:0.8", 0.8), ("fixed:2", 2.0), ("fixed:1e-1", 0.1)]
)
def test_fixed_factor_is_read(text, scale):
    method = parse_method(text)
    assert (method.name, method.params, method.fixed_scale) == (text, None, scale)


@pytest.mark.parametrize(
    "text", ["fixed:", "fixed:x", "fixed:0", "fixed:-1", "fixed:nan", "fixed:inf", "fixed:S"]
)
def test_unusable_factor_is_refused(text):
    with pytest.raises(
        UsageError,
        match=(
            rf"method '{text}' has no usable factor; expected fixed:S with a positive number S, "
            r"such as fixed:0\.8"
        ),
    ):
        parse_method(text)


@pytest.mark.parametrize("text", ["", "AHSAR", "ahsar-no-xx", "fixed", "base line"])
def test_unknown_method_is_refused_with_the_known_ones(text):
    with pytest.raises(
        UsageError, match=rf"unknown method '{text}'; known are ahsar, baseline, .*, fixed:S"
    ):
        parse_method(text)


def test_recipe_defaults_are_the_papers():
    recipe = Recipe(parse_method("baseline"))
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.weight_decay) == (
        50,
        128,
        1e-3,
        5e-4,
    )
