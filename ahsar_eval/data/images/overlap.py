"""Classes of Tiny-ImageNet that mean the same as a class of CIFAR-10 or CIFAR-100, by WordNet id.

All 200 classes were gone through. One is listed where it is a kind of the CIFAR class (WordNet, or
everyday use of the word), or where its photographs have one as their subject (marked *). Whole
classes are removed, 1,200 and 2,300 of the 10,000 images; OpenOOD removes single images and tests
on 7,793 and 6,526 (github.com/Jingkang50/OpenOOD, issue 259).

Kept beside CIFAR-10, though near: lion (a big cat, not a cat of WordNet's cat.n.01, as the cougar,
a wildcat, is); gazelle (an antelope: no deer); Arabian camel, ox, bison, bighorn (no horse); school
bus and trolleybus (CIFAR-10 has no buses), tractor, go-kart, lawn mower, jinrikisha, freight car
and bullet train (neither automobile nor truck); fire salamander (no frog); missile (no airplane).
There is no airplane, deer or horse in it.

Kept beside CIFAR-100, though near: cougar (no leopard, lion or tiger), bison (no cattle), guinea
pig (no hamster), red panda (no raccoon), koala (no bear), teddy, slug (no snail), scorpion (no
spider), fire salamander (no lizard), dugong (no whale or seal), stopwatch, hourglass and parking
meter (no clocks), candle and torch (no lamps of a household), barn, cliff dwelling and thatch (no
house), chest and refrigerator (no wardrobe), moving van and police van (no pickup), cliff (no
mountain), lakeside (no sea), barrel, bucket and beaker (no can, bowl or cup), teapot, wok and
frying pan, acorn (no oak), lemon and pomegranate (no orange), and clothes, though people wear them.
"""

# wnid: (words, class of CIFAR-10)
TINY_IMAGENET_IN_CIFAR10: dict[str, tuple[str, str]] = {
    "n02814533": ("beach wagon, station wagon", "automobile"),
    "n03100240": ("convertible", "automobile"),
    "n03670208": ("limousine", "automobile"),
    "n04285008": ("sports car", "automobile"),
    "n01855672": ("goose", "bird"),
    "n02002724": ("black stork", "bird"),
    "n02056570": ("king penguin", "bird"),
    "n02058221": ("albatross", "bird"),
    "n02123045": ("tabby", "cat"),
    "n02123394": ("Persian cat", "cat"),
    "n02124075": ("Egyptian cat", "cat"),
    "n02125311": ("cougar", "cat"),
    "n02085620": ("Chihuahua", "dog"),
    "n02094433": ("Yorkshire terrier", "dog"),
    "n02099601": ("golden retriever", "dog"),
    "n02099712": ("Labrador retriever", "dog"),
    "n02106662": ("German shepherd", "dog"),
    "n02113799": ("standard poodle", "dog"),
    "n01641577": ("bullfrog", "frog"),
    "n01644900": ("tailed frog", "frog"),
    "n03447447": ("gondola", "ship"),  # CIFAR-10's ships are boats of every size
    "n03662601": ("lifeboat", "ship"),
    "n03796401": ("moving van", "truck"),
    "n03977966": ("police van", "truck"),  # WordNet: a van, which is a truck
}

# wnid: (words, fine class of CIFAR-100)
TINY_IMAGENET_IN_CIFAR100: dict[str, tuple[str, str]] = {
    "n01443537": ("goldfish", "aquarium_fish"),
    "n02132136": ("brown bear", "bear"),
    "n02206856": ("bee", "bee"),
    "n02165456": ("ladybug", "beetle"),
    "n02823428": ("beer bottle", "bottle"),
    "n03937543": ("pill bottle", "bottle"),
    "n03983396": ("pop bottle", "bottle"),
    "n04560804": ("water jug", "bottle"),  # WordNet: a jug is a large bottle
    "n04311004": ("steel arch bridge", "bridge"),
    "n04366367": ("suspension bridge", "bridge"),
    "n04532670": ("viaduct", "bridge"),
    "n04146614": ("school bus", "bus"),
    "n04487081": ("trolleybus", "bus"),
    "n02279972": ("monarch butterfly", "butterfly"),
    "n02281406": ("sulphur butterfly", "butterfly"),
    "n02437312": ("Arabian camel", "camel"),
    "n02403003": ("ox", "cattle"),
    "n04099969": ("rocking chair", "chair"),
    "n02481823": ("chimpanzee", "chimpanzee"),
    "n02233338": ("cockroach", "cockroach"),
    "n01698640": (
        "American alligator",
        "crocodile",
    ),  # a crocodilian; at 32x32 nobody tells them apart
    "n07920052": ("espresso", "cup"),  # *
    "n02504458": ("African elephant", "elephant"),
    "n03085013": ("computer keyboard", "keyboard"),
    "n03637318": ("lampshade", "lamp"),  # *
    "n03649909": ("lawn mower", "lawn_mower"),
    "n02129165": ("lion", "lion"),
    "n01983481": ("American lobster", "lobster"),
    "n01984695": ("spiny lobster", "lobster"),
    "n09193705": ("alp", "mountain"),
    "n07734744": ("mushroom", "mushroom"),
    "n07747607": ("orange", "orange"),
    "n07579787": ("plate", "plate"),  # * the word means a dish of food here, which lies on one
    "n04008634": ("projectile, missile", "rocket"),
    "n09428293": ("seashore", "sea"),  # *
    "n01944390": ("snail", "snail"),
    "n01742172": ("boa constrictor", "snake"),
    "n01774384": ("black widow", "spider"),
    "n01774750": ("tarantula", "spider"),
    "n07720875": ("bell pepper", "sweet_pepper"),
    "n03179701": ("desk", "table"),
    "n03201208": ("dining table", "table"),
    "n03902125": ("pay-phone", "telephone"),
    "n04465501": ("tractor", "tractor"),
    "n02917067": ("bullet train", "train"),
    "n03393912": ("freight car", "train"),  # *
}
