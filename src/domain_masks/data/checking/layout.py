"""What is wrong with how the folders are arranged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from domain_masks.data.checking.findings import Example, Finding, by_path, counted
from domain_masks.data.checking.tree import FolderTree
from domain_masks.data.folders import EXTENSIONS, SPLIT_FOLDERS
from domain_masks.data.split_lists import LISTS_FOLDER

_EXPECTED = "<domain>/<class>/<image>, such as photo/dog/1.jpg"
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
    """Return what is wrong with the arrangement of a folder that should be ``domain/class/image``."""
    domains = _domain_folders(tree)
    found = _wrong_depth(tree, domains)
    filled = {path.rsplit("/", 1)[0] for path in tree.images}
    filled_domains = {path.split("/")[0] for path in filled}
    if tree.images:
        if empty := [name for name in domains if name not in filled_domains]:
            found.append(
                Finding(
                    "empty-domain",
                    "error",
                    f"{counted(len(empty), 'folder')} of the first level, where domains are expected, without images "
                    "in class folders",
                    f"Fill or remove the folder; the arrangement is {_EXPECTED}.",
                    by_path(empty),
                )
            )
        empty = [
            path for path in tree.folders if "/" in path and path not in filled and path.split("/")[0] in filled_domains
        ]
        if empty:
            found.append(
                Finding(
                    "empty-class",
                    "warning",
                    f"{counted(len(empty), 'class folder')} without images",
                    "Fill or remove the folder.",
                    by_path(empty),
                )
            )
        found += _split_folders(filled_domains) or _swapped(filled)
    return found


def entry_findings(tree: FolderTree) -> list[Finding]:
    """Return what lies in a dataset's folder beside its images: links, hidden and other files."""
    found = []
    if tree.loops:
        found.append(
            Finding(
                "link-loop",
                "error",
                f"{counted(len(tree.loops), 'link')} in a circle: to itself or to a folder that holds it",
                "Remove the link.",
                by_path(tree.loops),
            )
        )
    if tree.closed:
        found.append(
            Finding(
                "closed-folder",
                "error",
                f"{counted(len(tree.closed), 'folder')} that cannot be listed",
                "Give yourself permission to read and enter it (chmod u+rx).",
                by_path(path or "." for path in tree.closed),
            )
        )
    if tree.broken_links:
        found.append(
            Finding(
                "broken-link",
                "warning",
                f"{counted(len(tree.broken_links), 'link')} to nothing",
                "Restore what it points to, or remove the link: training ignores it.",
                by_path(tree.broken_links),
            )
        )
    if tree.special:
        found.append(
            Finding(
                "special-file",
                "warning",
                f"{counted(len(tree.special), 'special file')}: pipes, sockets or devices",
                "Remove them: training ignores them.",
                by_path(tree.special),
            )
        )
    return found + _not_images(tree)


def _domain_folders(tree: FolderTree) -> list[str]:
    has_classes = any(path.startswith(f"{LISTS_FOLDER}/") for path in tree.folders)
    return [path for path in tree.folders if "/" not in path and (path != LISTS_FOLDER or has_classes)]


def _wrong_depth(tree: FolderTree, domains: list[str]) -> list[Finding]:
    shallow = [path for path in tree.misplaced if path.count("/") < 2]
    deep = [path for path in tree.misplaced if path.count("/") > 2]
    if not tree.images:
        return [_nothing_in_place(tree, shallow, deep, domains)]
    found = []
    if shallow:
        found.append(
            Finding(
                "misplaced-image",
                "error",
                f"{counted(len(shallow), 'image')} outside of class folders",
                f"Move them to {_EXPECTED}; training refuses the folder as it is.",
                by_path(shallow),
            )
        )
    if deep:
        found.append(
            Finding(
                "nested-image",
                "warning",
                f"{counted(len(deep), 'image')} in folders within class folders, which training does not look into",
                "Move them up into the class folder, or remove them.",
                by_path(deep),
            )
        )
    return found


def _nothing_in_place(tree: FolderTree, shallow: list[str], deep: list[str], domains: list[str]) -> Finding:
    what = "no image at <domain>/<class>/<image>"
    advice = f"Arrange the folder as {_EXPECTED}; images end in {', '.join(EXTENSIONS)}."
    inner = {"/".join(path.split("/")[:-3]) for path in deep}
    if not tree.misplaced:
        return Finding("no-images", "error", what, advice)
    if len(inner) == 1 and not shallow:
        (folder,) = inner
        advice = f"Give the folder {folder!r} in it instead, or arrange it as {_EXPECTED}."
    elif deep and {path.split("/")[0].lower() for path in deep} <= SPLIT_FOLDERS:
        what += ", but at <split>/<domain>/<class>/<image>"
        advice = "Name the images in a manifest with the columns path, label, domain and split."
    elif shallow and all("/" in path for path in shallow):
        what += (
            f", but {counted(len(shallow), 'image')} at <folder>/<image>: with {counted(len(domains), 'folder')}, as "
            "of one domain with its classes"
        )
        advice = "Put the class folders of each domain into a folder of that domain; there must be two domains or more."
    return Finding("no-images", "error", what, advice, by_path(tree.misplaced))


def _split_folders(domains: set[str]) -> list[Finding]:
    if not {name.lower() for name in domains} <= SPLIT_FOLDERS:
        return []
    return [
        Finding(
            "split-folders",
            "error",
            f"the folders of the first level are named like splits, not domains: {', '.join(sorted(domains))}",
            "Put the images of each domain in a folder of its own, or name them in a manifest with the columns path, "
            "label, domain and split.",
            by_path(domains),
        )
    ]


def _swapped(filled: set[str]) -> list[Finding]:
    first = {path.split("/")[0] for path in filled}
    second = {path.split("/")[1] for path in filled}
    usual_first, usual_second = _usual(first), _usual(second)
    by_name = len(usual_second) > len(usual_first) and 2 * len(usual_second) >= len(second)
    # Many folders that all hold the same few: so it looks where classes come first. Five hospitals with two classes do too.
    by_count = not usual_first and len(first) > 4 * len(second) and len(filled) == len(first) * len(second) > len(first)
    if not by_name and not by_count:
        return []
    reason = (
        f"the second level has names of domains ({', '.join(sorted(usual_second))})"
        if by_name
        else f"{len(first)} folders of the first level all hold the same {len(second)} folders"
    )
    return [
        Finding(
            "swapped-levels",
            "warning" if by_name else "note",
            f"the folders look like <class>/<domain>/<image>: {reason}",
            f"If so, swap the levels: expected is {_EXPECTED}.",
            tuple(Example((path,)) for path in sorted(filled)[:1]),
        )
    ]


def _usual(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.lower().replace(" ", "_").replace("-", "_") in _USUAL_DOMAINS}


def _not_images(tree: FolderTree) -> list[Finding]:
    found = []
    others = [path for path in tree.ignored if PurePosixPath(path).suffix.lower() in _OTHER_IMAGES]
    if others:
        found.append(
            Finding(
                "unused-format",
                "warning",
                f"{counted(len(others), 'file')} in image formats that are not read ({_extensions(others)})",
                f"Convert them, if they belong to the dataset, to one of {', '.join(EXTENSIONS)}.",
                by_path(others),
            )
        )
    rest = sorted(set(tree.ignored) - set(others))
    if rest:
        found.append(
            Finding(
                "ignored-file",
                "note",
                f"{counted(len(rest), 'file')} ignored, by name no images ({_extensions(rest)})",
                "Nothing, unless they should have been images.",
                by_path(rest),
            )
        )
    if tree.hidden:
        found.append(
            Finding(
                "hidden-file",
                "note",
                f"{counted(len(tree.hidden), 'hidden file or folder', 'hidden files or folders')} ignored",
                "Nothing, unless they should have been images: then rename them.",
                by_path(tree.hidden),
            )
        )
    return found


def _extensions(paths: list[str]) -> str:
    counts = Counter(PurePosixPath(path).suffix.lower() or "no extension" for path in paths)
    return ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common(8))
