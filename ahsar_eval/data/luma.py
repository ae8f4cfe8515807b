"""Grey of colour images: ITU-R BT.601 luma, as in Pillow's convert("L") and OpenCV's
COLOR_RGB2GRAY.
"""

from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def grey(images: Tensor) -> Tensor:
    """Luma of images [..., C, H, W], [..., 1, H, W]; images of one channel as they are."""
    if images.shape[-3] == 1:
        return images
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(-3, keepdim=True)
