"""`imagecorruptions` 1.1.2 as a peer: its own functions, one image at a time, with CIFAR-10-C's
constants put in place of ImageNet-C's.

Its source is read, mended where current libraries refuse it (three of its nineteen functions), and
given our constants before it runs; nothing of it is kept here. It reads and gives uint8-range
images [H, W, 3].
"""

import ast
import importlib.util
import types
from pathlib import Path
from typing import Any

import numpy as np

CONSTANTS: dict[str, Any] = {
    "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
    "shot_noise": [500, 250, 100, 75, 50],
    "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],
    "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    "glass_blur": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    "zoom_blur": [np.arange(1, end, 0.01) for end in (1.06, 1.11, 1.16, 1.21, 1.26)],
    "snow": [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
    "elastic_transform": None,  # another algorithm, without the affine map: it runs as it is
    "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
    "jpeg_compression": [80, 65, 58, 50, 40],
    "speckle_noise": [0.06, 0.1, 0.12, 0.16, 0.2],
    "gaussian_blur": [0.4, 0.6, 0.7, 0.8, 1],
    "spatter": [
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ],
    "saturate": [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
}
_MENDED = {  # what current NumPy, SciPy, scikit-image and setuptools no longer have
    "np.float_": "np.float64",
    "multichannel=True": "channel_axis=-1",
    "scipy.ndimage.interpolation": "scipy.ndimage",
    "from pkg_resources import resource_filename": "",
}


def peer() -> types.ModuleType:
    """The mended module with our constants. Raises `ModuleNotFoundError` where imagecorruptions is
    not installed.
    """
    found = importlib.util.find_spec("imagecorruptions")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("imagecorruptions is not installed (extra bench)")
    folder = Path(found.origin).parent
    text = (folder / "corruptions.py").read_text(encoding="utf-8")
    for old, new in _MENDED.items():
        text = text.replace(old, new)
    tree = _WithConstants().visit(ast.parse(text))
    module = types.ModuleType("peer_corruptions_module")
    module.__dict__.update(OURS=CONSTANTS, resource_filename=lambda _, name: str(folder / name))
    exec(
        compile(ast.fix_missing_locations(tree), str(folder / "corruptions.py"), "exec"),
        module.__dict__,
    )
    return module


class _WithConstants(ast.NodeTransformer):
    """Replaces `c = [...][severity − 1]` in each corruption by `c = OURS[name][severity − 1]`."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        if CONSTANTS.get(node.name) is not None:
            for statement in node.body:
                if (
                    isinstance(statement, ast.Assign)
                    and isinstance(statement.targets[0], ast.Name)
                    and statement.targets[0].id == "c"
                ):
                    statement.value = ast.parse(
                        f"OURS[{node.name!r}][severity - 1]", mode="eval"
                    ).body
        return node
