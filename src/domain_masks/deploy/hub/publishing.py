"""Models on the Hugging Face hub: fetched and published, through huggingface_hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from domain_masks.deploy.predicting.locating import CARD, WEIGHTS, locate
from domain_masks.deploy.predicting.model import Model
from domain_masks.deploy.predicting.model_loading import load
from domain_masks.errors import DownloadError, InputError
from domain_masks.keywords import named_keywords
from domain_masks.methods.cards import MOST_BYTES
from domain_masks.methods.saving import largest_file, read_card

README = "README.md"


def fetch(name: str, revision: str | None = None, token: str | None = None) -> Path:
    """Return the folder in huggingface_hub's cache with the two files of the model ``name`` (``owner/name``).

    Nothing but these is fetched, both from one commit. The weights' size is compared with what ``model.json`` leads to
    expect before they are fetched. Without a connection, what was fetched before is used. Raises InputError where the library
    is not installed or the hub has no such model, DownloadError where it cannot be had or is too large.
    """
    hub = _library()
    with _explained(f"{name}{f'@{revision}' if revision else ''}"):
        _refuse_large(hub, name, CARD, revision, token, MOST_BYTES)
        folder = Path(hub.hf_hub_download(name, CARD, revision=revision, token=token)).parent
        commit = folder.name
        if isinstance(hub.try_to_load_from_cache(name, WEIGHTS, revision=commit), str):
            return folder
        card = read_card(folder)
        _refuse_large(hub, name, WEIGHTS, commit, token, largest_file(card, folder / CARD))
        return Path(hub.hf_hub_download(name, WEIGHTS, revision=commit, token=token)).parent


@named_keywords
def push_to_hub(model: Model | str | Path, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Put a model on the hub, with its model card as README.md, in one commit; returns the address of the commit.

    - ``model``: a model, or what :func:`load` takes
    - ``repo_id``: ``owner/name``, made if it is not there; its README.md is replaced
    - ``private``: of a repository that is made
    - ``token``: one that may write; by default the one that huggingface_hub has stored (``hf auth login``)

    Raises InputError where the library is not installed, the name or the token cannot be used; DownloadError where the hub
    cannot be reached or refuses.
    """
    hub = _library()
    with _files(model, token) as (folder, loaded), _explained(repo_id):
        card = loaded.model_card(repo_id)
        add = hub.CommitOperationAdd
        operations = [add(name, str(folder / name)) for name in (CARD, WEIGHTS)]
        operations.append(add(README, card.encode()))
        api = hub.HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.create_commit(repo_id, operations, commit_message=f"Add {loaded.method.name} on {loaded.backbone}")
    return str(commit.commit_url)


@contextmanager
def _files(model: Model | str | Path, token: str | None) -> Iterator[tuple[Path, Model]]:
    """Give a folder with the two files, and the model."""
    if not isinstance(model, Model):
        folder = locate(model, token)
        yield folder, load(folder, device="cpu")
        return
    with TemporaryDirectory() as temporary:
        model.save(temporary)
        yield Path(temporary), model


def _library() -> ModuleType:
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
            f"{name}: {file} has {size:,} bytes, where {CARD} leads to expect at most {most:,}: not fetched"
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
            f"HF_HUB_OFFLINE), or give a folder with {WEIGHTS} and {CARD}. If you meant a folder, there is none of this name"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{what}: it is no model of domain-masks: expected {WEIGHTS} and {CARD} in it ({_first_line(error)})"
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
