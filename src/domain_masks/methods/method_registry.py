"""The registry of algorithms by name; each is imported on first use."""

from __future__ import annotations

import importlib
from collections import UserDict
from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from domain_masks.errors import InputError, unknown
from domain_masks.methods.description import Description
from domain_masks.methods.descriptions import DESCRIBED

if TYPE_CHECKING:
    from domain_masks.methods.base import Method


ENTRY_POINTS = "domain_masks.methods"
"""The group of entry points by which installed packages add methods: ``name = "package.module:Class"``."""


class Methods(UserDict[str, "type[Method] | str"]):
    """Name -> the class of an algorithm, or its address ``module:Class``, which is imported on first use.

    Entry points of installed packages are read for an unknown name, or when all names are listed. They cannot replace methods
    of this package.
    """

    _packaged: dict[str, str] | None = None

    def _ask_packages(self) -> None:
        if self._packaged is not None:
            return

        from importlib.metadata import entry_points  # noqa: PLC0415 - a slow import

        packaged = {point.name: point for point in entry_points(group=ENTRY_POINTS) if point.name not in self.data}
        self._packaged = {name: point.module for name, point in packaged.items()}
        self.data |= {name: f"{point.module}:{point.attr}" for name, point in packaged.items()}

    def packaged_in(self, name: str) -> str | None:
        """Return the module of an installed package that has added the method ``name``; None for any other method."""
        return (self._packaged or {}).get(name)

    def __getitem__(self, name: str) -> type[Method]:
        """Return a class, imported on first use; raises InputError if another package's cannot be imported."""
        if name not in self.data:
            self._ask_packages()
        entry = self.data[name]
        if isinstance(entry, str):
            entry = self.data[name] = _imported(name, entry)
        return entry

    def __contains__(self, name: object) -> bool:
        if name not in self.data:
            self._ask_packages()
        return name in self.data

    def __iter__(self) -> Iterator[str]:
        self._ask_packages()
        return iter(self.data)

    def __len__(self) -> int:
        self._ask_packages()
        return len(self.data)


def _imported(name: str, address: str) -> type[Method]:
    module, _, kind = address.partition(":")
    try:
        method: type[Method] = attrgetter(kind)(importlib.import_module(module))
    except Exception as error:
        if module.startswith("domain_masks."):
            raise
        raise InputError(
            f"method {name!r} of the installed package {module.partition('.')[0]!r}: {address} cannot be imported "
            f"({type(error).__name__}: {error}). Fix that package, or uninstall it"
        ) from error
    return method


METHODS = Methods(
    {
        # masks
        "dmg": "domain_masks.methods.dmg:DMG",
        "dsbn": "domain_masks.methods.algorithms.dsbn:DSBN",
        "lora": "domain_masks.methods.algorithms.lora:LoRA",
        # baselines
        "aggregate": "domain_masks.methods.aggregate:Aggregate",
        "multi_headed": "domain_masks.methods.multi_headed:MultiHeaded",
        # meta-learning
        "mldg": "domain_masks.methods.algorithms.mldg:MLDG",
        "maml": "domain_masks.methods.algorithms.maml:MAML",
        "masf": "domain_masks.methods.algorithms.masf:MASF",
        "metareg": "domain_masks.methods.algorithms.metareg:MetaReg",
        "epi_fcr": "domain_masks.methods.algorithms.epi_fcr:EpiFCR",
        # adversarial
        "dann": "domain_masks.methods.algorithms.dann:DANN",
        "crossgrad": "domain_masks.methods.algorithms.crossgrad:CrossGrad",
        "dsn": "domain_masks.methods.algorithms.dsn:DSN",
        # alignment
        "coral": "domain_masks.methods.algorithms.coral:CORAL",
        "mmd": "domain_masks.methods.algorithms.mmd:MMD",
        "fishr": "domain_masks.methods.algorithms.fishr:Fishr",
        # augmentation
        "mixup": "domain_masks.methods.algorithms.mixup:Mixup",
        "mixstyle": "domain_masks.methods.algorithms.mixstyle:MixStyle",
        "rsc": "domain_masks.methods.algorithms.rsc:RSC",
        "sagnet": "domain_masks.methods.algorithms.sagnet:SagNet",
        # risk
        "irm": "domain_masks.methods.algorithms.irm:IRM",
        "vrex": "domain_masks.methods.algorithms.vrex:VREx",
        "groupdro": "domain_masks.methods.algorithms.groupdro:GroupDRO",
        # regularisation
        "miro": "domain_masks.methods.algorithms.miro:MIRO",
        "sam": "domain_masks.methods.algorithms.sam:SAM",
        "sagm": "domain_masks.methods.algorithms.sagm:SAGM",
        # decomposition
        "fusion": "domain_masks.methods.algorithms.fusion:Fusion",
        "csd": "domain_masks.methods.algorithms.csd:CSD",
        "tf_cnn": "domain_masks.methods.algorithms.tf_cnn:TFCNN",
        "d_mtae": "domain_masks.methods.algorithms.d_mtae:DMTAE",
        # kernel
        "dica": "domain_masks.methods.algorithms.dica:DICA",
    }
)
"""Name -> class, ordered by family as in ``descriptions``."""


def method_class(name: str) -> type[Method]:
    """Return the class of the method ``name``; raises InputError that lists the available methods."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def described(name: str) -> type[Description]:
    """Return the description of the method ``name``, which needs no torch for a method of this package.

    Raises InputError that lists the available methods.
    """
    kind, entry = DESCRIBED.get(name), METHODS.data.get(name)
    # A user may have registered another class under the name.
    is_own = kind is not None and entry is not None and (isinstance(entry, str) or issubclass(entry, kind))
    return kind if kind is not None and is_own else method_class(name)
