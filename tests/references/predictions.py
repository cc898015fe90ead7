"""Generated predictions for tests: three sources and one held-out domain."""

import numpy as np

from domain_masks.records import Predictions

DOMAINS = ("art", "cartoon", "photo", "sketch")
CLASSES = ("dog", "horse", "house")
SOURCES = ("photo", "art", "cartoon")


def generated(seed=0, per_split=20, splits=("validation", "test", "held_out"), known=True):
    """Return predictions with ``per_split`` samples for each domain and split, and random logits."""
    generator = np.random.default_rng(seed)
    ids, labels, domains, names = [], [], [], []
    for index, domain in enumerate(DOMAINS):
        for split in splits:
            if (split == "held_out") == (domain in SOURCES):
                continue
            count = per_split + 3 * index
            ids += [f"{domain}/{split}/{number}.png" for number in range(count)]
            labels += generator.integers(len(CLASSES), size=count).tolist()
            domains += [index] * count
            names += [split] * count
    ensembles = ["predictions"] + ([f"known:{source}" for source in SOURCES] if known else [])
    logits = {}
    for ensemble in ensembles:
        logits[ensemble] = generator.normal(size=(len(ids), len(CLASSES))).astype(np.float32)
        logits[ensemble][np.arange(len(ids)), labels] += 1
    return Predictions(
        ids=np.array(ids, dtype=np.str_),
        labels=np.array(labels, dtype=np.int64),
        domains=np.array(domains, dtype=np.int64),
        domain_names=DOMAINS,
        splits=np.array(names, dtype=np.str_),
        logits=logits,
        classes=CLASSES,
        sources=SOURCES,
    )
