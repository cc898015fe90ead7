"""A convolutional network for small images, trained from scratch in seconds."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class SmallConvNet(nn.Module):
    """Three convolutional blocks and two fully connected layers, for images of about 16 to 64 pixels.

    - ``features``: three blocks of convolution, batch norm, ReLU, max pooling; 16, 32 and 64 channels
    - ``pool``: average over 2 x 2 cells
    - ``classifier``: ``hidden`` (256 -> 128), ReLU, dropout 0.5, ``head`` (128 -> classes)
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        previous = 3
        for index, channels in enumerate((16, 32, 64)):
            blocks[f"block{index + 1}"] = nn.Sequential(
                nn.Conv2d(previous, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            )
            previous = channels
        self.features = nn.Sequential(blocks)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            OrderedDict(
                hidden=nn.Linear(previous * 4, 128),
                activation=nn.ReLU(inplace=True),
                dropout=nn.Dropout(0.5),
                head=nn.Linear(128, classes),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, C) of images (N, 3, H, W)."""
        logits: Tensor = self.classifier(self.flatten(self.pool(self.features(images))))
        return logits
