"""The splits of a trained run, from the dataset as it is now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain_masks.data import DomainSplits, load_dataset
from domain_masks.progress import Reporter
from domain_masks.records import RunFolder
from domain_masks.records.config import parse_config, read_settings
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.contents import compare_images
from domain_masks.training.provenance import Provenance
from domain_masks.training.run_dataset import dataset_of_run, splits_of


def splits_as_trained(folder: RunFolder, changes: Mapping[str, Any], reporter: Reporter) -> DomainSplits:
    """Return the splits of a trained run; its training and validation images are those that it was trained with.

    Each change of other images is reported.

    - ``changes``: settings that differ from the run's own, such as where the dataset lies now

    Raises InputError for unreadable images, and classes and domains that are new; RunFolderError for a folder without settings
    or checkpoint, and where the sources are divided differently now, or their images have another content.
    """
    config = parse_config({**read_settings(folder.config), **changes})
    provenance = Provenance.of_checkpoint(load_checkpoint(folder.last))
    opened = load_dataset(config.dataset, config.root)
    splits = splits_of(config, dataset_of_run(opened, config, folder, reporter, provenance).images)
    for line in compare_images(splits, provenance):
        reporter.say(line)
    return splits
