"""What is said of a dataset before it is opened is what its loader knows."""

from __future__ import annotations

from domain_masks.data import digits, domainnet, pacs
from domain_masks.data.published_datasets import PUBLISHED
from domain_masks.data.registry import DATASETS


def test_domains_and_numbers_of_classes_are_those_of_the_loaders() -> None:
    known = {name: (tuple(one.domains), len(one.classes)) for name, one in PUBLISHED.items()}
    known["pacs"] = (pacs.DOMAINS, len(pacs.CLASSES))
    known["domainnet"] = (domainnet.DOMAINS, 345)
    known["digits"] = (tuple(digits.STYLES), 10)
    assert set(known) == set(DATASETS)
    for name, (domains, classes) in known.items():
        record = DATASETS[name]
        assert record.domains == domains
        assert record.summary.startswith(f"{classes} classes, {len(domains)} domains ({', '.join(domains)})"), name
