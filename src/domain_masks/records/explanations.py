"""What masks look at: class activation maps, channels that differ between two masks, features in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping

from domain_masks.records.json_record import Count, Fraction, Number, RecordPart, Text


class HeatMap(RecordPart):
    """A class activation map over its image; ``probability``: of the class that it explains, under the map's ensemble.

    - ``thumbnail``: a path relative to the run folder
    - ``is_empty``: nothing in the image speaks for the class, the map is 0 everywhere
    """

    probability: Fraction
    thumbnail: Text
    is_empty: bool = False


class ExplainedImage(RecordPart):
    """One image, as the network sees it, and a map for its ``predicted`` class under each ensemble.

    - ``thumbnail``: of the image alone
    - ``maps``: ensemble, "predictions" or "known:SOURCE" -> its map
    """

    id: Text
    domain: Text
    label: Text
    predicted: Text
    thumbnail: Text
    maps: dict[str, HeatMap]


class HeatMaps(RecordPart):
    """Class activation maps of a few images per domain; ``layer``: where they are computed, with a grid of ``grid`` places."""

    layer: Text
    grid: list[Count]
    images: list[ExplainedImage]


class ExcitingImage(RecordPart):
    """An image and the mean ``activation`` of a channel on it; ``thumbnail`` as in a gallery."""

    id: Text
    domain: Text
    label: Text
    activation: Number
    thumbnail: Text | None = None


class DifferingChannel(RecordPart):
    """A channel, or unit, that is on (m > 0.5) in one source's mask and off in another's.

    - ``site``, ``channel``: the mask site, and the index there, from 0
    - ``on``, ``off``: the sources; ``on_probability``, ``off_probability``: their mask probabilities m
    - ``images``: those that excite it most before its mask, under the mask in which it is on
    """

    site: Text
    channel: Count
    on: Text
    off: Text
    on_probability: Fraction
    off_probability: Fraction
    images: list[ExcitingImage] = []


class MaskPair(RecordPart):
    """Two sources' masks; ``differing``: site -> how many channels differ, ``channels``: those that differ most."""

    first: Text
    second: Text
    differing: dict[str, Count]
    channels: list[DifferingChannel]


class ChannelDifferences(RecordPart):
    """The channels in which the masks differ; ``images``: source -> how many of its images were looked at, if any were."""

    pairs: list[MaskPair]
    images: dict[str, Count] = {}

    @property
    def shown(self) -> list[str]:
        """The ids of all images, each once."""
        channels = [channel for pair in self.pairs for channel in pair.channels]
        return list(dict.fromkeys(image.id for channel in channels for image in channel.images))

    def with_thumbnails(self, paths: Mapping[str, str]) -> ChannelDifferences:
        """Return the differences with the paths of the images' thumbnails; ``paths`` is id -> path, of those that have one."""

        def shown(channel: DifferingChannel) -> DifferingChannel:
            images = [one.model_copy(update={"thumbnail": paths.get(one.id)}) for one in channel.images]
            return channel.model_copy(update={"images": images})

        pairs = [pair.model_copy(update={"channels": [*map(shown, pair.channels)]}) for pair in self.pairs]
        return self.model_copy(update={"pairs": pairs})


class FeatureMap(RecordPart):
    """The features of N images in two dimensions.

    - ``method``: "PCA" or "UMAP"
    - ``layer``, ``size``: the boundary, whose inputs are averaged over positions, and how many features these are
    - ``explained``: the fractions of the variance along both axes, of PCA
    - ``x``, ``y``: (N,); ``domain``, ``label``: (N,), indices in ``domains`` and ``classes``
    """

    method: Text
    layer: Text
    size: Count
    explained: list[Fraction] = []
    domains: list[Text]
    classes: list[Text]
    x: list[Number]
    y: list[Number]
    domain: list[Count]
    label: list[Count]
