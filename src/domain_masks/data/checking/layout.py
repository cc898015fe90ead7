"""Checks of the folder layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from domain_masks.data.checking.occurrences import Finding, finding, findings
from domain_masks.data.checking.tree import LEVELS, FolderTree
from domain_masks.data.folders import EXTENSIONS, LAYOUT, are_splits, has_no_extension
from domain_masks.data.split_lists import LISTS_FOLDER
from domain_masks.records.counts import counted

_USUAL_DOMAINS = {
    *("art", "art_painting", "artpainting", "painting", "cartoon", "photo", "photos", "sketch", "sketches", "clipart"),
    *("infograph", "quickdraw", "real", "real_world", "realworld", "product", "amazon", "dslr", "webcam"),
    *("caltech101", "labelme", "sun09", "voc2007", "mnist", "svhn", "usps", "mnist_m", "synth", "drawing", "drawings"),
}
_OTHER_IMAGES = {
    *(".heic", ".heif", ".avif", ".jxl", ".jxr", ".svg", ".psd", ".ico", ".tga", ".dib", ".pfm"),
    *(".cr2", ".nef", ".dng", ".arw", ".dcm", ".exr", ".hdr"),
}


def layout_findings(tree: FolderTree) -> list[Finding]:
    """Return the findings about the layout of a folder that should be ``domain/class/image``."""
    shallow = [path for path in tree.misplaced if path.count("/") < 2]
    deep = [path for path in tree.misplaced if path.count("/") > 2]
    domains = _domain_folders(tree)
    if not tree.images:
        return [_nothing_in_place(tree, shallow, deep, domains)]
    filled = {path.rsplit("/", 1)[0] for path in tree.images}
    filled_domains = {path.split("/")[0] for path in filled}
    empty_classes = (path for path in tree.folders if "/" in path and path not in filled)
    return [
        *findings("misplaced-image", shallow),
        *findings("nested-image", deep),
        *findings("empty-domain", (name for name in domains if name not in filled_domains)),
        *findings("empty-class", (path for path in empty_classes if path.split("/")[0] in filled_domains)),
        *(_split_folders(filled_domains) or _swapped(filled)),
    ]


def entry_findings(tree: FolderTree) -> list[Finding]:
    """Return the findings about other entries of a dataset's folder: links, hidden and unused files."""
    unused = [path for path in tree.ignored if PurePosixPath(path).suffix.lower() in _OTHER_IMAGES]
    ignored = set(tree.ignored) - set(unused)
    gone = {
        path for path in tree.broken_links if path.count("/") < LEVELS and has_no_extension(path.rpartition("/")[2])
    }
    return [
        *findings("link-loop", tree.loops),
        *findings("closed-folder", (path or "." for path in tree.closed)),
        *findings("missing-folder", gone),
        *findings("broken-link", set(tree.broken_links) - gone),
        *findings("special-file", tree.special),
        *findings("unused-format", unused, kinds=_extensions(unused)),
        *findings("ignored-file", ignored, kinds=_extensions(ignored)),
        *findings("hidden-file", tree.hidden),
    ]


def _domain_folders(tree: FolderTree) -> list[str]:
    has_classes = any(path.startswith(f"{LISTS_FOLDER}/") for path in tree.folders)
    return [path for path in tree.folders if "/" not in path and (path != LISTS_FOLDER or has_classes)]


def _nothing_in_place(tree: FolderTree, shallow: list[str], deep: list[str], domains: list[str]) -> Finding:
    instead, advice = "", f"Arrange the folder as {LAYOUT}; images end in {', '.join(EXTENSIONS)}."
    inner = {"/".join(path.split("/")[:-3]) for path in deep}
    if len(inner) == 1 and not shallow:
        (folder,) = inner
        advice = f"Give the folder {folder!r} in it instead, or arrange it as {LAYOUT}."
    elif deep and are_splits(path.split("/")[0] for path in deep):
        instead = ", but at <split>/<domain>/<class>/<image>"
        advice = "Name the images in a manifest with the columns path, label, domain and split."
    elif shallow and all("/" in path for path in shallow):
        instead = (
            f", but {counted(len(shallow), 'image')} at <folder>/<image>: with {counted(len(domains), 'folder')}, as of one "
            "domain with its classes"
        )
        advice = "Put the class folders of each domain into a folder of that domain; there must be two domains or more."
    return finding("no-images", tree.misplaced, instead=instead, advice=advice)


def _split_folders(domains: set[str]) -> list[Finding]:
    return findings("split-folders", domains if are_splits(domains) else (), names=", ".join(sorted(domains)))


def _swapped(filled: set[str]) -> list[Finding]:
    first = {path.split("/")[0] for path in filled}
    second = {path.split("/")[1] for path in filled}
    usual_first, usual_second = _usual(first), _usual(second)
    by_name = len(usual_second) > len(usual_first) and 2 * len(usual_second) >= len(second)
    # Many folders with the same few subfolders suggest that classes come first. Five hospitals with two classes look alike.
    by_count = not usual_first and len(first) > 4 * len(second) and len(filled) == len(first) * len(second) > len(first)
    if not by_name and not by_count:
        return []
    reason = (
        f"the second level has names of domains ({', '.join(sorted(usual_second))})"
        if by_name
        else f"{len(first)} folders of the first level all hold the same {len(second)} folders"
    )
    return [finding("swapped-levels", [min(filled)], "warning" if by_name else "note", reason=reason)]


def _usual(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.lower().replace(" ", "_").replace("-", "_") in _USUAL_DOMAINS}


def _extensions(paths: Iterable[str]) -> str:
    counts = Counter(PurePosixPath(path).suffix.lower() or "no extension" for path in paths)
    return ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common(8))
