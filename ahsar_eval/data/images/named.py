"""The image sets that people name, below the data root in torchvision's own layout or that of their
authors.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval.data.entry import DataOptions, Entry
from ahsar_eval.data.images.classes import (
    DIGITS,
    EMNIST_BALANCED,
    EMNIST_LETTERS,
    FASHION,
    KUZUSHIJI,
    LSUN,
)
from ahsar_eval.data.images.stored import Stored, by_constructor, by_method
from ahsar_eval.data.later import later

from ahsar_eval.data.shifts import SHIFTS
from ahsar_eval.errors import DataError

if TYPE_CHECKING:
    from ahsar_eval.data.images.content import Content

    from ahsar_eval.data.images import arrays, cifar, pictures
    from ahsar_eval.data.split import SampleSet
else:
    arrays = later("ahsar_eval.data.images.arrays")
    cifar = later("ahsar_eval.data.images.cifar")
    pictures = later("ahsar_eval.data.images.pictures")

TINY_IMAGENET = "tiny-imagenet-200"
# The validation set alone, brought to 32×32 and stored as JPEG.
_TINY_IMAGENET_SMALL = "tinyimagenet32_val"


def _idx(
    note: str,
    folder: str,
    classes: tuple[str, ...],
    label_space: str,
    *,
    emnist: str = "",
    first_label: int = 0,
    augment: str = "",
) -> Stored:
    """One of MNIST's relatives: two idx files for each split in `folder`/raw, plain or compressed;
    `emnist` names the split of EMNIST.
    """
    begin = f"{folder}/raw/emnist-{emnist}-" if emnist else f"{folder}/raw/"

    def needs(role: str) -> tuple[str, ...]:
        part = begin + ("t10k" if role == "test" and not emnist else role)
        images, labels = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
        packings = itertools.product(("", ".gz"), repeat=2)
        return tuple(f"{images}{one} {labels}{other}" for one, other in packings)

    def read(root: Path, role: str, files: list[Path]) -> "Content":
        return arrays.idx(files, classes, transposed=bool(emnist), first_label=first_label)

    def download(root: Path, role: str) -> None:
        by_method(folder, root, split=emnist, train=role == "train")

    part = begin + ("{train,test}" if emnist else "{train,t10k}")
    listed = f"{part}-images-idx3-ubyte and {part.rpartition('/')[2]}-labels-idx1-ubyte (or .gz)"
    return Stored(note, listed, needs, read, label_space, download=download, augment=augment)


def _cifar10_files(role: str) -> tuple[str, ...]:
    names = [f"data_batch_{n}" for n in range(1, 6)] if role == "train" else ["test_batch"]
    return (
        " ".join(f"cifar-10-batches-py/{name}" for name in names),
        " ".join(f"cifar-10-batches-bin/{name}.bin" for name in names),
    )


def _lsun_folders(role: str) -> tuple[str, ...]:
    """The test split is one folder, without labels; the others have one for each category."""
    if role == "test":
        return ("test_lmdb",)
    part = "val" if role == "validation" else "train"
    return (" ".join(f"{name}_{part}_lmdb" for name in LSUN),)


def _tiny_imagenet_files(role: str) -> tuple[str, ...]:
    if role == "train":
        return (f"{TINY_IMAGENET}/wnids.txt {TINY_IMAGENET}/train",)
    return tuple(
        f"{folder}/wnids.txt {folder}/val/val_annotations.txt {folder}/val/images"
        for folder in (TINY_IMAGENET, _TINY_IMAGENET_SMALL)
    )


_NAMED: dict[str, Stored] = {
    "cifar10": Stored(
        "60,000 colour images 32x32 of ten kinds of animals and vehicles",
        "cifar-10-batches-py/{data_batch_1…5,test_batch}, or "
        "cifar-10-batches-bin/{data_batch_1…5,test_batch}.bin",
        needs=_cifar10_files,
        read=cifar.cifar10,
        label_space="cifar10",
        download=lambda root, role: by_method("CIFAR10", root),
        augment="crop-flip-cutout",
    ),
    "cifar100": Stored(
        "60,000 colour images 32x32 of 100 kinds of things (fine labels)",
        "cifar-100-python/{train,test}, or cifar-100-binary/{train,test}.bin",
        needs=lambda role: (f"cifar-100-python/{role}", f"cifar-100-binary/{role}.bin"),
        read=cifar.cifar100,
        label_space="cifar100",
        download=lambda root, role: by_method("CIFAR100", root),
        augment="crop-flip-cutout",
    ),
    "cifar10.1": Stored(
        "2,000 new test images for CIFAR-10 (v6)",
        "cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy "
        "(github.com/modestyachts/CIFAR-10.1, folder datasets)",
        needs=lambda role: ("cifar10.1_v6_data.npy cifar10.1_v6_labels.npy",),
        read=cifar.cifar_10_1,
        label_space="cifar10",
        roles=("test",),
    ),
    "svhn": Stored(
        "house numbers of Street View, cropped to one digit, colour 32x32; 73,257 train, "
        "26,032 test",
        "train_32x32.mat, test_32x32.mat",
        needs=lambda role: (f"{role}_32x32.mat",),
        read=arrays.svhn,
        label_space="digits",
        download=lambda root, role: by_constructor("SVHN", root, split=role),
        augment="crop",  # a mirrored digit is none
    ),
    "mnist": _idx("70,000 handwritten digits, grey 28x28", "MNIST", DIGITS, "digits"),
    "fashion-mnist": _idx(
        "70,000 pieces of clothing, grey 28x28",
        "FashionMNIST",
        FASHION,
        "fashion-mnist",
        augment="crop-flip",
    ),
    "kmnist": _idx(
        "70,000 cursive Japanese characters of ten kinds, grey 28x28", "KMNIST", KUZUSHIJI, "kmnist"
    ),
    "emnist": _idx(
        "131,600 digits and letters of 47 kinds, grey 28x28 (split balanced), shown upright",
        "EMNIST",
        EMNIST_BALANCED,
        "emnist-balanced",
        emnist="balanced",
    ),
    "emnist-letters": _idx(
        "145,600 letters of 26 kinds without digits, grey 28x28 (split letters), shown upright",
        "EMNIST",
        EMNIST_LETTERS,
        "emnist-letters",
        emnist="letters",
        first_label=1,
    ),
    "usps": Stored(
        "9,298 digits of envelopes, grey 16x16",
        "usps/usps.h5, or usps.bz2 and usps.t.bz2",
        needs=lambda role: ("usps/usps.h5", "usps.bz2" if role == "train" else "usps.t.bz2"),
        read=arrays.usps,
        label_space="digits",
        download=lambda root, role: by_constructor("USPS", root, train=role == "train"),
    ),
    "stl10": Stored(
        "13,000 colour images 96x96 of ten kinds of animals and vehicles",
        "stl10_binary/{train,test}_{X,y}.bin",
        needs=lambda role: (
            "stl10_binary/train_X.bin stl10_binary/train_y.bin "
            "stl10_binary/test_X.bin stl10_binary/test_y.bin",
        ),
        read=arrays.stl10,
        label_space="stl10",
        download=lambda root, role: by_method("STL10", root),
        augment="crop-flip",
    ),
    "dtd": Stored(
        "5,640 photographs of 47 textures; partition 1, a third in each split",
        "dtd/dtd/{images,labels}",
        needs=lambda role: ("dtd/dtd/images dtd/dtd/labels",),
        read=pictures.dtd,
        label_space="dtd",
        roles=("train", "validation", "test"),
        download=lambda root, role: by_constructor("DTD", root),
        augment="crop-flip",
    ),
    "textures": Stored(
        "dtd undivided: all 5,640 photographs of textures, as OpenOOD takes them",
        "dtd/dtd/{images,labels}",
        needs=lambda role: ("dtd/dtd/images dtd/dtd/labels",),
        read=pictures.textures,
        label_space="dtd",
        roles=("test",),
        download=lambda root, role: by_constructor("DTD", root),
    ),
    "food101": Stored(
        "101,000 photographs of 101 dishes",
        "food-101/{images,meta}",
        needs=lambda role: (f"food-101/images food-101/meta/{role}.json",),
        read=pictures.food101,
        label_space="food101",
        download=lambda root, role: by_constructor("Food101", root),
        augment="crop-flip",
    ),
    "places365": Stored(
        "36,500 photographs of 365 kinds of scenes, 256x256 (the validation split, whose "
        "labels are public)",
        "val_256, categories_places365.txt, places365_val.txt",
        needs=lambda role: ("val_256 categories_places365.txt places365_val.txt",),
        read=pictures.places365,
        label_space="places365",
        roles=("test",),
        download=lambda root, role: by_constructor("Places365", root, split="val", small=True),
    ),
    "gtsrb": Stored(
        "German traffic signs of 43 kinds, colour, any size; 26,640 train (torchvision's "
        "archive), 12,630 test",
        "gtsrb/GTSRB/{Training,Final_Test/Images}, gtsrb/GT-final_test.csv",
        needs=lambda role: (
            "gtsrb/GTSRB/Training"
            if role == "train"
            else "gtsrb/GTSRB/Final_Test/Images gtsrb/GT-final_test.csv",
        ),
        read=pictures.gtsrb,
        label_space="gtsrb",
        download=lambda root, role: by_constructor("GTSRB", root, split=role),
        augment="crop",  # keep left, mirrored, is keep right
    ),
    "omniglot": Stored(
        "handwritten characters of 50 alphabets, grey 105x105; train and test have no "
        "character in common",
        "omniglot-py/{images_background,images_evaluation}",
        # Which of the authors' two sets a split is; they have no character in common.
        needs=lambda role: (
            f"omniglot-py/images_{'background' if role == 'train' else 'evaluation'}",
        ),
        read=pictures.omniglot,
        label_space="omniglot",
        download=lambda root, role: by_method(
            "Omniglot", root / "omniglot-py", background=role == "train"
        ),
    ),
    "lsun": Stored(
        "photographs of ten kinds of scenes; the 10,000 test images have no labels",
        "test_lmdb, <category>_{train,val}_lmdb (github.com/fyu/lsun, unpacked; needs the "
        "package lmdb)",
        needs=_lsun_folders,
        read=pictures.lsun,
        label_space="lsun",
        roles=("train", "validation", "test"),
        augment="crop-flip",
    ),
    "tiny-imagenet": Stored(
        "colour images of 200 kinds of things; 100,000 train; as test the 10,000 validation "
        "images, whose labels are public",
        "tiny-imagenet-200 (cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked), or "
        "tinyimagenet32_val",
        needs=_tiny_imagenet_files,
        read=pictures.tiny_imagenet,
        label_space="tiny-imagenet",
        augment="crop-flip",
    ),
}

# CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich 2019): 15 corruptions, and 4 more
# (gaussian_blur, saturate, spatter, speckle_noise) meant for validation
# Of the package's own shifts: no plugin is loaded for them.
CIFAR_C_CORRUPTIONS = sorted(name for name, shift in SHIFTS.own.items() if shift.family != "ours")


@dataclass(frozen=True)
class CorruptedFiles:
    """Where a set of stored corruptions lies, and what its labels mean."""

    folder: str
    label_space: str
    source: str

    @property
    def files(self) -> str:
        """What lies below the data root, for people."""
        return f"{self.folder}/<corruption>.npy and {self.folder}/labels.npy ({self.source})"

    def entry(self, name: str) -> Entry:
        """The catalogue's; `cifar_c` opens one of the files."""

        def refuse(role: str, options: DataOptions) -> "SampleSet":
            raise DataError(
                f"{name} holds corrupted images only; name a corruption and its severity, as in "
                f"{name}:fog:3"
            )

        return Entry(
            refuse,
            f"the authors' own corrupted test images, {len(CIFAR_C_CORRUPTIONS)} corruptions at 5 "
            f"severities: {name}:fog:3",
            is_there=lambda root: (root / self.folder / "labels.npy").is_file(),
            roles=("test",),
            files=self.files,
            places=(self.folder,),
        )


CIFAR_C = {
    "cifar10-c": CorruptedFiles("CIFAR-10-C", "cifar10", "zenodo.org/records/2535967"),
    "cifar100-c": CorruptedFiles("CIFAR-100-C", "cifar100", "zenodo.org/records/3555552"),
}

IMAGE_SETS = {name: known.entry(name) for name, known in _NAMED.items()} | {
    name: known.entry(name) for name, known in CIFAR_C.items()
}
