"""The table of findings that a check can make: one rule for each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from domain_masks.data.dataset import SPLIT_NAMES
from domain_masks.data.folders import EXTENSIONS, LAYOUT
from domain_masks.data.manifest_lines import OPTIONAL, REQUIRED

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Training would refuse, or accuracies would be invalid; the result may suffer; for information."""

SMALL = 32
"""Pixels of a side below which an image is small."""
FEW = 10
"""Images of a class in a domain below which some split gets none."""

_TRAINING = "Training refuses them, or leaves them out with --skip_bad."
_EXTENSIONS = ", ".join(EXTENSIONS)
_COLUMNS = f"the columns {', '.join(REQUIRED)} and, where there are such, {', '.join(OPTIONAL)}"
_IN_A_MANIFEST = "in a manifest with the columns path, label, domain and split"


@dataclass(frozen=True)
class Rule:
    """The texts of one kind of finding.

    - ``what``, ``advice``: one sentence each; ``{count}`` is the number of occurrences with its ``noun``, ``{are}`` and
      ``{their}`` agree with it, and the check fills in all other names in braces
    - ``plural``: of the noun, where that is not the noun with an s
    """

    severity: Severity
    what: str
    advice: str
    noun: str = "image"
    plural: str = ""


def _similar(kind: str, plural: str, differences: str) -> Rule:
    return Rule(
        "error",
        f"{{count}} written in several ways, which count as different {plural}: they differ in {differences} or Unicode "
        "form alone",
        f"Rename them to one spelling, if they are the same {kind}.",
        f"{kind} name",
    )


_SPELLING = "quotes, case, blanks, underscores, hyphens"

RULES: dict[str, Rule] = {
    "refused": Rule("error", "training refuses the dataset: {message}", "Follow the message."),
    # Files
    "unopened": Rule(
        "error",
        "{count} that cannot be opened",
        f"Restore the files or give permission to read them, or remove them. {_TRAINING}",
    ),
    "empty": Rule("error", "{count} whose file is empty", f"Fetch them again or remove them. {_TRAINING}"),
    "not-an-image": Rule(
        "error",
        "{count} that {are} unsupported or corrupt, or not images at all",
        f"Replace or remove them. {_TRAINING}",
    ),
    "truncated": Rule(
        "error",
        "{count} cut off before the end",
        f"Fetch them again or remove them: a download or a copy has broken off. {_TRAINING}",
    ),
    "too-large": Rule(
        "error",
        "{count} with too many pixels to be opened safely",
        f"Make them smaller, or remove them. {_TRAINING}",
    ),
    "broken": Rule(
        "error",
        "{count} that cannot be decoded",
        f"Replace or remove them, or save them again with another program. {_TRAINING}",
    ),
    "animated": Rule(
        "warning",
        "{count} with several frames or pages, of which only the first is used",
        "Save the frames that matter as images of their own, if the first is not enough.",
    ),
    "small": Rule(
        "warning",
        f"{{count}} with a side of less than {SMALL} pixels",
        "Look at them: they may be thumbnails or placeholders. If all are meant to be small, train with a small --size.",
    ),
    "depth": Rule(
        "warning",
        "{count} deeper than 8 bits whose range is not what their values fill: all deep images hold {range}",
        "{advice}",
    ),
    # The same image twice
    "contradicting-labels": Rule(
        "error",
        "{count} ({files}) in several classes: all labels but one are wrong{differences}",
        "Decide which label is right and remove the other images.",
    ),
    "same-in-domains": Rule(
        "error",
        "{count} ({files}) in several domains: with one of them held out, it is measured on what it was trained on"
        "{differences}",
        "Keep each image in one domain only. Where the dataset is a published one, say so beside the result.",
    ),
    "leak-into-test": Rule(
        "error",
        "{count} ({files}) in the test part and in another part of {their} domain: measured on what was trained on or "
        "chosen by{differences}",
        "Remove the copies from all parts but one.",
    ),
    "leak-into-validation": Rule(
        "warning",
        "{count} ({files}) in the training and the validation part of {their} domain: the choice of the epoch is too "
        "optimistic{differences}",
        "Remove the copies from one of the two, or keep it in mind where the lists are a published protocol.",
    ),
    "repeated": Rule(
        "warning",
        "{count} ({files}) more than once in the same domain and {where}{differences}",
        "Remove the copies: they count double, and where splits are drawn, copies of training images make validation and "
        "in-domain test too easy.",
    ),
    # Arrangement
    "no-images": Rule("error", "no image at <domain>/<class>/<image>{instead}", "{advice}"),
    "empty-domain": Rule(
        "error",
        "{count} of the first level, where domains are expected, without images in class folders",
        f"Fill or remove the folder; the arrangement is {LAYOUT}.",
        "folder",
    ),
    "empty-class": Rule("warning", "{count} without images", "Fill or remove the folder.", "class folder"),
    "misplaced-image": Rule(
        "error",
        "{count} outside of class folders",
        f"Move them to {LAYOUT}; training refuses the folder as it is.",
    ),
    "nested-image": Rule(
        "warning",
        "{count} in folders within class folders, which training does not look into",
        "Move them up into the class folder, or remove them.",
    ),
    "split-folders": Rule(
        "error",
        "the folders of the first level are named like splits, not domains: {names}",
        f"Put the images of each domain in a folder of its own, or name them {_IN_A_MANIFEST}.",
    ),
    "swapped-levels": Rule(
        "warning",
        "the folders look like <class>/<domain>/<image>: {reason}",
        f"If so, swap the levels: expected is {LAYOUT}.",
    ),
    "link-loop": Rule(
        "error", "{count} in a circle: to itself or to a folder that holds it", "Remove the link.", "link"
    ),
    "closed-folder": Rule(
        "error",
        "{count} that cannot be listed",
        "Add permission to read and enter it (chmod u+rx).",
        "folder",
    ),
    "missing-folder": Rule(
        "error",
        "{count} to nothing in place of a folder",
        "Restore what it points to (is a disk not mounted?), or remove the link to do without.",
        "link",
    ),
    "broken-link": Rule(
        "warning",
        "{count} to nothing",
        "Restore what it points to, or remove the link: training leaves it out.",
        "link",
    ),
    "special-file": Rule(
        "warning",
        "{count}: pipes, sockets or devices",
        "Remove them: training ignores them.",
        "special file",
    ),
    "unused-format": Rule(
        "warning",
        "{count} in image formats that are not read ({kinds})",
        f"Convert them, if they belong to the dataset, to one of {_EXTENSIONS}.",
        "file",
    ),
    "ignored-file": Rule(
        "note",
        "{count} ignored, not images by their names ({kinds})",
        "Nothing, unless they should have been images.",
        "file",
    ),
    "hidden-file": Rule(
        "note",
        "{count} ignored",
        "Nothing, unless they should have been images: then rename them.",
        "hidden file or folder",
        "hidden files or folders",
    ),
    "odd-name": Rule(
        "error",
        "{count} with a name that is no UTF-8",
        "Rename the files or folders: names of classes and domains are refused, those of images are kept as bytes.",
        "path",
    ),
    # Classes and domains
    "single-domain": Rule(
        "error",
        "only one domain, {names}: none can be held out",
        "Add images of other domains: masks need two to train on, and one more to hold out. On one alone --target none "
        "trains what needs no more, such as --method aggregate, and measures it in domain.",
    ),
    "two-domains": Rule(
        "warning",
        "only two domains, {names}: with one held out, one is left, and masks need two",
        "Add images of another domain, train on one with what needs no more (--method aggregate), or on both with "
        "--target none.",
    ),
    "single-class": Rule(
        "error", "only one class, {names}", "Add images of other classes: there is nothing to classify."
    ),
    "similar-classes": _similar("class", "classes", _SPELLING),
    "similar-domains": _similar("domain", "domains", _SPELLING),
    # Among codes such as p-1-2 and p-12 a hyphen makes a difference.
    "similar-groups": _similar("group", "groups", "quotes, blanks, case"),
    "no-name": Rule(
        "error",
        "{count} {doubt}",
        "Give the images their class, domain or group, or leave them out.",
        "name",
    ),
    "class-in-one-domain": Rule(
        "warning",
        "{count} that {are} in one domain only",
        "Add images of the other domains or remove the class: with its domain held out it cannot be learned, and "
        "otherwise it gives the domain away.",
        "class",
        "classes",
    ),
    "class-missing-in-domain": Rule(
        "warning",
        "{count} without images in some domains",
        "Add images, or keep in mind that accuracies of those domains are about fewer classes.",
        "class",
        "classes",
    ),
    "single-image": Rule(
        "warning",
        "{count} with a single image in a domain, which cannot be divided into training, validation and test",
        "Add images, or remove the class from that domain.",
        "class",
        "classes",
    ),
    "few-images": Rule(
        "warning",
        f"{{count}} with fewer than {FEW} images in a domain: not each of training, validation and test will get one",
        "Add images, or do not rely on the in-domain accuracies of these classes.",
        "class",
        "classes",
    ),
    # Groups
    "group-divided": Rule(
        "error",
        "{count} divided between splits, which what is measured leaks through",
        "Give all images of a group the same split.",
        "group",
    ),
    "group-across-domains": Rule(
        "warning",
        "{count} in several domains, of which none can be held out without the others",
        "Hold these domains out together, or leave the group's images out of all but one of them.",
        "group",
    ),
    "few-groups": Rule(
        "error",
        "{count} with fewer than {wanted} groups, which training refuses as a source",
        "Add groups, one each for {parts} at least, or hold the domain out.",
        "domain",
    ),
    # Lists beside the folders
    "list-line": Rule(
        "warning", "{count} of the lists that cannot be parsed", "Write every line as 'path label'.", "line"
    ),
    "list-leak": Rule("error", "{count} in the lists of several splits", "Keep each in one list only."),
    "list-absent": Rule(
        "warning",
        "{count} that {are} missing",
        "Fetch the missing files, or take them out of the lists.",
        "listed image",
    ),
    "list-lacks": Rule("warning", "{count} in no list of {their} domain", "Add them to a list, or remove the files."),
    "list-label": Rule(
        "error",
        "{count} whose label in the lists contradicts the class folder",
        "Correct the list or move the image.",
    ),
    "list-shared-label": Rule(
        "error", "{count} in the lists of several class folders", "Give every class a label of its own.", "label"
    ),
    "label-gaps": Rule(
        "warning",
        "labels in {where} with gaps: {numbers}, none is {missing}",
        "Check whether classes are missing.",
    ),
    "labels-from-1": Rule(
        "note",
        "labels in {where} count from 1, to {highest}",
        "Nothing to do here; a program that counts from 0 has to subtract 1.",
    ),
    # Manifests
    "manifest-column": Rule(
        "error",
        "no column {lacking} in the manifest, which has {columns}",
        f"Name {_COLUMNS}.",
    ),
    "manifest-unused": Rule(
        "note",
        "{count} of the manifest {are} not used",
        "Nothing, unless one is a split or a group under another name.",
        "column",
    ),
    "manifest-blank": Rule("error", "{count} with blank cells", "Fill them in or remove the rows.", "column"),
    "manifest-split": Rule(
        "error",
        "{count} of the column split that {are} no split",
        f"Write {', '.join(SPLIT_NAMES)} in every row.",
        "value",
    ),
    "manifest-twice": Rule("error", "{count} in several rows", "Keep one row for every image."),
}
