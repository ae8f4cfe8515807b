"""The event sets that people use: what they are, and how they lie below the data root: folder
names, classes, sensors, official divisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval.data.entry import DataOptions, Entry
from ahsar_eval.data.images.classes import CIFAR10, DIGITS

if TYPE_CHECKING:
    from ahsar_eval.data.events.stream import Sensor
    from ahsar_eval.data.split import SampleSet

# The division of a set that has no official one, in words.
BY_NAME = "by file name: within each class, in natural order (9 before 10), the first tenth is test"


@dataclass(frozen=True)
class Layout:
    """One set below the data root. Names of folders are compared without regard to case.

    `folders` are synonyms of the set's own folder; `divisions` those of each role's (none: the set
    has no official division, and is divided by file name, or at `random` by the split seed);
    `classes` in the order of the labels (none: the folders that are there, sorted), `spellings`
    other names of a class's folder. `label_is_name`: the file's name is the class where no folder
    is. `counts` are the official numbers of recordings. `label_space` is the set's own name where
    none is given.
    """

    note: str
    folders: tuple[str, ...]
    suffixes: tuple[str, ...]
    sensor: "Sensor"  # height, width
    files: str
    source: str
    classes: tuple[str, ...] = ()
    label_space: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    divisions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    random: bool = False
    spellings: Mapping[str, str] = field(default_factory=dict)
    form: str | None = None
    label_is_name: bool = False
    augment: str = ""  # `Entry.augment`

    def base(self, root: Path) -> Path | None:
        """The set's own folder below `root`, None where there is none."""
        held = sorted(root.iterdir()) if root.is_dir() else []
        found = {path.name.lower(): path for path in held if path.is_dir()}
        return next((found[key] for name in self.folders if (key := name.lower()) in found), None)


# The labels 0 to 10 of tonic and SpikingJelly are those of the set's own table (1 to 11), less one.
_GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)

_CIFAR10_DVS = Layout(
    note=f"CIFAR-10 images moved before a DVS128, 128x128; split {BY_NAME}",
    augment="flip-roll",
    folders=("CIFAR10DVS", "CIFAR10-DVS", "cifar10_dvs", "DVS-CIFAR10"),
    suffixes=(".aedat", ".aedat4", ".npz"),
    sensor=(128, 128),  # DVS128 (Li et al. 2017)
    classes=CIFAR10,  # CIFAR-10's own order, whatever the folders'
    label_space="cifar10",
    files="CIFAR10DVS/<class>/*.aedat (also .aedat4, .npz)",
    source=(
        '"CIFAR10-DVS: An Event-Stream Dataset for Object Classification" (Li et al. 2017; '
        "figshare, CIFAR10-DVS New)"
    ),
    counts={"all": 10_000},
    form="cifar10-dvs",
)

LAYOUTS: dict[str, Layout] = {
    "cifar10-dvs": _CIFAR10_DVS,
    "cifar10-dvs-random": replace(
        _CIFAR10_DVS,
        note="CIFAR10-DVS, a tenth of each class drawn by the split seed as test",
        random=True,
    ),
    "n-mnist": Layout(
        note="MNIST digits seen by a moving ATIS in three saccades, 34x34",
        augment="roll",  # a mirrored digit is none
        folders=("NMNIST", "N-MNIST", "n_mnist"),
        suffixes=(".bin", ".npz"),
        sensor=(34, 34),  # Orchard et al. 2015, section 2.4
        classes=DIGITS,
        label_space="digits",
        files="NMNIST/Train/<digit>/*.bin and NMNIST/Test/<digit>/*.bin",
        source="the N-MNIST page of Garrick Orchard (Mendeley Data, doi 10.17632/468j46mzdv)",
        counts={"train": 60_000, "test": 10_000},
        divisions={"train": ("Train",), "test": ("Test",)},
    ),
    "dvs-gesture": Layout(
        note="11 hand and arm gestures before a DVS128, 128x128",
        augment="roll",  # left and right hand are classes
        folders=(
            "DVSGesture",
            "DVS128Gesture",
            "DvsGesture",
            "dvs128gesture",
            "dvs128gesture_10clips",
        ),
        suffixes=(".npy", ".npz"),
        sensor=(128, 128),  # DVS128 (Amir et al. 2017)
        classes=_GESTURES,
        files=(
            "DVSGesture/ibmGestureTrain and ibmGestureTest (tonic's clips, .npy), or "
            "DVS128Gesture/events_np/{train,test}/<label>/*.npz"
        ),
        source=(
            "IBM's DVS128 Gesture Dataset (Amir et al. 2017), cut into clips as tonic or "
            "SpikingJelly do"
        ),
        # No counts: tonic cuts 1,077 + 264 clips, SpikingJelly 1,176 + 288.
        divisions={"train": ("ibmGestureTrain", "train"), "test": ("ibmGestureTest", "test")},
        spellings={str(label): name for label, name in enumerate(_GESTURES)},
        form="dvs-gesture",
        label_is_name=True,
    ),
    "n-caltech101": Layout(
        note=(
            "Caltech101 images seen by a moving ATIS, 240x180; split by file name, as none is "
            "official"
        ),
        augment="flip-roll",
        folders=("NCaltech101", "N-Caltech101", "NCALTECH101", "n_caltech101", "Caltech101"),
        suffixes=(".bin", ".npz"),
        # Images of at most 240x180 on the ATIS (Orchard et al. 2015); as Gehrig et al. 2019 and
        # SpikingJelly.
        sensor=(180, 240),
        files="NCaltech101/Caltech101/<class>/*.bin",
        source="the N-Caltech101 page of Garrick Orchard (Mendeley Data, doi 10.17632/cy6cvx3ryv)",
    ),
    "asl-dvs": Layout(
        note=(
            "24 letters of American sign language, DAVIS240C, 240x180; split by file name, as "
            "none is official"
        ),
        augment="roll",  # one hand signs
        folders=("ASLDVS", "ASL-DVS", "asl_dvs"),
        suffixes=(".mat", ".npz"),
        sensor=(180, 240),  # DAVIS240C (Bi et al. 2019)
        classes=tuple("abcdefghiklmnopqrstuvwxy"),  # the signs of j and z are movements
        files="ASLDVS/<letter>/*.mat",
        source="ASL-DVS of PIX2NVS/NVS2Graph (Bi et al. 2019)",
        counts={"all": 100_800},
        form="asl-dvs",
    ),
    "pokerdvs": Layout(
        note="4 suits of poker cards, 35x35, 68 recordings",
        augment="flip-roll",  # suits are symmetric
        folders=("POKERDVS", "POKER-DVS", "poker_dvs"),
        suffixes=(".npy", ".npz"),
        sensor=(35, 35),  # tonic's cut around each pip
        classes=("cl", "he", "di", "sp"),
        files="POKERDVS/pips_train/<suit>/*.npy and POKERDVS/pips_test/<suit>/*.npy",
        source=(
            "POKER-DVS (Serrano-Gotarredona and Linares-Barranco 2015), as distributed with "
            "tonic (pips_train, pips_test)"
        ),
        counts={"train": 48, "test": 20},
        divisions={"train": ("pips_train", "train"), "test": ("pips_test", "test")},
        form="pokerdvs",
    ),
    "st-mnist": Layout(
        note="digits written on a tactile sensor of 10x10; split by file name, as none is official",
        folders=("STMNIST", "ST-MNIST", "st_mnist", "data_submission"),
        suffixes=(".mat",),
        sensor=(10, 10),  # 100 taxels (See et al. 2020)
        classes=DIGITS,
        label_space="digits",
        files="STMNIST/data_submission/<digit>/*.mat",
        source=(
            '"ST-MNIST: The Spiking Tactile MNIST Neuromorphic Dataset" (See et al. 2020; NUS '
            "ScholarBank, record 168106)"
        ),
        counts={"all": 6_953},
    ),
    "n-cars": Layout(
        note="cars and background, windows of an ATIS of at most 120x100",
        augment="flip-roll",
        folders=("NCARS", "N-CARS", "n_cars", "Prophesee_Dataset_n_cars"),
        suffixes=(".dat",),
        sensor=(100, 120),  # the largest window of the set (Sironi et al. 2018), which states none
        classes=("background", "cars"),
        files=(
            "NCARS/n-cars_train/{background,cars}/*.dat and "
            "NCARS/n-cars_test/{background,cars}/*.dat"
        ),
        source="Prophesee's N-CARS dataset page (Sironi et al. 2018)",
        counts={"train": 15_422, "test": 8_607},
        divisions={"train": ("n-cars_train", "train"), "test": ("n-cars_test", "test")},
        spellings={"car": "cars"},
    ),
}


def _entry(name: str, known: Layout) -> Entry:
    def opened(role: str, options: DataOptions) -> "SampleSet":
        from ahsar_eval.data.events.stored import open_named

        return open_named(name, known, role, options)

    return Entry(
        opened,
        known.note,
        is_there=lambda root: known.base(root) is not None,
        modality="events",
        files=known.files,
        places=known.folders,
        augment=known.augment,
    )


EVENT_SETS = {name: _entry(name, known) for name, known in LAYOUTS.items()}
