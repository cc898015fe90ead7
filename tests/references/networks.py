"""Networks as users write them: small, and each with one habit that the division into F and T must cope with."""

import torch
from torch import nn
from torch.nn import functional


class OwnNetwork(nn.Module):
    """Named stages, a normalisation kept in buffers, a parameter of its own, and an optional argument."""

    def __init__(self, classes=5):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.stage = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(0.5)
        self.neck = nn.Linear(8, 10)
        self.out = nn.Linear(10, classes)

    def forward(self, images, return_features=False):
        inputs = (images - self.mean.view(1, 3, 1, 1)) * self.scale
        maps = self.stage(self.stem(inputs))
        pooled = maps.mean((2, 3))
        hidden = functional.relu(self.neck(self.dropout(pooled)))
        if return_features:
            return hidden
        return self.out(hidden)


class FunctionalDropout(nn.Module):
    """Dropout by its function, switched by ``self.training``."""

    def __init__(self, classes=5):
        super().__init__()
        self.first = nn.Linear(3 * 8 * 8, 64)
        self.second = nn.Linear(64, 32)
        self.out = nn.Linear(32, classes)

    def forward(self, images):
        hidden = functional.dropout(self.first(images.flatten(1)).relu(), 0.5, self.training)
        hidden = functional.dropout(self.second(hidden).relu(), 0.5, self.training)
        return self.out(hidden)


class ChannelsLast(nn.Module):
    """Blocks on (N, H, W, C), then on tokens (N, T, C)."""

    def __init__(self, classes=5):
        super().__init__()
        self.embed = nn.Conv2d(3, 12, 4, stride=4)
        self.block = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 9), nn.GELU())
        self.tokens = nn.Sequential(nn.Linear(9, 9), nn.GELU(), nn.Linear(9, 7))
        self.convolution = nn.Conv1d(7, 4, 1)
        self.head = nn.Linear(4, classes)

    def forward(self, images):
        maps = self.block(self.embed(images).permute(0, 2, 3, 1))
        tokens = self.tokens(maps.flatten(1, 2))
        return self.head(self.convolution(tokens.transpose(1, 2)).mean(-1))


class PassedBy(nn.Module):
    """The second branch passes the first one's last block by."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.left = nn.Conv2d(4, 4, 1)
        self.right = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        maps = self.stem(images)
        return self.head((self.left(maps) + self.right(maps)).mean((2, 3)))


class CalledTwice(nn.Module):
    """One block used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.block = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        return self.head(self.block(self.block(self.stem(images))).mean((2, 3)))


class TwoOutputs(nn.Module):
    """Returns logits and features."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3 * 8 * 8, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        features = self.stem(images.flatten(1))
        return self.head(features), features


class AuxiliaryInTraining(nn.Module):
    """Returns a tuple in training only."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3 * 8 * 8, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        features = self.stem(images.flatten(1))
        return (self.head(features), features) if self.training else self.head(features)


class DependsOnValues(nn.Module):
    """Decides by the values that it sees."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3 * 8 * 8, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        features = self.stem(images.flatten(1))
        return self.head(features) if features.sum() > 0 else self.head(-features)


class MakesConstants(nn.Module):
    """Makes a random tensor in its forward, which a trace would fix for ever."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3 * 8 * 8, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return self.head(self.stem(images.flatten(1)) + torch.rand(6))


class ProbabilitiesLast(nn.Module):
    """Has a step after its last linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3 * 8 * 8, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, images):
        return functional.log_softmax(self.head(self.stem(images.flatten(1))), dim=1)


class NoHead(nn.Module):
    """Has no linear layer at all."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3)

    def forward(self, images):
        return self.stem(images).mean((2, 3))


class ResNet(nn.Module):
    """Of the same class name as torchvision's, with modules of its own (as for CIFAR)."""

    def __init__(self, classes=5):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.linear = nn.Linear(4, classes)

    def forward(self, images):
        return self.linear(self.layer1(images).mean((2, 3)))
