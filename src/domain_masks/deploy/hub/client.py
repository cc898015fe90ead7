"""Download and upload the two files of a model from and to the Hugging Face Hub, using huggingface_hub."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from domain_masks.errors import DownloadError, InputError
from domain_masks.methods.saving import largest_file
from domain_masks.records.model_card import MOST_BYTES, ModelCard
from domain_masks.records.run_folder import MODEL_CARD, MODEL_WEIGHTS

README = "README.md"


def fetch(name: str, revision: str | None = None, token: str | None = None) -> Path:
    """Return the folder in huggingface_hub's cache with the two files of the model ``name`` (``owner/name``).

    Only these two are downloaded, both from one commit. The size of the weights is checked against ``model.json`` before the
    download. Without a connection, the cached files are used. Raises InputError if the library is not installed or the Hub
    has no such model, DownloadError if the download fails or a file is too large.
    """
    hub = hub_library()
    with _explained(f"{name}{f'@{revision}' if revision else ''}"):
        _refuse_large(hub, name, MODEL_CARD, revision, token, MOST_BYTES)
        folder = Path(hub.hf_hub_download(name, MODEL_CARD, revision=revision, token=token)).parent
        commit = folder.name
        if isinstance(hub.try_to_load_from_cache(name, MODEL_WEIGHTS, revision=commit), str):
            return folder
        card = ModelCard.read(folder / MODEL_CARD)
        _refuse_large(hub, name, MODEL_WEIGHTS, commit, token, largest_file(card, folder / MODEL_CARD))
        return Path(hub.hf_hub_download(name, MODEL_WEIGHTS, revision=commit, token=token)).parent


def check_name(repo_id: str) -> None:
    """Raise InputError unless ``repo_id`` is a valid name on the Hub."""
    hub_library()
    # Named as a text: the library does not import this part by itself, nor declare the function as its own.
    utilities = importlib.import_module("huggingface_hub.utils")
    with _explained(repo_id):
        utilities.validate_repo_id(repo_id)


def upload(
    folder: Path, readme: str, repo_id: str, private: bool, token: str | None, figures: Sequence[Path] = ()
) -> str:
    """Upload the model in ``folder`` to the Hub with a README.md, in one commit; returns the URL of the commit.

    - ``figures``: files that are put into ``figures/``

    Raises as :func:`~domain_masks.deploy.push_to_hub` does.
    """
    hub = hub_library()
    with _explained(repo_id):
        card = ModelCard.read(folder / MODEL_CARD)
        operations = [hub.CommitOperationAdd(name, str(folder / name)) for name in (MODEL_CARD, MODEL_WEIGHTS)]
        operations.append(hub.CommitOperationAdd(README, readme.encode()))
        operations += [hub.CommitOperationAdd(f"figures/{path.name}", str(path)) for path in figures]
        api = hub.HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        message = f"Add {card.method.name} on {card.backbone}"
        return str(api.create_commit(repo_id, operations, commit_message=message).commit_url)


def hub_library() -> ModuleType:
    """Return the module huggingface_hub; raises InputError with the install command if it is missing."""
    try:
        import huggingface_hub  # noqa: PLC0415 - takes a second, and is an extra
    except ImportError as error:
        raise InputError(
            "models on the Hub need the library huggingface_hub: install the extra `hub` (pip install 'domain-masks[hub]')"
        ) from error
    return huggingface_hub


def _refuse_large(hub: ModuleType, name: str, file: str, revision: str | None, token: str | None, most: int) -> None:
    try:
        size = hub.get_hf_file_metadata(hub.hf_hub_url(name, file, revision=revision), token=token).size
    except Exception:  # the cache may have the file; otherwise the download itself reports the error
        return
    if size is not None and size > most:
        raise DownloadError(
            f"{name}: {file} has {size:,} bytes, but {MODEL_CARD} implies at most {most:,}: not downloaded"
        )


@contextmanager
def _explained(model: str) -> Iterator[None]:
    """Turn the library's exceptions into a message about ``model``."""
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(f"{model!r} is not a valid name on the Hub: {error}. Expected owner/name") from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"{model}: access is granted on request: request it on the model's page, then log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{model}: the Hub has no such model, or it is private: check the name (owner/name), and log in with `hf auth "
            "login` or give a token"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{model}: the model has no such revision: expected a branch, a tag or a commit") from error
    except errors.LocalEntryNotFoundError as error:
        raise DownloadError(
            f"{model}: the Hub cannot be reached, and the model is not in the cache: check the connection (and HF_ENDPOINT, "
            f"HF_HUB_OFFLINE), or give a folder with {MODEL_WEIGHTS} "
            f"and {MODEL_CARD}. If you meant a folder, there is none of this name"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{model}: not a model of domain-masks: expected {MODEL_WEIGHTS} and {MODEL_CARD} ({_first_line(error)})"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        advice = (
            "log in with `hf auth login`, or give a token with write access"
            if status in (401, 403)
            else "try again later"
        )
        raise DownloadError(f"{model}: the Hub refused the request: {_first_line(error)}; {advice}") from error
    except errors.OfflineModeIsEnabled as error:
        raise DownloadError(
            f"{model}: the Hub is not asked, because HF_HUB_OFFLINE is set: unset it, and try again with a connection"
        ) from error
    except Exception as error:
        # Network errors have no common base class, and their modules change between versions.
        if type(error).__module__.partition(".")[0] not in _NETWORK_LIBRARIES and not isinstance(
            error, ConnectionError
        ):
            raise
        raise DownloadError(
            f"{model}: the Hub cannot be reached: {_first_line(error)}; check the connection"
        ) from error


_NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "huggingface_hub")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
