"""What the embedded sets are, written down: a test opens them and compares."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ahsar_eval.data.facts import Facts
from ahsar_eval.data.images.classes import DIGITS
from ahsar_eval.data.images.embedded import sklearn_file
from ahsar_eval.files import sha256_of, sha256_of_file

_DIGITS = Facts(
    name="digits",
    role="",
    samples=0,
    shape=(1, 16, 16),
    classes=DIGITS,
    label_space="digits",
    identity="",
    note=(
        "UCI optical handwritten digits via scikit-learn, 8x8 brought to 16x16 by bilinear "
        "interpolation"
    ),
)
_DIGITS_DVS = replace(
    _DIGITS,
    name="digits-dvs",
    shape=(2, 34, 34),
    note=(
        "simulated: the UCI digits moved in three saccades before a simulated event sensor, "
        "34x34, 300 ms, the way N-MNIST was made"
    ),
)
_PHOTO_PATCHES = Facts(
    name="photo-patches",
    role="",
    samples=0,
    shape=(3, 32, 32),
    classes=(),
    label_space="photo-patches",
    identity="",
    note="32x32 patches of the two sample photographs of scikit-learn (china, flower)",
)
_SAMPLES_AND_IDENTITY = {
    _DIGITS: {
        "train": (1167, "ead1fd5cfe7b186c9082d95588f152d61eec6c3df24fea562e5244b2758873ee"),
        "validation": (180, "3c28bc0afd5b80ece231906b564e43438ca779358d35826224c792f69fc54bdc"),
        "test": (450, "7bbcf39ef2ddb54fbe8abb75891f748078fb4e175f89c2f7cfa3f6c6e46aa790"),
        "all": (1797, "e5175fc493c0bd42ec9091fe69959186bb03f8e5f6be8a49ebcee6ef8e9faa5c"),
    },
    _DIGITS_DVS: {
        "train": (1167, "9c9d2c0f1c8619394c96e1a89d7f00296decd6645886d95c5411690e8ef1d1bc"),
        "validation": (180, "c8be9493ebf013ff0b258c197f4bd3e14aecba0cb04ea0fb6a9580fe3e161124"),
        "test": (450, "5939a93fc66bf14bd28a07314fbb1b339d2ce402910e9b29fac0444863af764d"),
        "all": (1797, "dc39393c0d83bc9ddfbc8c212a5c73789bb25b46fbd5d39b4bceca5338d12924"),
    },
    _PHOTO_PATCHES: {
        "all": (520, "92b082950b91d5739e8aa06a1351f3dd48374b4e09e69e3699bf88732bf3845b"),
    },
}
EMBEDDED_FACTS = {
    (facts.name, role): replace(facts, role=role, samples=samples, identity=identity)
    for facts, parts in _SAMPLES_AND_IDENTITY.items()
    for role, (samples, identity) in parts.items()
}


def _pixels(file: Path) -> str:
    from PIL import Image

    with Image.open(file) as photograph:
        return sha256_of(photograph.mode, str(photograph.size), photograph.tobytes())


_DIGITS_FILE = {
    "data/digits.csv.gz": "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
}
_PHOTOGRAPHS = {
    "images/china.jpg": "91e817e3c22a9f48889191f4ad5c4c88f98562ba079ccff083d4f6aa5c0831ec",
    "images/flower.jpg": "9c87c392923f60c49174f3cc680c2440873ebd871df1f098d57d2f5a8330aaff",
}
# The files of scikit-learn that the facts were made from, by their bytes; photographs by their
# pixels, for decoders of JPEG may differ.
_MADE_FROM: dict[str, tuple[Callable[[Path], str], dict[str, str]]] = {
    "digits": (sha256_of_file, _DIGITS_FILE),
    "digits-dvs": (sha256_of_file, _DIGITS_FILE),
    "photo-patches": (_pixels, _PHOTOGRAPHS),
}


def embedded_facts(name: str, role: str) -> Facts | None:
    """What opening an embedded set would say; None for a split that there is not, or other files.

    Raises `DataError` where scikit-learn or its file is missing.
    """
    role = "all" if name == "photo-patches" else role  # it is not divided, whatever is asked for
    if (name, role) not in EMBEDDED_FACTS:
        return None
    digest, files = _MADE_FROM[name]
    known = all(digest(sklearn_file(file)) == made for file, made in files.items())
    return EMBEDDED_FACTS[name, role] if known else None
