"""Tables of images: class activation maps under each mask, and the images that excite the channels that differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domain_masks.records.counts import counted, listed
from domain_masks.records.ensemble_names import KNOWN_DOMAIN
from domain_masks.records.explanations import ChannelDifferences, DifferingChannel, ExplainedImage, HeatMap, HeatMaps
from domain_masks.report.document import GalleryImage, ImageRow, ImageTable


def heat_map_table(folder: Path, maps: HeatMaps, domains: Sequence[str], title: str) -> ImageTable | None:
    """Return the class activation maps of some domains' images, a row for each image; None without any.

    - ``folder``: of the run
    """
    images = [image for domain in domains for image in maps.images if image.domain == domain]
    if not images:
        return None
    ensembles = list(images[0].maps)
    columns = ["image", *(_ensemble_title(name) for name in ensembles)]
    caption = (
        f"Grad-CAM at {maps.layer} (a grid of {' × '.join(map(str, maps.grid))}) for the class that the ensemble predicts: "
        "where the evidence for it lies under all masks or heads, and under each alone. Each map is scaled by its own "
        "maximum; below it the probability of that class."
    )
    return ImageTable(title, columns, [_heat_row(folder, image, ensembles) for image in images], caption)


def channel_tables(folder: Path, channels: ChannelDifferences) -> list[ImageTable]:
    """Return a table for each pair of sources whose masks differ, a row for each channel with the images that excite it."""
    looked_at = listed([f"{count:,} of {source}" for source, count in channels.images.items()])
    tables = []
    for pair in channels.pairs:
        if not pair.channels:
            continue
        each = ", ".join(f"{counted(count, 'unit')} at {site}" for site, count in pair.differing.items())
        caption = (
            f"Units that are on (m > 0.5) in one of these masks and off in the other: {each}. Shown are those whose "
            "probabilities differ most"
        )
        if looked_at:
            caption += (
                ", with the images that excite them most: by their mean activation in front of the mask, among the validation "
                f"or test images of the sources ({looked_at})"
            )
        rows = [_channel_row(folder, channel) for channel in pair.channels]
        tables.append(ImageTable(f"Units that differ: {pair.first} and {pair.second}", [], rows, f"{caption}."))
    return tables


def _ensemble_title(name: str) -> str:
    return f"{name.removeprefix(KNOWN_DOMAIN)} alone" if name.startswith(KNOWN_DOMAIN) else "ensemble"


def _heat_row(folder: Path, image: ExplainedImage, ensembles: Sequence[str]) -> ImageRow:
    first = GalleryImage(folder / image.thumbnail, image.id, "", is_wrong=image.predicted != image.label)
    shown = [image.maps.get(name) for name in ensembles]
    return ImageRow(
        image.domain,
        f"predicted {image.predicted}\nlabel {image.label}",
        [first, *(None if one is None else _heat_image(folder, one, image.id) for one in shown)],
    )


def _heat_image(folder: Path, heat: HeatMap, name: str) -> GalleryImage:
    nothing = "\nno evidence" if heat.is_empty else ""
    return GalleryImage(folder / heat.thumbnail, f"class activation map of {name}", f"{heat.probability:.0%}{nothing}")


def _channel_row(folder: Path, channel: DifferingChannel) -> ImageRow:
    detail = f"on in {channel.on}, {channel.on_probability:.2f}\noff in {channel.off}, {channel.off_probability:.2f}"
    images = [
        None
        if image.thumbnail is None
        else GalleryImage(folder / image.thumbnail, image.id, f"{image.label}\n{image.domain}")
        for image in channel.images
    ]
    return ImageRow(f"{channel.site}, {channel.channel}", detail, images)
