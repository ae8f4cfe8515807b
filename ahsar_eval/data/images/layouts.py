"""How image sets lie below the data root: names of files and folders, and what a split lacks.
Nothing is read here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ahsar_eval.data.images.classes import CIFAR10, CIFAR100, LSUN

Missing = Callable[[Path, str], list[str]]


def needs(**files: tuple[str, ...]) -> Missing:
    """A `missing` for sets that need the files (or folders) named for each role; `every` is for all
    roles.
    """

    def missing(root: Path, role: str) -> list[str]:
        return [
            name
            for name in (*files.get("every", ()), *files.get(role, ()))
            if not (root / name).exists()
        ]

    return missing


# CIFAR-10 and CIFAR-100


@dataclass(frozen=True)
class Batches:
    """Files of one of the two sets: the folder of the Python version with a file's MD5 each, and
    the folder of the binary version.
    """

    folder: str
    md5: dict[str, dict[str, str]]
    binary_folder: str
    binary: dict[str, tuple[str, ...]]
    label_key: bytes
    label_bytes: int  # in a row of the binary version; the last of them is the label used
    classes: tuple[str, ...]


# The checksums are those of torchvision.datasets.CIFAR10 and CIFAR100; a test holds the two equal.
CIFAR_BATCHES = {
    "cifar10": Batches(
        folder="cifar-10-batches-py",
        md5={
            "train": {
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            },
            "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
        },
        binary_folder="cifar-10-batches-bin",
        binary={
            "train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        label_key=b"labels",
        label_bytes=1,
        classes=CIFAR10,
    ),
    "cifar100": Batches(
        folder="cifar-100-python",
        md5={
            "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
            "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        },
        binary_folder="cifar-100-binary",
        binary={"train": ("train.bin",), "test": ("test.bin",)},
        label_key=b"fine_labels",
        label_bytes=2,
        classes=CIFAR100,
    ),
}


def missing_batches(batches: Batches, root: Path, role: str) -> list[str]:
    """What the Python version lacks below `root`; nothing where the binary version is complete."""
    if all((root / batches.binary_folder / name).is_file() for name in batches.binary[role]):
        return []
    return [
        f"{batches.folder}/{name}"
        for name in batches.md5[role]
        if not (root / batches.folder / name).is_file()
    ]


# CIFAR-10-C and CIFAR-100-C

# Hendrycks and Dietterich 2019: 15 corruptions, and 4 more (gaussian_blur, saturate, spatter,
# speckle_noise) meant for validation
CIFAR_C_CORRUPTIONS = (
    "brightness",
    "contrast",
    "defocus_blur",
    "elastic_transform",
    "fog",
    "frost",
    "gaussian_blur",
    "gaussian_noise",
    "glass_blur",
    "impulse_noise",
    "jpeg_compression",
    "motion_blur",
    "pixelate",
    "saturate",
    "shot_noise",
    "snow",
    "spatter",
    "speckle_noise",
    "zoom_blur",
)


@dataclass(frozen=True)
class CorruptedFiles:
    """Where a set of stored corruptions lies, and what its labels mean."""

    folder: str
    label_space: str
    classes: tuple[str, ...]
    source: str

    @property
    def files(self) -> str:
        """What lies below the data root, for people."""
        return f"{self.folder}/<corruption>.npy and {self.folder}/labels.npy ({self.source})"


CIFAR_C = {
    "cifar10-c": CorruptedFiles("CIFAR-10-C", "cifar10", CIFAR10, "zenodo.org/records/2535967"),
    "cifar100-c": CorruptedFiles("CIFAR-100-C", "cifar100", CIFAR100, "zenodo.org/records/3555552"),
}


# The idx files of MNIST and its relatives


def idx_is_there(file: Path) -> bool:
    """Whether an idx file lies there, plain or compressed."""
    return file.is_file() or compressed(file).is_file()


def compressed(file: Path) -> Path:
    """Where the compressed form of an idx file lies."""
    return file.with_name(file.name + ".gz")


# USPS

USPS_H5 = "usps/usps.h5"
USPS_TEXT = {"train": "usps.bz2", "test": "usps.t.bz2"}


def missing_usps(root: Path, role: str) -> list[str]:
    """What lacks below `root`; nothing where either version is there."""
    return [] if any((root / name).is_file() for name in (USPS_H5, USPS_TEXT[role])) else [USPS_H5]


# Tiny-ImageNet

TINY_IMAGENET = "tiny-imagenet-200"
TINY_IMAGENET_SMALL = (
    "tinyimagenet32_val"  # the validation set alone, brought to 32×32 and stored as JPEG
)


def missing_tiny_imagenet(root: Path, role: str) -> list[str]:
    """What lacks below `root` for a split; nothing for `test` where the small version is there."""
    absent = lacking_of_tiny_imagenet(root, TINY_IMAGENET, role)
    return (
        []
        if role == "test" and not lacking_of_tiny_imagenet(root, TINY_IMAGENET_SMALL, role)
        else absent
    )


def lacking_of_tiny_imagenet(root: Path, folder: str, role: str) -> list[str]:
    """What one of the two folders lacks for a split."""
    wanted = (
        ("wnids.txt", "train")
        if role == "train"
        else ("wnids.txt", "val/val_annotations.txt", "val/images")
    )
    return [f"{folder}/{name}" for name in wanted if not (root / folder / name).exists()]


# LSUN and Omniglot


def lsun_folders(role: str) -> tuple[str, ...]:
    """Folders of a split: the test split is one, without labels; the others have one for each
    category.
    """
    if role == "test":
        return ("test_lmdb",)
    return tuple(f"{name}_{'val' if role == 'validation' else 'train'}_lmdb" for name in LSUN)


def omniglot_folder(role: str) -> str:
    """Which of the authors' two sets a split is; they have no character in common."""
    return "images_background" if role == "train" else "images_evaluation"
