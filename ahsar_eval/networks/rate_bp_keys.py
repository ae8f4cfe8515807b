"""State dicts of the public rate-based-backpropagation code (Tab-ct/rate-based-backpropagation) for
our VGG-13 and ResNet-18.

The layers are the same in number, order and shape: convolutions 3×3 (1×1 in a shortcut) with batch
norm and LIF, average pooling by 2 between the groups of the VGG, global average, one linear,
time-mean of the logits. Two things differ. Their VGG-13 gives every convolution a bias; since batch
norm follows, (x + b − μ) = (x − (μ − b)), the bias moves into the running mean, exact but for
rounding. Names differ, by the tables below.
"""

from collections.abc import Mapping

from torch import Tensor

from ahsar_eval.errors import ModelError

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

# Theirs → ours, module by module. VGG-13 counts every layer of `feature`: convolution, batch norm,
# LIF, and the poolings at 6, 13, 20, 30.
_VGG13 = {
    "feature.0": "features.conv1_1",
    "feature.1": "features.bn1_1",
    "feature.3": "features.conv1_2",
    "feature.4": "features.bn1_2",
    "feature.7": "features.conv2_1",
    "feature.8": "features.bn2_1",
    "feature.10": "features.conv2_2",
    "feature.11": "features.bn2_2",
    "feature.14": "features.conv3_1",
    "feature.15": "features.bn3_1",
    "feature.17": "features.conv3_2",
    "feature.18": "features.bn3_2",
    "feature.21": "features.conv4_1",
    "feature.22": "features.bn4_1",
    "feature.24": "features.conv4_2",
    "feature.25": "features.bn4_2",
    "feature.27": "features.conv4_3",
    "feature.28": "features.bn4_3",
    "feature.31": "features.conv5_1",
    "feature.32": "features.bn5_1",
    "classifier.0": "linear",
}
_IN_A_BLOCK = {"conv1": "conv1", "bn1": "bn1", "conv2": "conv2", "bn2": "bn2"}
_SHORTCUT = {"shortcut.0": "shortcut.conv", "shortcut.1": "shortcut.bn"}
_RESNET18 = {
    "conv0.0": "conv",
    "conv0.1": "bn",
    **{
        f"layer{stage}.{block}.{theirs}": f"stages.stage{stage}.block{block + 1}.{ours}"
        for stage in (1, 2, 3, 4)
        for block in (0, 1)
        for theirs, ours in (_IN_A_BLOCK | (_SHORTCUT if stage > 1 and block == 0 else {})).items()
    },
    "classifier.0": "linear",
}
RATE_BP_KEYS = {"vgg13": _VGG13, "resnet18": _RESNET18}


def from_rate_bp(backbone: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the public layout under the names of our `backbone` ('vgg13' or 'resnet18').

    Raises `ModelError` for another backbone, and for the first missing or unexpected name and the
    first shape that cannot be.
    """
    if backbone not in RATE_BP_KEYS:
        raise ModelError(
            f"the layout rate-bp is known for {', '.join(RATE_BP_KEYS)}, and the backbone is "
            f"{backbone!r}; choose one with --backbone"
        )
    modules = RATE_BP_KEYS[backbone]
    left = dict(state)
    taken: dict[str, Tensor] = {}
    for theirs, ours in modules.items():
        normalises = ours.rpartition(".")[2].startswith("bn")
        for field in (
            _NORM if normalises else ("weight", "bias") if ours == "linear" else ("weight",)
        ):
            if f"{theirs}.{field}" not in left:
                raise ModelError(
                    f"it lacks {theirs}.{field}, which a {backbone} of the layout rate-bp has; is "
                    "it another network's?"
                )
            taken[f"{ours}.{field}"] = left.pop(f"{theirs}.{field}")
    if backbone == "vgg13":
        _fold_biases(modules, left, taken)
    for name in left:
        raise ModelError(
            f"it has {name}, which a {backbone} of the layout rate-bp lacks; is it another "
            "network's?"
        )
    return taken


def width_of_rate_bp(state: Mapping[str, Tensor]) -> float:
    """Width factor of a state dict of the public layout: channels of its first convolution over 64,
    1 where that is not to be found.
    """
    first = next(
        (state[name] for name in ("feature.0.weight", "conv0.0.weight") if name in state), None
    )
    return 1.0 if first is None or first.dim() != 4 or len(first) == 0 else len(first) / 64


def _fold_biases(
    modules: Mapping[str, str], left: dict[str, Tensor], taken: dict[str, Tensor]
) -> None:
    """Move the bias of each convolution into the running mean of the batch norm behind it."""
    for theirs, ours in modules.items():
        bias = left.pop(f"{theirs}.bias", None) if ".conv" in ours else None
        if bias is None:
            continue  # trained with use_bias=False
        mean = f"{ours.replace('.conv', '.bn')}.running_mean"
        if bias.shape != taken[mean].shape:
            raise ModelError(
                f"it has {theirs}.bias of shape {tuple(bias.shape)}, and the batch norm behind it "
                f"has {tuple(taken[mean].shape)}; "
                "is it another network's?"
            )
        taken[mean] = taken[mean] - bias
