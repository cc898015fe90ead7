"""The dataset of a run: its readable images, with classes and domains in the run's order."""

from __future__ import annotations

from dataclasses import dataclass

from domain_masks.data import DomainSplits, ImageDataset, examine, split_domains, usable
from domain_masks.data.label_alignment import aligned
from domain_masks.methods.method_registry import described
from domain_masks.progress import Reporter
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig
from domain_masks.records.model_card import ModelCard
from domain_masks.training.initial_model import InitialModel
from domain_masks.training.provenance import Provenance


def splits_of(config: RunConfig, dataset: ImageDataset) -> DomainSplits:
    """Return the dataset divided as ``config`` says; raises InputError as :func:`split_domains` does.

    The method declares how many source domains it needs (``fewest_sources``).
    """
    fewest = described(config.method_name).fewest_sources
    return split_domains(dataset, config.target or (), config.split_seed, fewest, config.in_domain_test)


@dataclass(frozen=True)
class RunDataset:
    """The dataset of a run.

    - ``images``: those that the run uses, with classes and domains in the order of the run
    - ``identified``: all images of the dataset now, with the fingerprints of their content
    - ``left_out``: ids of those that the run does not use, sorted
    """

    images: ImageDataset
    identified: ImageDataset
    left_out: tuple[str, ...]


def dataset_of_run(
    dataset: ImageDataset,
    config: RunConfig,
    folder: RunFolder,
    reporter: Reporter,
    provenance: Provenance | None = None,
) -> RunDataset:
    """Verify the images of a run, and put their classes and domains in the run's order.

    Images that the run left out when it was started stay left out.

    - ``provenance``: that of the run's checkpoint, where there is one

    Raises InputError for unreadable images, and for classes and domains that are new to a run with a checkpoint.
    """
    examined = examine(dataset, config.workers, reporter, config.verify)
    before = () if provenance is None else provenance.left_out
    used = usable(examined, config, reporter, set(before))
    everything = examined.dataset
    left_out = sorted({*everything.ids} - {*used.ids}) if len(used) < len(everything) else ()
    return RunDataset(_in_order(used, config, folder, provenance), everything, tuple(left_out))


def _in_order(
    dataset: ImageDataset, config: RunConfig, folder: RunFolder, provenance: Provenance | None
) -> ImageDataset:
    """Put classes and domains in the order of the resumed run, or of the one that this run is initialised from."""
    if provenance is None:
        if config.init_from is None:
            return dataset
        known = InitialModel.read(config.init_from).card.classes
        # Where the classes differ, the method decides what to do.
        same = sorted(known) == sorted(dataset.classes)
        return aligned(dataset, known, dataset.domains, str(config.init_from)) if same else dataset
    classes, domains = provenance.classes, provenance.domains
    if not classes and folder.model_card.is_file():
        # A checkpoint of an older version, without classes; before the run is finished nothing records them.
        card = ModelCard.read(folder.model_card)
        classes, domains = card.classes, [*card.sources, *card.targets]
    return aligned(dataset, classes or dataset.classes, domains or dataset.domains, f"the run in {folder.path}")
