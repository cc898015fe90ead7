"""What the contract suite has to know of a method besides what its class says; most need no entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SOURCES = ("art", "cartoon", "photo")
BODY = ("network.network.features.", "network.network.classifier.hidden.")
HEAD = "network.network.classifier.head."
KNOWN = frozenset(f"known:{source}" for source in SOURCES)


@dataclass(frozen=True)
class Expected:
    """What a method promises the suite.

    - ``ensembles``: the predictions that it has
    - ``penalties``: setting that weights a term -> what the names of the parameters begin with that the term's gradient has to
      reach; with another weight each of these groups of parameters is another one after a step
    - ``settings``: of the method, where its defaults would take the suite too long
    - ``run``: settings of the suite's runs, where six epochs of Adam at 3e-3 teach it nothing
    - ``accuracy``: that it must reach on images of the sources that it has not learned from; by chance it is 0.25
    - ``off``: by how much its weights may differ after a few steps on two processes; its loss by ten times that
    """

    ensembles: frozenset[str] = frozenset({"predictions"})
    penalties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    accuracy: float = 0.7
    off: float = 1e-5


EXPECTED: dict[str, Expected] = {
    # masks
    "dmg": Expected(
        frozenset({"predictions", "masks", *KNOWN}),
        penalties={"overlap_weight": ("network.masks.",), "sparsity_weight": ("network.masks.",)},
    ),
    "dsbn": Expected(frozenset({"predictions", *KNOWN})),
    "lora": Expected(frozenset({"predictions", *KNOWN})),
    # baselines
    "multi_headed": Expected(frozenset({"predictions", *KNOWN})),
    # meta-learning
    "mldg": Expected(penalties={"beta": ("network.",)}),
    "masf": Expected(penalties={"global_weight": ("network.",), "local_weight": ("network.", "metric.")}),
    "epi_fcr": Expected(penalties={"features_weight": BODY, "classifier_weight": (HEAD,), "random_weight": BODY}),
    # adversarial
    "dann": Expected(penalties={"weight": ("network.network.features.",)}),
    "crossgrad": Expected(
        penalties={"label_weight": ("network.",), "domain_weight": ("domain_net.",)},
        # Images move along a gradient, which ReLU and max pooling let jump where weights change in their last bits.
        off=1e-4,
    ),
    "dsn": Expected(
        penalties={
            "reconstruction_weight": ("network.network.features.", "private.", "decoder."),
            "difference_weight": ("network.network.features.", "private."),
            "similarity_weight": ("network.network.features.", "domain_net."),
        }
    ),
    # alignment
    "coral": Expected(penalties={"penalty_weight": BODY}),
    "mmd": Expected(penalties={"penalty_weight": BODY}),
    # With the default weight plain SGD diverges.
    "fishr": Expected(penalties={"penalty_weight": (*BODY, HEAD)}, settings={"penalty_weight": 1.0}),
    # augmentation
    "sagnet": Expected(penalties={"adversary_weight": ("network.network.features.",)}),
    # risk
    # With the default weight 24 steps teach it nothing.
    "irm": Expected(penalties={"penalty_weight": (*BODY, HEAD)}, settings={"penalty_weight": 1.0}),
    "vrex": Expected(penalties={"penalty_weight": (*BODY, HEAD)}),
    "groupdro": Expected(penalties={"step_size": (*BODY, HEAD)}),
    # regularisation
    "sam": Expected(penalties={"radius": (*BODY, HEAD)}),
    "sagm": Expected(penalties={"radius": (*BODY, HEAD), "descent": (*BODY, HEAD)}),
    # With fixed statistics both networks are the same at first, and the distance is at its least.
    "miro": Expected(
        penalties={"weight": ("network.network.features.", "variances.")}, settings={"batch_norm": "learned"}
    ),
    # decomposition
    "fusion": Expected(
        frozenset({"predictions", *KNOWN}),
        penalties={"domain_weight": ("network.network.features.", "domain_branch.")},
    ),
    "csd": Expected(penalties={"common_weight": (*BODY, HEAD), "orthonormality_weight": (HEAD, "specific.weight")}),
    "tf_cnn": Expected(frozenset({"predictions", *KNOWN})),
    # kernel
}


def expected(name: str) -> Expected:
    """Return what is expected of a method: what stands here, or of one like most."""
    return EXPECTED.get(name, Expected())
