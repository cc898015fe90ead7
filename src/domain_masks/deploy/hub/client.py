"""Download the two files of a model from the Hugging Face Hub, and upload them, through huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator
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

    Nothing but these is fetched, both from one commit. The weights' size is compared with what ``model.json`` leads to
    expect before they are fetched. Without a connection, what was fetched before is used. Raises InputError where the library
    is not installed or the hub has no such model, DownloadError where it cannot be had or is too large.
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


def upload(folder: Path, readme: str, repo_id: str, private: bool, token: str | None) -> str:
    """Put the model in ``folder`` on the hub with a README.md, in one commit; returns the address of the commit.

    Raises as :func:`~domain_masks.deploy.push_to_hub` does.
    """
    hub = hub_library()
    with _explained(repo_id):
        card = ModelCard.read(folder / MODEL_CARD)
        operations = [hub.CommitOperationAdd(name, str(folder / name)) for name in (MODEL_CARD, MODEL_WEIGHTS)]
        operations.append(hub.CommitOperationAdd(README, readme.encode()))
        api = hub.HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        message = f"Add {card.method.name} on {card.backbone}"
        return str(api.create_commit(repo_id, operations, commit_message=message).commit_url)


def hub_library() -> ModuleType:
    """Return huggingface_hub; raises InputError, which says how to install it, where it is missing."""
    try:
        import huggingface_hub  # noqa: PLC0415 - takes a second, and is an extra
    except ImportError as error:
        raise InputError(
            "models on the hub need the library huggingface_hub: install the extra `hub` (pip install 'domain-masks[hub]')"
        ) from error
    return huggingface_hub


def _refuse_large(hub: ModuleType, name: str, file: str, revision: str | None, token: str | None, most: int) -> None:
    try:
        size = hub.get_hf_file_metadata(hub.hf_hub_url(name, file, revision=revision), token=token).size
    except Exception:  # what was fetched before may do; fetching it says what is wrong, where it does not
        return
    if size is not None and size > most:
        raise DownloadError(
            f"{name}: {file} has {size:,} bytes, where {MODEL_CARD} leads to expect at most {most:,}: not fetched"
        )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what the library raises into a message about the model ``what``."""
    from huggingface_hub import errors  # noqa: PLC0415

    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(f"{what!r} can be no name on the hub: {error}. Expected owner/name") from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"{what}: its owner grants access on request: ask for it on its page on the hub, then log in with `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{what}: the hub has no such model, or it is private: check the name (owner/name), and log in with `hf auth "
            "login` or give a token"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{what}: the model has no such revision: expected a branch, a tag or a commit") from error
    except errors.LocalEntryNotFoundError as error:
        raise DownloadError(
            f"{what}: the hub cannot be reached, and the model was not fetched before: check the connection (and HF_ENDPOINT, "
            f"HF_HUB_OFFLINE), or give a folder with {MODEL_WEIGHTS} "
            f"and {MODEL_CARD}. If you meant a folder, there is none of this name"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{what}: it is no model of domain-masks: expected {MODEL_WEIGHTS} and {MODEL_CARD} in it ({_first_line(error)})"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        advice = (
            "log in with `hf auth login`, or give a token that may write" if status in (401, 403) else "try again later"
        )
        raise DownloadError(f"{what}: the hub refuses: {_first_line(error)}; {advice}") from error
    except Exception as error:
        # Errors of the network have no base in common, and other modules from version to version.
        if type(error).__module__.partition(".")[0] not in _OF_THE_NETWORK and not isinstance(error, ConnectionError):
            raise
        raise DownloadError(f"{what}: the hub cannot be reached: {_first_line(error)}; check the connection") from error


_OF_THE_NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "huggingface_hub")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
