"""The image sets that people name, below the data root in torchvision's own layout or that of their
authors.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval.data.entry import DataOptions, Entry
from ahsar_eval.data.images.classes import (
    DIGITS,
    EMNIST_BALANCED,
    EMNIST_LETTERS,
    FASHION,
    KUZUSHIJI,
)
from ahsar_eval.data.images.downloads import by_constructor, by_method
from ahsar_eval.data.images.layouts import (
    CIFAR_BATCHES,
    CIFAR_C,
    CIFAR_C_CORRUPTIONS,
    TINY_IMAGENET,
    TINY_IMAGENET_SMALL,
    USPS_TEXT,
    idx_is_there,
    lsun_folders,
    missing_batches,
    missing_tiny_imagenet,
    missing_usps,
    needs,
    omniglot_folder,
)
from ahsar_eval.data.images.stored import Stored, entries_of
from ahsar_eval.data.later import later
from ahsar_eval.errors import DataError

if TYPE_CHECKING:
    from ahsar_eval.data.images import cifar_batches, cifar_files, idx, lsun, tiny_imagenet, usps
    from ahsar_eval.data.images import torchvision_sets as tv
    from ahsar_eval.data.images.content import Content
    from ahsar_eval.data.split import SampleSet
else:
    cifar_batches = later("ahsar_eval.data.images.cifar_batches")
    cifar_files = later("ahsar_eval.data.images.cifar_files")
    idx = later("ahsar_eval.data.images.idx")
    lsun = later("ahsar_eval.data.images.lsun")
    tiny_imagenet = later("ahsar_eval.data.images.tiny_imagenet")
    tv = later("ahsar_eval.data.images.torchvision_sets")
    usps = later("ahsar_eval.data.images.usps")


def _cifar(name: str, note: str, files: str) -> Stored:
    batches = CIFAR_BATCHES[name]
    return Stored(
        note=note,
        files=files,
        places=(batches.folder, batches.binary_folder),
        read=lambda root, role: cifar_batches.read_batches(batches, root, role),
        missing=lambda root, role: missing_batches(batches, root, role),
        label_space=name,
        download=by_method(name.upper()),
        augment="crop-flip-cutout",
    )


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
    """One of MNIST's relatives: two idx files for each split in `folder`/raw; `emnist` names the
    split of EMNIST.
    """

    def names(role: str) -> tuple[str, str]:
        begin = f"emnist-{emnist}-{role}" if emnist else {"train": "train", "test": "t10k"}[role]
        return f"{begin}-images-idx3-ubyte", f"{begin}-labels-idx1-ubyte"

    def read(root: Path, role: str) -> "Content":
        return idx.idx_content(
            root / folder / "raw",
            *names(role),
            classes,
            transposed=bool(emnist),
            first_label=first_label,
        )

    def missing(root: Path, role: str) -> list[str]:
        return [
            f"{folder}/raw/{name}"
            for name in names(role)
            if not idx_is_there(root / folder / "raw" / name)
        ]

    listed = " and ".join(
        name.replace("-test-", "-{train,test}-").replace("t10k", "{train,t10k}")
        for name in names("test")
    )
    download = (
        by_method(folder, split=emnist, train=lambda root, role: role == "train")
        if emnist
        else by_method(folder)
    )
    return Stored(
        note,
        f"{folder}/raw/{listed} (or .gz)",
        (folder,),
        read,
        missing,
        label_space,
        download=download,
        augment=augment,
    )


_DTD = needs(every=("dtd/dtd/images", "dtd/dtd/labels"))

_NAMED: dict[str, Stored] = {
    "cifar10": _cifar(
        "cifar10",
        "60,000 colour images 32x32 of ten kinds of animals and vehicles",
        "cifar-10-batches-py/{data_batch_1…5,test_batch}, or "
        "cifar-10-batches-bin/{data_batch_1…5,test_batch}.bin",
    ),
    "cifar100": _cifar(
        "cifar100",
        "60,000 colour images 32x32 of 100 kinds of things (fine labels)",
        "cifar-100-python/{train,test}, or cifar-100-binary/{train,test}.bin",
    ),
    "cifar10.1": Stored(
        note="2,000 new test images for CIFAR-10 (v6)",
        files=(
            "cifar10.1_v6_data.npy and cifar10.1_v6_labels.npy "
            "(github.com/modestyachts/CIFAR-10.1, folder datasets)"
        ),
        places=("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"),
        read=cifar_files.cifar_10_1,
        missing=needs(every=("cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy")),
        label_space="cifar10",
        roles=("test",),
    ),
    "svhn": Stored(
        note=(
            "house numbers of Street View, cropped to one digit, colour 32x32; 73,257 train, "
            "26,032 test"
        ),
        files="train_32x32.mat, test_32x32.mat",
        places=("train_32x32.mat", "test_32x32.mat"),
        read=tv.svhn,
        missing=needs(train=("train_32x32.mat",), test=("test_32x32.mat",)),
        label_space="digits",
        download=by_constructor("SVHN", split=lambda root, role: role),
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
        note="9,298 digits of envelopes, grey 16x16",
        files="usps/usps.h5, or usps.bz2 and usps.t.bz2",
        places=("usps", *USPS_TEXT.values()),
        read=usps.read_usps,
        missing=missing_usps,
        label_space="digits",
        download=by_constructor("USPS", train=lambda root, role: role == "train"),
    ),
    "stl10": Stored(
        note="13,000 colour images 96x96 of ten kinds of animals and vehicles",
        files="stl10_binary/{train,test}_{X,y}.bin",
        places=("stl10_binary",),
        read=tv.stl10,
        missing=needs(
            every=tuple(
                f"stl10_binary/{role}_{part}.bin" for role in ("train", "test") for part in "Xy"
            )
        ),
        label_space="stl10",
        download=by_method("STL10"),
        augment="crop-flip",
    ),
    "dtd": Stored(
        note="5,640 photographs of 47 textures; partition 1, a third in each split",
        files="dtd/dtd/{images,labels}",
        places=("dtd",),
        read=tv.dtd,
        missing=_DTD,
        label_space="dtd",
        roles=("train", "validation", "test"),
        download=by_constructor("DTD"),
        augment="crop-flip",
    ),
    "textures": Stored(
        note="dtd undivided: all 5,640 photographs of textures, as OpenOOD takes them",
        files="dtd/dtd/{images,labels}",
        places=("dtd",),
        read=tv.textures,
        missing=_DTD,
        label_space="dtd",
        roles=("test",),
        download=by_constructor("DTD"),
    ),
    "food101": Stored(
        note="101,000 photographs of 101 dishes",
        files="food-101/{images,meta}",
        places=("food-101",),
        read=tv.food101,
        missing=needs(
            every=("food-101/images",),
            train=("food-101/meta/train.json",),
            test=("food-101/meta/test.json",),
        ),
        label_space="food101",
        download=by_constructor("Food101"),
        augment="crop-flip",
    ),
    "places365": Stored(
        note=(
            "36,500 photographs of 365 kinds of scenes, 256x256 (the validation split, whose "
            "labels are public)"
        ),
        files="val_256, categories_places365.txt, places365_val.txt",
        places=("val_256", "categories_places365.txt", "places365_val.txt"),
        read=tv.places365,
        missing=needs(every=("val_256", "categories_places365.txt", "places365_val.txt")),
        label_space="places365",
        roles=("test",),
        download=by_constructor("Places365", split="val", small=True),
    ),
    "gtsrb": Stored(
        note=(
            "German traffic signs of 43 kinds, colour, any size; 26,640 train (torchvision's "
            "archive), 12,630 test"
        ),
        files="gtsrb/GTSRB/{Training,Final_Test/Images}, gtsrb/GT-final_test.csv",
        places=("gtsrb",),
        read=tv.gtsrb,
        missing=needs(
            train=("gtsrb/GTSRB/Training",),
            test=("gtsrb/GTSRB/Final_Test/Images", "gtsrb/GT-final_test.csv"),
        ),
        label_space="gtsrb",
        download=by_constructor("GTSRB", split=lambda root, role: role),
        augment="crop",  # keep left, mirrored, is keep right
    ),
    "omniglot": Stored(
        note=(
            "handwritten characters of 50 alphabets, grey 105x105; train and test have no "
            "character in common"
        ),
        files="omniglot-py/{images_background,images_evaluation}",
        places=("omniglot-py",),
        read=tv.omniglot,
        missing=lambda root, role: needs(every=(f"omniglot-py/{omniglot_folder(role)}",))(
            root, role
        ),
        label_space="omniglot",
        download=by_method(
            "Omniglot",
            root=lambda root, role: str(root / "omniglot-py"),
            background=lambda root, role: role == "train",
        ),
    ),
    "lsun": Stored(
        note="photographs of ten kinds of scenes; the 10,000 test images have no labels",
        files=(
            "test_lmdb, <category>_{train,val}_lmdb (github.com/fyu/lsun, unpacked; needs the "
            "package lmdb)"
        ),
        places=tuple(
            folder for role in ("train", "validation", "test") for folder in lsun_folders(role)
        ),
        read=lsun.read_lsun,
        missing=lambda root, role: needs(every=lsun_folders(role))(root, role),
        label_space="lsun",
        roles=("train", "validation", "test"),
        augment="crop-flip",
    ),
    "tiny-imagenet": Stored(
        note=(
            "colour images of 200 kinds of things; 100,000 train; as test the 10,000 validation "
            "images, whose labels are public"
        ),
        files=(
            "tiny-imagenet-200 (cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked), or "
            "tinyimagenet32_val"
        ),
        places=(TINY_IMAGENET, TINY_IMAGENET_SMALL),
        read=tiny_imagenet.read_tiny_imagenet,
        missing=missing_tiny_imagenet,
        label_space="tiny-imagenet",
        augment="crop-flip",
    ),
}


def _stored_corruptions(name: str) -> Entry:
    """The catalogue's entry of a set that holds corrupted images only; `cifar_c` opens one of its
    files.
    """

    def refuse(role: str, options: DataOptions) -> "SampleSet":
        raise DataError(
            f"{name} holds corrupted images only; name a corruption and its severity, as in "
            f"{name}:fog:3"
        )

    note = (
        f"the authors' own corrupted test images, {len(CIFAR_C_CORRUPTIONS)} corruptions at 5 "
        f"severities: {name}:fog:3"
    )
    return Entry(
        open=refuse,
        note=note,
        roles=("test",),
        is_there=lambda root: (root / CIFAR_C[name].folder / "labels.npy").is_file(),
        files=CIFAR_C[name].files,
        places=(CIFAR_C[name].folder,),
    )


IMAGE_SETS: dict[str, Entry] = {
    **entries_of(_NAMED),
    **{name: _stored_corruptions(name) for name in CIFAR_C},
}
