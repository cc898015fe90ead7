"""Checks of a whole dataset: folders, lists, images, classes and groups."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from domain_masks.data.checking.check_report import CheckReport
from domain_masks.data.checking.classes import class_findings
from domain_masks.data.checking.duplicates import duplicate_findings
from domain_masks.data.checking.group_leaks import group_findings
from domain_masks.data.checking.image_quality import image_findings
from domain_masks.data.checking.index import CheckedImage, Index, count_table
from domain_masks.data.checking.layout import entry_findings, layout_findings
from domain_masks.data.checking.lists import apply_lists, read_lists
from domain_masks.data.checking.manifest_table import read_manifest
from domain_masks.data.checking.occurrences import Finding, finding
from domain_masks.data.checking.rules import SEVERITIES
from domain_masks.data.checking.tree import walk
from domain_masks.data.dataset import ImageDataset
from domain_masks.data.decoding import decode_all
from domain_masks.data.folders import existing_folder
from domain_masks.data.huggingface import PREFIX
from domain_masks.data.manifest import folder_of, is_manifest
from domain_masks.data.openers import FileOpener, is_in_memory
from domain_masks.data.registry import DATASETS, ROOT_VARIABLE, load_dataset
from domain_masks.data.verification_memory import Entry, memory_of
from domain_masks.errors import InputError
from domain_masks.progress import Reporter
from domain_masks.records.files import is_there


def check(name: str, root: str | Path | None, workers: int | None, reporter: Reporter) -> CheckReport:
    """Decode every image of a dataset and report all errors and oddities.

    ``name`` is a dataset's name, a folder or a manifest; ``root`` is where a named dataset lies, or what a manifest's
    paths are relative to. Every image is decoded, even if verified before; the results are cached for
    training. Raises InputError where there is nothing to look at.
    """
    index = _decoded(open_index(name, root), workers, reporter)
    return CheckReport(index.name, index.source, count_table(index.images), tuple(findings_of(index)))


def open_index(name: str, root: str | Path | None) -> Index:
    """Return the index of the images to check, without decoding; raises InputError as :func:`check` does."""
    if name not in DATASETS and name.startswith(PREFIX):
        return _dataset_index(load_dataset(name))
    if name not in DATASETS and is_manifest(name):
        return _manifest_index(name, root)
    if name not in DATASETS and (is_there(name) or Path(name).name != name):
        folder = existing_folder(name)
        return _with_refusal(_with_layout(_folder_index(folder.resolve().name, folder)), name, None)
    try:
        dataset = load_dataset(name, root)
    except InputError as refusal:
        # Its loader stops at the first problem; the folder is checked anyway.
        nearest = _folder_of(name, root) if name in DATASETS else None
        if nearest is None:
            raise
        index = _with_layout(_folder_index(name, nearest))
        return replace(index, findings=(_refused(str(refusal)), *index.findings))
    return _dataset_index(dataset)


def findings_of(index: Index) -> list[Finding]:
    """Return all findings about an index, errors first."""
    findings = list(index.findings)
    if index.tree is not None:
        findings += entry_findings(index.tree)
    findings += [
        *image_findings(index.images),
        *duplicate_findings(index.images),
        *class_findings(index.images),
        *group_findings(index.images),
    ]
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _decoded(index: Index, workers: int | None, reporter: Reporter) -> Index:
    opener = index.open_image
    images = list(index.images)
    paths = [image.path for image in images]
    memory, names = (None, paths) if is_in_memory(opener) else memory_of(opener, paths, index.fingerprint)
    results = decode_all(opener, range(len(images)), workers, with_facts=True)
    try:
        for result in reporter.track(results, len(images), "checking images"):
            image = images[result.row]
            images[result.row] = replace(image, problem=result.problem, facts=result.facts)
            if memory is not None:
                memory.note(names[result.row], Entry(result.state, result.content.hex(), True, result.problem))
    finally:
        if memory is not None:
            memory.save()
    return replace(index, images=tuple(images))


def _folder_index(name: str, folder: Path) -> Index:
    tree = walk(folder)
    placed = [(path, *path.split("/")[:2]) for path in tree.images]
    images = [CheckedImage(path, domain, class_name) for path, domain, class_name in placed]
    lines, odd_lines = read_lists(folder, tree.lists, sorted({image.domain for image in images}))
    listed, wrong_lists = apply_lists(images, lines)
    everything = (*listed, *(CheckedImage(path, "", "") for path in tree.misplaced))
    return Index(
        name=name,
        source=f"folder {folder}",
        images=everything,
        open_image=FileOpener(folder.resolve(), tuple(image.path for image in everything)),
        tree=tree,
        findings=(*odd_lines, *wrong_lists),
    )


def _with_layout(index: Index) -> Index:
    return index if index.tree is None else replace(index, findings=(*layout_findings(index.tree), *index.findings))


def _manifest_index(name: str, root: str | Path | None) -> Index:
    path = Path(name)
    folder = folder_of(path, root) if path.is_file() else path.parent
    images, findings = read_manifest(path, folder)
    index = Index(
        name=path.name,
        source=f"manifest {path}, paths relative to {folder}",
        images=images,
        open_image=FileOpener(folder.resolve(), tuple(image.path for image in images)),
        findings=tuple(findings),
    )
    # The loader refuses missing files too, but they are reported image by image.
    is_whole = all(is_there(folder / image.path) for image in images)
    return _with_refusal(index, name, root) if is_whole else index


def _dataset_index(dataset: ImageDataset) -> Index:
    """Return the rows of a dataset that its loader accepts and, for datasets of files, the other files in its folder."""
    images = tuple(
        CheckedImage(
            path,
            dataset.domains[dataset.domain_indices[row]],
            dataset.classes[dataset.labels[row]],
            "" if dataset.splits is None else str(dataset.splits[row]),
            "" if dataset.groups is None else str(dataset.groups[row]),
        )
        for row, path in enumerate(dataset.ids)
    )
    opener = dataset.open_image
    if not isinstance(opener, FileOpener):
        source = "images in memory" if is_in_memory(opener) else "rows of a table"
        return Index(dataset.name, source, images, opener, fingerprint=dataset.fingerprint)
    folder = _folder_index(dataset.name, opener.root)
    own = set(dataset.ids) if opener.paths == dataset.ids else set()
    walked = folder.tree if own and own <= {image.path for image in folder.images} else None
    findings: tuple[Finding, ...] = ()
    if walked is not None and own.issubset(walked.images):
        # The loader accepts the layout: only the files that training ignores can be reported.
        mild = (finding for finding in layout_findings(walked) if finding.severity != "error")
        findings = (*mild, *folder.findings)
    return replace(folder, images=images, open_image=opener, tree=walked, findings=findings)


def _with_refusal(index: Index, name: str, root: str | Path | None) -> Index:
    """Add the loader's error, unless a finding already is an error."""
    known = (*index.findings, *([] if index.tree is None else entry_findings(index.tree)))
    if any(finding.severity == "error" for finding in known):
        return index
    try:
        load_dataset(name, root)
    except InputError as refusal:
        return replace(index, findings=(_refused(str(refusal)), *index.findings))
    return index


def _refused(message: str) -> Finding:
    return finding("refused", message=message.rstrip("."))


def _folder_of(name: str, root: str | Path | None) -> Path | None:
    chosen_root = root if root is not None else os.environ.get(ROOT_VARIABLE)
    if not chosen_root:
        return None
    base = Path(chosen_root)
    named = [base / name, base / name.upper()]
    return next((folder for folder in named if folder.is_dir()), base if base.is_dir() else None)
