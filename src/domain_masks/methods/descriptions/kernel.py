"""Methods with a closed form on kernels of the features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Positive, Settings
from domain_masks.methods.search_ranges import Range, Uniform


@dataclass(frozen=True)
class DICASettings(Settings):
    """Settings of DICA; the paper selects λ, ε and the number of components by cross-validation."""

    regulariser: Positive = 0.1
    """λ, regularisation of the projection"""
    output_regulariser: Positive = 0.01
    """ε, regularisation of the labels' kernel"""
    components: Annotated[int, Field(ge=1)] | None = None
    """number of projection directions; default: all, the number of classes - 1"""
    width: Positive = 1.0
    """width of the Gaussian kernel, in units of the median distance of the landmarks"""
    landmarks: Annotated[int, Field(ge=2)] = 1000
    """number of training images, drawn at random, that approximate the kernel (Nyström); with all images it is exact"""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-5
    """eigenvalues of the landmarks' kernel below this fraction of the largest one are dropped"""


class DescribedDICA(Description):
    """Description of DICA."""

    name = "dica"
    summary = "fits, in closed form, a kernel projection that separates classes and brings the sources' means together"
    family = "kernel"
    paper = Paper("Domain Generalization via Invariant Feature Representation", "Muandet et al.", "ICML 2013")
    Settings: ClassVar[type[DICASettings]] = DICASettings
    needs: ClassVar[Literal["images", "features", "either"]] = "features"
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.regulariser": Uniform(1e-3, 10.0, log=True),
        "method.output_regulariser": Uniform(1e-4, 1.0, log=True),
        "method.width": Uniform(0.3, 3.0, log=True),
    }

    @classmethod
    def is_closed_form(cls) -> bool:
        """Return True: DICA is fitted in closed form."""
        return True


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedDICA,)
