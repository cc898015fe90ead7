"""Build a classifier from its name, with weights and a head for the given classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks.architecture import AS_PRETRAINED, Architecture
from domain_masks.networks.names import unregistered
from domain_masks.networks.presets import find_head
from domain_masks.networks.published import PublishedWeights, published_weights, timms_tag
from domain_masks.networks.signature import differing
from domain_masks.networks.small import SmallConvNet
from domain_masks.networks.weights_files import Say, read_weights
from domain_masks.networks.weights_loading import load_weights

HeadInitialisation = Literal["default", "normal"]

BACKBONES: dict[str, Callable[[int], nn.Module]] = {"small": SmallConvNet}
"""The networks of this package, by name, in addition to those of torchvision and timm."""


def build_backbone(
    name: str,
    classes: int,
    weights: str | Path = "none",
    head_initialisation: HeadInitialisation = "default",
    *,
    architecture: Architecture | None = None,
    say: Say | None = None,
) -> nn.Module:
    """Build a classifier with a new head for ``classes``.

    - ``name``: one of :data:`BACKBONES`, torchvision's if it has one, ``timm:NAME`` (or a bare name only timm has)
    - ``weights``: ``none``, ``imagenet`` (from torchvision or timm), or a file, see :func:`read_weights` and
      :func:`load_weights`. A file's head with another number of classes is ignored; all other tensors must match exactly
    - ``head_initialisation``: ``default`` is PyTorch's; ``normal`` is N(0, 0.001) with bias 0 (paper, DomainNet)
    - ``architecture``: the result of :func:`architecture_of` for these weights; None: computed here
    - ``say``: called with remarks about a weights file, one line each; None: warnings

    Raises InputError for an unknown name, and for weights that cannot be downloaded or read, or do not match.
    """
    source = str(weights)
    architecture = architecture_of(name, weights) if architecture is None else architecture
    say = _warn if say is None else say
    if source == "imagenet":
        network = _with_published_weights(name, classes, architecture)
        head = find_head(network)
    else:
        network = build_architecture(architecture, classes, name)
        head = find_head(network)
        if source != "none":
            load_weights(network, read_weights(Path(weights), say), head, source, say)
            for argument in ("transform_input", AS_PRETRAINED):
                if architecture.arguments.get(argument):
                    say(f"weights {source!r} have the form of the published weights, so the network has {argument}")
    if head_initialisation == "normal":
        initialise_normal(network.get_submodule(head))
    return network


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=3)


def architecture_of(name: str, weights: str | Path = "none") -> Architecture:
    """Return the architecture that :func:`build_backbone` builds, with the arguments that the weights need; no download.

    Arguments that published weights require are set with ``imagenet``, and with a weights file that is one of the published
    ones or has as many classes.

    Raises InputError for an unknown name, and for an unreadable file if its content is needed.
    """
    library, plain = find_backbone(name)
    if library == "own":
        return Architecture("own", plain)
    if library == "torchvision":
        return Architecture(
            "torchvision", plain, _torchvision_arguments(plain, published_weights(library, plain, weights))
        )
    tag = timms_tag(plain)
    named = f"{plain}.{tag}" if tag and "." not in plain else plain
    differs = bool(tag) and str(weights) != "none" and _differs_as_pretrained(named)
    published = published_weights(library, plain, weights) if differs else None
    return Architecture("timm", named, {} if published is None else {AS_PRETRAINED: True})


def _torchvision_arguments(name: str, published: PublishedWeights | None) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        # By default they return a tuple in training; torchvision's weights expect another normalisation.
        arguments = {"aux_logits": False, "transform_input": published is not None}
    if published is not None and published.fixed_size is not None:
        argument = {"vit": "image_size", "maxvit": "input_size"}[name.partition("_")[0]]
        size = published.fixed_size
        if size != 224:
            arguments[argument] = size if argument == "image_size" else [size, size]
    return arguments


def _differs_as_pretrained(name: str) -> bool:
    """Return whether timm's network with pretrained weights has other settings, such as FBNet with another epsilon."""
    plain = _rebuilt(Architecture("timm", name), 2)
    try:
        return bool(differing(plain, _rebuilt(Architecture("timm", name, {AS_PRETRAINED: True}), 2)))
    except Exception:  # timm cannot reload this network; differences are detected when its own weights are loaded
        return False


def build_architecture(architecture: Architecture, classes: int, called: str | None = None) -> nn.Module:
    """Build a network without pretrained weights, with a head for ``classes``.

    - ``called``: its name in messages

    Raises InputError for an unknown name.
    """
    name, arguments = architecture.name, dict(architecture.arguments)
    if architecture.library == "own":
        if name not in BACKBONES and "." in name:
            raise unregistered(name)
        if name not in BACKBONES:
            raise unknown("backbone", name, BACKBONES)
        return BACKBONES[name](classes)
    if architecture.library == "torchvision":
        from torchvision import models  # noqa: PLC0415

        if name not in models.list_models(module=models):
            raise unknown("torchvision backbone", name, models.list_models(module=models))
        if "aux_logits" in arguments:
            arguments["init_weights"] = True
        if "input_size" in arguments:
            arguments["input_size"] = tuple(arguments["input_size"])
        return with_new_head(models.get_model(name, weights=None, **arguments), classes)
    import timm  # noqa: PLC0415

    pretrained = arguments.pop(AS_PRETRAINED, False)
    with _could_be_made(called or f"timm:{name}"):
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, **arguments)
        if pretrained:
            own = {"state_dict": network.state_dict(), "num_classes": classes, "label_offset": 0}
            network = timm.create_model(
                name, pretrained=True, num_classes=classes, pretrained_cfg_overlay=own, **arguments
            )
            network.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return network


def _with_published_weights(name: str, classes: int, architecture: Architecture) -> nn.Module:
    """Build a network with its library's pretrained weights.

    Raises InputError if they cannot be downloaded, and if the library's network differs from ``architecture``, so that a
    trained model could not be rebuilt.
    """
    library, plain = find_backbone(name)
    if library == "own":
        raise InputError(f"backbone {plain!r} has no ImageNet weights: use --weights none or a file")
    network: nn.Module
    if library == "torchvision":
        from torchvision import models  # noqa: PLC0415

        published = published_weights(library, plain, "imagenet")
        with _download(name):
            network = models.get_model(plain, weights=published.entry if published else "DEFAULT")
        network = with_new_head(_without_auxiliary_outputs(network), classes)
    else:
        import timm  # noqa: PLC0415

        with _download(name):
            network = timm.create_model(architecture.name, pretrained=True, num_classes=classes)
    if others := differing(network, _rebuilt(architecture, classes)):
        raise InputError(
            f"backbone {name!r}: {library}'s network with ImageNet weights differs from that without them "
            f"({', '.join(others[:3]) or 'the network itself'}), so that a trained model could not be rebuilt: "
            "use --weights none or a file"
        )
    return network


def _rebuilt(architecture: Architecture, classes: int) -> nn.Module:
    """Build a network on the meta device if possible; the global generator is not changed."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build_architecture(architecture, classes)
        except InputError:
            raise
        except Exception:  # a network whose constructor computes with values
            return build_architecture(architecture, classes)


def _without_auxiliary_outputs(network: nn.Module) -> nn.Module:
    if getattr(network, "aux_logits", False):
        network.aux_logits = False  # type: ignore[assignment]
        for auxiliary in ("aux1", "aux2", "AuxLogits"):
            if hasattr(network, auxiliary):
                setattr(network, auxiliary, None)
    return network


def with_new_head(network: nn.Module, classes: int) -> nn.Module:
    """Replace the last layer of ``network`` with a new one for ``classes`` and return it; raises InputError without a head."""
    head = find_head(network)
    layer = network.get_submodule(head)
    parent, _, last = head.rpartition(".")
    new: nn.Module
    if isinstance(layer, nn.Conv2d):
        new = nn.Conv2d(layer.in_channels, classes, 1)
    else:
        new = nn.Linear(int(layer.in_features), classes)  # type: ignore[arg-type]
    setattr(network.get_submodule(parent), last, new)
    return network


def initialise_normal(layer: nn.Module) -> None:
    """Initialise a last layer: weights from N(0, 0.001), a standard deviation, and bias 0 (Section 7.5)."""
    nn.init.normal_(layer.get_parameter("weight"), 0.0, 0.001)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.get_parameter("bias"))


def find_backbone(name: str) -> tuple[Literal["own", "torchvision", "timm"], str]:
    """Return a backbone's library and its name there; timm is imported only if no other library has it.

    Raises InputError for an unknown name, with the nearest name.
    """
    library, _, plain = name.rpartition(":")
    if library not in ("", "timm", "torchvision"):
        raise unknown("library of backbones", library, ["torchvision", "timm"])
    if library == "" and plain in BACKBONES:
        return "own", plain
    from torchvision import models  # noqa: PLC0415

    in_torchvision = models.list_models(module=models)
    if library != "timm" and plain in in_torchvision:
        return "torchvision", plain
    if library == "torchvision":
        raise unknown("torchvision backbone", plain, in_torchvision)
    import timm  # noqa: PLC0415

    if not timm.is_model(plain):
        if library == "" and "." in plain and not timm.is_model(plain.partition(".")[0]):
            raise unregistered(plain)
        others = [f"timm:{other}" for other in timm.list_models()] if library == "timm" else []
        raise unknown("backbone", name, [*BACKBONES, *in_torchvision, *others])
    return "timm", plain


@contextmanager
def _could_be_made(name: str) -> Iterator[None]:
    """Convert timm's error for an unknown tag to an InputError."""
    try:
        yield
    except RuntimeError as error:
        if "pretrained tag" not in str(error).lower():
            raise
        raise InputError(f"backbone {name!r} cannot be built: {error}") from error


class _download:  # noqa: N801
    """Convert a failed download of weights to an InputError."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        # Which of these huggingface_hub raises, and whether it is an OSError, depends on its version.
        library = type(error).__module__.partition(".")[0]
        network_failed = isinstance(error, OSError) or library in (
            "httpx",
            "httpx2",
            "httpcore",
            "httpcore2",
            "requests",
            "huggingface_hub",
        )
        missing = isinstance(error, RuntimeError) and "pretrained" in str(error).lower()
        if network_failed or missing or "hash" in str(error):
            raise InputError(
                f"the ImageNet weights of {self.name!r} could not be downloaded ({type(error).__name__}: {error}): check the "
                "connection, or give a file with --weights FILE, or --weights none to start from random weights"
            ) from error
