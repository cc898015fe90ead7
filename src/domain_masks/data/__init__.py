"""Multi-domain datasets, their splits, and loaders of image batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach
from domain_masks.sampling import SAMPLING, balanced_batches, pooled_batches

if TYPE_CHECKING:
    from domain_masks.data.augmentation import AUGMENTATIONS, Augmentation, BatchAugmentation, augmentation_named
    from domain_masks.data.content import content_of
    from domain_masks.data.dataset import ImageDataset, Subset, without_rows
    from domain_masks.data.device_images import DeviceImages, DeviceLoader, device_batches, images_on_device
    from domain_masks.data.digits import load_digits_dataset
    from domain_masks.data.domainnet import load_domainnet
    from domain_masks.data.folders import load_folder
    from domain_masks.data.huggingface import load_huggingface
    from domain_masks.data.image_cache import with_stored_images
    from domain_masks.data.image_memory import images_stay_in_memory
    from domain_masks.data.image_modes import to_rgb
    from domain_masks.data.loading import BatchPlan, LoaderSettings, TrainingLoader, evaluation_batches, view_batches
    from domain_masks.data.manifest import load_manifest
    from domain_masks.data.pacs import load_pacs
    from domain_masks.data.preprocessing import Preprocessing
    from domain_masks.data.published_datasets import load_published
    from domain_masks.data.registry import DATASETS, DatasetRecord, default_preprocessing, load_dataset, record_of
    from domain_masks.data.splits import DomainSplits, domains_named, source_positions, split_domains
    from domain_masks.data.verification import BadImage, examine, identified, readable, usable, verify

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "SAMPLING",
    "Augmentation",
    "BadImage",
    "BatchAugmentation",
    "BatchPlan",
    "DatasetRecord",
    "DeviceImages",
    "DeviceLoader",
    "DomainSplits",
    "ImageDataset",
    "LoaderSettings",
    "Preprocessing",
    "Subset",
    "TrainingLoader",
    "augmentation_named",
    "balanced_batches",
    "content_of",
    "default_preprocessing",
    "device_batches",
    "domains_named",
    "evaluation_batches",
    "examine",
    "identified",
    "images_on_device",
    "images_stay_in_memory",
    "load_dataset",
    "load_digits_dataset",
    "load_domainnet",
    "load_folder",
    "load_huggingface",
    "load_manifest",
    "load_pacs",
    "load_published",
    "pooled_batches",
    "readable",
    "record_of",
    "source_positions",
    "split_domains",
    "to_rgb",
    "usable",
    "verify",
    "view_batches",
    "with_stored_images",
    "without_rows",
]

attach(__name__)
