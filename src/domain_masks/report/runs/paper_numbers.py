"""The numbers printed in the paper, under this package's names (package data in ``paper/``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from domain_masks.records.ensemble_names import MASK_ENSEMBLE, PREDICTION_ENSEMBLE
from domain_masks.report.runs.paper_settings import QUOTED

BACKBONE_TITLES = {"alexnet": "AlexNet", "resnet18": "ResNet-18", "resnet50": "ResNet-50"}
MISPRINT = (
    'Table 2 and 6, ResNet-18, "Aggregate (reported in [29])": the paper prints 79.10 as overall; the mean of its row is '
    "80.05."
)
CAPTIONS = {
    1: "out-of-domain accuracy on DomainNet",
    2: "out-of-domain accuracy on PACS",
    3: "in-domain accuracy on DomainNet",
    4: "every mask on every domain of DomainNet (AlexNet)",
    5: "prediction and mask ensembles on DomainNet (AlexNet)",
    6: "out-of-domain accuracy on PACS, with further methods",
}
_OWN_NAMES = {
    "Aggregate": "aggregate",
    "Aggregate-SGD": "aggregate",
    "Multi-Headed": "multi_headed",
    "MetaReg": "metareg",
    "DMG": "dmg",
    "DMG-KD": "dmg",
    "DMG (Pred-Ens)": "dmg",
    "DMG (Mask-Ens)": "dmg",
    "DICA": "dica",
    "D-MTAE": "d_mtae",
    "DSN": "dsn",
    "TF-CNN": "tf_cnn",
    "Fusion": "fusion",
    "DANN": "dann",
    "MLDG": "mldg",
    "MAML": "maml",
    "CrossGrad": "crossgrad",
    "Epi-FCR": "epi_fcr",
    "MASF": "masf",
}


@dataclass(frozen=True)
class PaperNumber:
    """One accuracy of Tables 1, 2, 3, 5 and 6, a fraction in [0, 1].

    - ``shown``: the method's name in the paper
    - ``method``: its name in this package; None for numbers from other papers ("reported in [29]")
    - ``optimizer``: None for methods quoted from their own papers (:data:`QUOTED`)
    - ``target``: the held-out domain, or "overall"
    """

    table: int
    dataset: str
    backbone: str
    shown: str
    method: str | None
    optimizer: str | None
    measure: str
    ensemble: str
    target: str
    accuracy: float


@dataclass(frozen=True)
class MaskNumber:
    """One accuracy of Table 4, a fraction in [0, 1]: ``mask`` is a source domain, or "combined" for the ensemble."""

    dataset: str
    backbone: str
    target: str
    mask: str
    domain: str
    accuracy: float


@cache
def accuracy_numbers() -> tuple[PaperNumber, ...]:
    """Return every number of Tables 1, 2, 3, 5 and 6, in the paper's order."""
    return tuple(_number(row) for row in _rows("accuracy_tables.csv"))


@cache
def mask_numbers() -> tuple[MaskNumber, ...]:
    """Return every number of Table 4, in the paper's order."""
    return tuple(
        MaskNumber(
            row["dataset"], row["backbone"], row["held_out_domain"], row["mask"], row["test_domain"], _fraction(row)
        )
        for row in _rows("mask_specialization_table4.csv")
    )


def paper_number(
    dataset: str, backbone: str, method: str, optimizer: str, measure: str, ensemble: str, target: str
) -> PaperNumber | None:
    """Return the paper's number under this package's names; None if there is none.

    - ``measure``: "out_of_domain", "in_domain" or "known_domain"

    For a number that is in several tables the first one is returned.
    """
    wanted = (dataset, backbone, method, None if method in QUOTED else optimizer, measure, ensemble, target)
    for number in accuracy_numbers():
        have = (
            number.dataset,
            number.backbone,
            number.method,
            number.optimizer,
            number.measure,
            number.ensemble,
            number.target,
        )
        if have == wanted:
            return number
    return None


def _number(row: dict[str, str]) -> PaperNumber:
    shown = row["method"]
    method = _OWN_NAMES.get(shown)
    return PaperNumber(
        table=int(row["table"]),
        dataset=row["dataset"],
        backbone=row["backbone"],
        shown=shown,
        method=method,
        optimizer=None if method in QUOTED else "sgd" if shown == "Aggregate-SGD" else "adam",
        measure="known_domain" if shown == "DMG-KD" else row["metric"],
        ensemble=MASK_ENSEMBLE if "Mask-Ens" in shown else PREDICTION_ENSEMBLE,
        target=row["target_domain"],
        accuracy=_fraction(row),
    )


def _fraction(row: dict[str, str]) -> float:
    return round(float(row["accuracy_percent"]) / 100, 6)


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = (files("domain_masks.report.runs") / "paper" / name).read_text(encoding="utf-8")
    yield from csv.DictReader(io.StringIO(text))
