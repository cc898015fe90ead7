"""Fingerprints, content hashes and divisions of datasets: whoever changes one makes finished runs incomparable.

Runs, frozen features and what is known of files are found again by them. The values were computed once and stay.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from domain_masks.data import (
    content_of,
    load_digits_dataset,
    load_domainnet,
    load_folder,
    load_manifest,
    load_pacs,
    load_published,
    split_domains,
    without_rows,
)
from domain_masks.data.domainnet import read_lists
from domain_masks.data.pacs import CLASSES, DOMAINS
from domain_masks.data.published_datasets import PUBLISHED

TIME = 1_600_000_000_123_456_789


def written(root: Path, paths: list[str]) -> Path:
    """Files whose bytes are their names: nothing here is decoded."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    return root


def dated(root: Path) -> Path:
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(TIME, TIME))
    return root


def hashed(dataset, *targets: str, seed: int = 0) -> tuple[str, str, str]:
    """The fingerprint, the content and, in short, which rows go where."""
    divided = split_domains(dataset, targets, seed)
    parts = (divided.train, divided.validation, divided.test, divided.held_out)
    ids = json.dumps([part.ids if part else None for part in parts])
    return dataset.fingerprint, content_of(dataset), hashlib.sha256(ids.encode()).hexdigest()[:16]


def tree(root: Path) -> list[str]:
    return [
        f"{domain}/{name}/{n}.png"
        for domain in ("photo", "sketch", "art")
        for name in ("10", "2", "owl")
        for n in range(7)
    ]


def folder(root: Path):
    return load_folder(dated(written(root / "small", tree(root)))), "photo"


def manifest(root: Path):
    paths = tree(root)
    rows = [f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in paths]
    (written(root / "small", paths) / "list.csv").write_text("\n".join(["path,label,domain", *rows]))
    return load_manifest(dated(root / "small") / "list.csv"), "photo"


def grouped(root: Path):
    paths = tree(root)
    rows = [
        f"{path},{path.split('/')[1]},{path.split('/')[0]},{path.split('/')[0]}{n % 5}" for n, path in enumerate(paths)
    ]
    (written(root / "small", paths) / "list.csv").write_text("\n".join(["path,label,domain,group", *rows]))
    return load_manifest(dated(root / "small") / "list.csv"), "photo"


def official(root: Path):
    paths = tree(root)
    words = ("train", "Validation", "test", "dev", "train")
    rows = [f"{path},{path.split('/')[1]},{path.split('/')[0]},{words[n % 5]}" for n, path in enumerate(paths)]
    (written(root / "small", paths) / "list.csv").write_text("\n".join(["path,label,domain,split", *rows]))
    return load_manifest(dated(root / "small") / "list.csv"), "photo"


def pacs(root: Path):
    lines = {
        (domain, name): [f"{domain}/{c}/{name}{n}.jpg {label}" for label, c in enumerate(CLASSES, 1) for n in range(2)]
        for domain in DOMAINS
        for name in ("train", "crossval")
    }
    written(root / "pacs", [line.split()[0].replace(".jpg", ".png") for some in lines.values() for line in some])
    (root / "pacs" / "splits").mkdir()
    for (domain, name), some in lines.items():
        (root / "pacs" / "splits" / f"{domain}_{name}_kfold.txt").write_text("\n".join(some))
    return load_pacs(dated(root / "pacs")), "photo"


def domainnet(root: Path):
    (root / "domainnet" / "splits").mkdir(parents=True)
    for domain in ("real", "sketch", "clipart"):
        paths = [f"{domain}/{name}/{n}.jpg" for name in ("zebra", "ant") for n in range(12)]
        written(root / "domainnet", paths)
        lines = [f"{path} {int('ant' in path)}" for path in paths]
        (root / "domainnet" / "splits" / f"{domain}_train.txt").write_text("\n".join(lines[2:]))
        (root / "domainnet" / "splits" / f"{domain}_test.txt").write_text("\n".join(lines[:2]))
    return load_domainnet(dated(root / "domainnet")), "real"


def office_home(root: Path):
    known = PUBLISHED["office_home"]
    written(root / "OfficeHome", [f"{d}/{c}/{n}.jpg" for d in known.domains for c in known.classes for n in range(2)])
    return load_published("office_home", dated(root)), "Art"


def vlcs(root: Path):
    domains = ("CALTECH", "LABELME", "PASCAL", "SUN")
    splits = ("train", "crossval", "test", "full")
    written(root, [f"{d}/{s}/{c}/{s}.jpg" for d in domains for s in splits for c in range(5)])
    return load_published("vlcs", dated(root)), "SUN09"


def terra_arranged(root: Path):
    known = PUBLISHED["terra_incognita"]
    written(root, [f"{d}/{c}/{c[0]}{n}.jpg" for d in known.domains for c in known.classes for n in range(4)])
    return load_published("terra_incognita", dated(root)), "location_38"


def terra_raw(root: Path):
    classes = (*PUBLISHED["terra_incognita"].classes, "car")
    files = [(f"{n}.jpg", ("38", "43", "46", "100", "7")[n % 5]) for n in range(60)]
    described = {
        "categories": [{"id": n, "name": name} for n, name in enumerate(classes)],
        "images": [{"id": name, "file_name": name, "location": place} for name, place in files],
        "annotations": [
            *({"image_id": name, "category_id": n % 11} for n, (name, _) in enumerate(files)),
            *({"image_id": name, "category_id": 2} for name, _ in files[::7]),
        ],
    }
    written(root, [f"eccv_18_all_images_sm/{name}" for name, _ in files])
    (root / "caltech_images_20210113.json").write_text(json.dumps(described))
    return load_published("terra_incognita", dated(root)), "location_38"


def without_some(root: Path):
    return without_rows(folder(root)[0], [1, 5, 40]), "photo"


def digits(root: Path):
    return load_digits_dataset(), "mosaic"


KNOWN = {
    digits: ("80ffbb23e80f45b2405c90eab5bb4310", "91d3e413593d0240c9f9e6924d296208", "bb85dee00cfcc891"),
    folder: ("5c71be4f8a3f2c31318cf56311385106", "13112afd69a1a7837df6d03f55a7f96e", "3a1909815b820bac"),
    without_some: ("a4d85bfa0bc0d582aa370160f6641908", "fed891231ab85e5e795235f5d676ce50", "fdd9df09f1891202"),
    manifest: ("57e12306c9203087a87704623ffb011e", "b8dd8a4b8dde30cc9de6cd636ff655be", "3a1909815b820bac"),
    grouped: ("57e12306c9203087a87704623ffb011e", "e53be62ba6323e41a1ef8903b5a180ea", "4b3b19d11698e5ab"),
    official: ("57e12306c9203087a87704623ffb011e", "adcd4dcca31ef91c6b64008de6a6bb28", "f0cab1e2cfc58a66"),
    pacs: ("0ee35697548ee1bcf23688bed7ad0a53", "8d23e143f8d3c8d05072d7f0ec4593f1", "b5c05c127f5bde81"),
    domainnet: ("df4677bce5554953a6c08380eba380f9", "5d1989fb0d931f81e52484be70cb1283", "5aac91e56cf16b49"),
    office_home: ("8b4cf60730a2991d1925b07452b16b6c", "2c260a4b525ce1c51f3bd4235c159e89", "f7a27f927aebbbed"),
    vlcs: ("2559f547621dfead59c958a71755dc33", "41c044341f938e4270810490b14ba753", "67a22e93e97801a0"),
    terra_arranged: ("8a99f7c53e311e385a5ae1f62c419c04", "c3418732d301e205863e5666a307050d", "cc7423dddfdfd0ee"),
    terra_raw: ("7a36453c212d444324d59bfd0e477d03", "58c9474d70f8a26821a5023e98be0e52", "60f3ae89deca97fd"),
}


@pytest.mark.parametrize("make", [*KNOWN], ids=lambda make: make.__name__)
def test_datasets_are_what_they_were(tmp_path: Path, make) -> None:
    dataset, target = make(tmp_path)
    assert hashed(dataset, target) == KNOWN[make]


def test_another_split_seed_gives_what_it_gave() -> None:
    assert hashed(load_digits_dataset(), "ink", seed=7)[2] == "f431e0a4b1c66746"


def test_pacs_is_what_it_was(real_data: Path) -> None:
    dataset = load_pacs(real_data)
    # The fingerprint has the files' times of change in it.
    assert hashed(dataset, "sketch")[1:] == ("fb019e9544ee7aeceac2f2e74512c957", "4f175a862170ff85")


def test_the_real_lists_of_domainnet_are_what_they_were(real_data: Path) -> None:
    if not (real_data / "domainnet" / "splits" / "real_train.txt").is_file():
        pytest.skip("the lists of DomainNet are not here")
    files, classes = read_lists(real_data / "domainnet", ("clipart", "real", "sketch"))
    domains = ("clipart", "real", "sketch")
    rows = [
        tuple(file.id for file in files),
        [classes.index(file.class_name) for file in files],
        [domains.index(file.domain) for file in files],
        [file.split for file in files],
    ]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] == "7150ec2f37299792"
