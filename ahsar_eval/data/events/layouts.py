"""How the event sets that people use lie on disk: folder names, classes, sensors, official
divisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ahsar_eval.data.events.decoded import Sensor

# The division of a set that has no official one, in words.
BY_NAME = "by file name: within each class, in natural order (9 before 10), the first tenth is test"


@dataclass(frozen=True)
class Layout:
    """One set below the data root. Names of folders are compared without regard to case.

    `folders` are synonyms of the set's own folder; `divisions` those of each role's (none: the set
    has no official division); `classes` in the order of the labels (none: the folders that are
    there, sorted), `spellings` other names of a class's folder. `label_is_name`: the file's name is
    the class where no folder is. `counts` are the official numbers of recordings.
    """

    folders: tuple[str, ...]
    suffixes: tuple[str, ...]
    sensor: "Sensor"  # height, width
    classes: tuple[str, ...]
    label_space: str
    files: str
    source: str
    counts: Mapping[str, int]
    divisions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)
    form: str | None = None
    label_is_name: bool = False


_CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_DIGITS = tuple("0123456789")
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

LAYOUTS: dict[str, Layout] = {
    "cifar10-dvs": Layout(
        folders=("CIFAR10DVS", "CIFAR10-DVS", "cifar10_dvs", "DVS-CIFAR10"),
        suffixes=(".aedat", ".aedat4", ".npz"),
        sensor=(128, 128),  # DVS128 (Li et al. 2017)
        classes=_CIFAR10,  # CIFAR-10's own order, whatever the folders'
        label_space="cifar10",
        files="CIFAR10DVS/<class>/*.aedat (also .aedat4, .npz)",
        source=(
            '"CIFAR10-DVS: An Event-Stream Dataset for Object Classification" (Li et al. 2017; '
            "figshare, CIFAR10-DVS New)"
        ),
        counts={"all": 10_000},
        form="cifar10-dvs",
    ),
    "n-mnist": Layout(
        folders=("NMNIST", "N-MNIST", "n_mnist"),
        suffixes=(".bin", ".npz"),
        sensor=(34, 34),  # Orchard et al. 2015, section 2.4
        classes=_DIGITS,
        label_space="digits",
        files="NMNIST/Train/<digit>/*.bin and NMNIST/Test/<digit>/*.bin",
        source="the N-MNIST page of Garrick Orchard (Mendeley Data, doi 10.17632/468j46mzdv)",
        counts={"train": 60_000, "test": 10_000},
        divisions={"train": ("Train",), "test": ("Test",)},
    ),
    "dvs-gesture": Layout(
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
        label_space="dvs-gesture",
        files=(
            "DVSGesture/ibmGestureTrain and ibmGestureTest (tonic's clips, .npy), or "
            "DVS128Gesture/events_np/{train,test}/<label>/*.npz"
        ),
        source=(
            "IBM's DVS128 Gesture Dataset (Amir et al. 2017), cut into clips as tonic or "
            "SpikingJelly do"
        ),
        counts={},  # tonic cuts 1,077 + 264 clips, SpikingJelly 1,176 + 288
        divisions={"train": ("ibmGestureTrain", "train"), "test": ("ibmGestureTest", "test")},
        spellings={str(label): name for label, name in enumerate(_GESTURES)},
        form="dvs-gesture",
        label_is_name=True,
    ),
    "n-caltech101": Layout(
        folders=("NCaltech101", "N-Caltech101", "NCALTECH101", "n_caltech101", "Caltech101"),
        suffixes=(".bin", ".npz"),
        sensor=(
            180,
            240,
            # images of at most 240x180 on the ATIS (Orchard et al. 2015); as Gehrig et al. 2019 and
            # SpikingJelly
        ),
        classes=(),
        label_space="n-caltech101",
        files="NCaltech101/Caltech101/<class>/*.bin",
        source="the N-Caltech101 page of Garrick Orchard (Mendeley Data, doi 10.17632/cy6cvx3ryv)",
        counts={},
    ),
    "asl-dvs": Layout(
        folders=("ASLDVS", "ASL-DVS", "asl_dvs"),
        suffixes=(".mat", ".npz"),
        sensor=(180, 240),  # DAVIS240C (Bi et al. 2019)
        classes=tuple("abcdefghiklmnopqrstuvwxy"),  # the signs of j and z are movements
        label_space="asl-dvs",
        files="ASLDVS/<letter>/*.mat",
        source="ASL-DVS of PIX2NVS/NVS2Graph (Bi et al. 2019)",
        counts={"all": 100_800},
        form="asl-dvs",
    ),
    "pokerdvs": Layout(
        folders=("POKERDVS", "POKER-DVS", "poker_dvs"),
        suffixes=(".npy", ".npz"),
        sensor=(35, 35),  # tonic's cut around each pip
        classes=("cl", "he", "di", "sp"),
        label_space="pokerdvs",
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
        folders=("STMNIST", "ST-MNIST", "st_mnist", "data_submission"),
        suffixes=(".mat",),
        sensor=(10, 10),  # 100 taxels (See et al. 2020)
        classes=_DIGITS,
        label_space="digits",
        files="STMNIST/data_submission/<digit>/*.mat",
        source=(
            '"ST-MNIST: The Spiking Tactile MNIST Neuromorphic Dataset" (See et al. 2020; NUS '
            "ScholarBank, record 168106)"
        ),
        counts={"all": 6_953},
    ),
    "n-cars": Layout(
        folders=("NCARS", "N-CARS", "n_cars", "Prophesee_Dataset_n_cars"),
        suffixes=(".dat",),
        sensor=(
            100,
            120,
        ),  # the largest window of the set (Sironi et al. 2018); the files state none
        classes=("background", "cars"),
        label_space="n-cars",
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
