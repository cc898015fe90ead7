"""A name -> a classifier with its weights and a head for the classes at hand."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks.presets import find_head
from domain_masks.networks.small import SmallConvNet
from domain_masks.records.files import utf8_path

HeadInitialisation = Literal["default", "normal"]

BACKBONES: dict[str, Callable[[int], nn.Module]] = {"small": SmallConvNet}
"""The networks of this package, by name; torchvision's and timm's come on top."""


def build_backbone(
    name: str, classes: int, weights: str | Path = "none", head_initialisation: HeadInitialisation = "default"
) -> nn.Module:
    """Build a classifier with a new head for ``classes``.

    - ``name``: one of :data:`BACKBONES`, torchvision's if it has one, ``timm:NAME`` (or a bare name only timm has)
    - ``weights``: ``none``, ``imagenet`` (through torchvision or timm), or a file: .safetensors, or .pth/.pt read
      with ``weights_only``. A head of another number of classes is left out of a file; all else must fit exactly
    - ``head_initialisation``: ``default`` is PyTorch's; ``normal`` is N(0, 0.001) with bias 0 (paper, DomainNet)

    Raises InputError for an unknown name, weights that cannot be had, read, or do not fit.
    """
    source = str(weights)
    network = _build(name, classes, pretrained=source == "imagenet")
    head = find_head(network)
    if source not in ("none", "imagenet"):
        load_weights(network, read_weights(Path(weights)), head, str(weights))
    if head_initialisation == "normal":
        initialise_normal(network.get_submodule(head))
    return network


def initialise_normal(layer: nn.Module) -> None:
    """Draw a last layer's weights from N(0, 0.001), a standard deviation, and set its bias to 0 (Section 7.5)."""
    nn.init.normal_(layer.get_parameter("weight"), 0.0, 0.001)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.get_parameter("bias"))


def find_backbone(name: str) -> tuple[Literal["own", "torchvision", "timm"], str]:
    """Return where a backbone comes from and its name there; timm is imported only if nobody else has it.

    Raises InputError for an unknown name, with the nearest.
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
        others = [f"timm:{other}" for other in timm.list_models()] if library == "timm" else []
        raise unknown("backbone", name, [*BACKBONES, *in_torchvision, *others])
    return "timm", plain


def _build(name: str, classes: int, pretrained: bool) -> nn.Module:
    library, plain = find_backbone(name)
    if library == "own":
        if pretrained:
            raise InputError(f"backbone {plain!r} has no ImageNet weights: use --weights none or a file")
        return BACKBONES[plain](classes)
    if library == "torchvision":
        return _from_torchvision(plain, classes, pretrained)
    import timm  # noqa: PLC0415

    with _download(name) if pretrained else _could_be_made(name):
        network: nn.Module = timm.create_model(plain, pretrained=pretrained, num_classes=classes)
    return network


@contextmanager
def _could_be_made(name: str) -> Iterator[None]:
    """Turn timm's refusal of a name with an unknown tag into a message."""
    try:
        yield
    except RuntimeError as error:
        if "pretrained tag" not in str(error).lower():
            raise
        raise InputError(f"backbone {name!r} cannot be made: {error}") from error


def _from_torchvision(name: str, classes: int, pretrained: bool) -> nn.Module:
    from torchvision import models  # noqa: PLC0415

    weights = None
    if pretrained:
        available = models.get_model_weights(name)
        # The paper's weights are the first ones; later ones come from other training recipes.
        weights = getattr(available, "IMAGENET1K_V1", None) or available.DEFAULT
    # GoogLeNet and Inception return a tuple in training unless told otherwise.
    multiple = name in ("googlenet", "inception_v3") and not pretrained
    extra: dict[str, Any] = {"aux_logits": False, "init_weights": True} if multiple else {}
    with _download(name) if pretrained else nullcontext():
        network: nn.Module = models.get_model(name, weights=weights, **extra)
    if getattr(network, "aux_logits", False):
        network.aux_logits = False  # type: ignore[assignment]
        for auxiliary in ("aux1", "aux2", "AuxLogits"):
            if hasattr(network, auxiliary):
                setattr(network, auxiliary, None)
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


class _download:  # noqa: N801
    """Turn a failed download of weights into a message."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        # Which of these timm's hub raises, and whether it is an OSError, depends on the hub's version.
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
                f"the ImageNet weights of {self.name!r} could not be had ({type(error).__name__}: {error}): check the "
                "connection, or give a file with --weights FILE, or --weights none to start from random weights"
            ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from .pth/.pt without running any code in it.

    A state dict under ``state_dict`` or ``model`` is taken out, the prefix ``module.`` taken off, and half precision
    cast to float32.

    Raises InputError for a missing, truncated or foreign file.
    """
    if not path.is_file():
        raise InputError(
            f"weights {str(path)!r}: no such file. Expected 'imagenet', 'none', or a .safetensors or .pth file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415

            with utf8_path(path) as readable:
                state: Any = load_file(readable)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"weights {str(path)!r} are refused: the file is damaged or holds more than tensors, which could run code. "
            "Expected a plain state dict; save it anew with torch.save(model.state_dict(), ...) or as .safetensors"
        ) from error
    except Exception as error:
        raise InputError(
            f"weights {str(path)!r} cannot be read ({type(error).__name__}: {error}): the file is truncated or of "
            "another format. Expected .safetensors, or .pth written by torch.save"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"weights {str(path)!r} hold no state dict: expected a mapping of names to tensors")
    return {
        key.removeprefix("module."): value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
        for key, value in state.items()
    }


def load_weights(network: nn.Module, state: Mapping[str, Tensor], head: str, source: str) -> None:
    """Load ``state`` into ``network``; only the layer ``head`` may differ in shape, and then keeps its new weights.

    Raises InputError that counts and names what does not fit.
    """
    own = network.state_dict()
    shape_differs = [
        key for key in own if key in state and own[key].shape != state[key].shape and not key.startswith(f"{head}.")
    ]
    missing = [
        key
        for key in own
        if key not in state and not key.startswith(f"{head}.") and not key.endswith("num_batches_tracked")
    ]
    foreign = [key for key in state if key not in own and not key.startswith(f"{head}.")]
    problems = []
    for names, what in ((missing, "missing"), (foreign, "unknown to the network"), (shape_differs, "of another shape")):
        if names:
            problems.append(f"{len(names)} tensors {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    if problems:
        raise InputError(
            f"weights {source!r} are not those of a {type(network).__name__}: {'; '.join(problems)}. "
            "Expected the weights of the same architecture"
        )
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
