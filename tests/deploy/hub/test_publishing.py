import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.cli import main
from domain_masks.deploy import load, push_to_hub
from domain_masks.errors import DownloadError, InputError, RunFolderError
from hub_double import Repository, hub_of_models

constants = pytest.importorskip("huggingface_hub.constants")
FILES = ("model.safetensors", "model.json")


@pytest.fixture(autouse=True)
def own_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hub_of_models(tmp_path, monkeypatch) as hub:
        yield hub


def stored(run_folder, **changes):
    """Return the files of a repository with the run's model."""
    card = json.loads((run_folder / "model.json").read_text()) | changes
    return {
        "model.safetensors": (run_folder / "model.safetensors").read_bytes(),
        "model.json": json.dumps(card).encode(),
        "other.bin": bytes(1000),
    }


@pytest.fixture
def hub(own_hub, run_folder):
    repository = Repository()
    repository.add(stored(run_folder, dataset="first"))
    repository.branches["v1"] = repository.branches["main"]
    repository.add(stored(run_folder, dataset="second"))
    own_hub.repositories["owner/name"] = repository
    return own_hub


@pytest.mark.parametrize(("name", "dataset"), [("owner/name", "second"), ("hf:owner/name@v1", "first")])
def test_a_model_of_the_hub_is_loaded(hub, model, images, name, dataset):
    loaded = dm.load(name, device="cpu")
    assert loaded.card.dataset == dataset
    path = images / "dots" / "red" / "0.png"
    assert loaded.predict(path) == model.predict(path)
    fetched = {path.rpartition("/")[2] for _, path in hub.requests if "/resolve/" in path}
    assert fetched == set(FILES), "nothing else is fetched"


def test_a_commit_names_a_revision(hub):
    commit = hub.repositories["owner/name"].branches["v1"]
    assert load(f"owner/name@{commit}", device="cpu").card.dataset == "first"


def test_what_was_fetched_before_is_enough_without_a_connection(hub, monkeypatch):
    load("owner/name", device="cpu")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load("owner/name", device="cpu").card.dataset == "second"


def test_a_folder_here_comes_first(hub, tmp_path):
    (tmp_path / "owner").mkdir()
    with pytest.raises(InputError, match=r"there is no model at 'owner/name'.*hf:owner/name"):
        load("owner/name")
    assert load("hf:owner/name", device="cpu").card.dataset == "second"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/nothing", "owner/nothing: the Hub has no such model, or it is private"),
        ("owner/private", "the Hub has no such model, or it is private"),
        ("owner/gated", "access is granted on request"),
        ("owner/name@v2", "no such revision"),
        ("owner/other", "not a model of domain-masks: expected model.safetensors and model.json"),
        ("owner/weights", "not a model of domain-masks"),
        ("owner/na--me", "is not a valid name on the Hub"),
    ],
)
def test_what_the_hub_does_not_have_is_one_message(hub, run_folder, name, message):
    for other, options in {"private": {"private": True}, "gated": {"gated": True}, "other": {}, "weights": {}}.items():
        hub.repositories[f"owner/{other}"] = Repository(**options)
    hub.repositories["owner/other"].add({"README.md": b"a"})
    hub.repositories["owner/weights"].add({"model.json": stored(run_folder)["model.json"]})
    with pytest.raises(InputError, match=message):
        load(name)


def test_a_hub_that_cannot_be_reached_is_one_message(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match=r"owner/name: the Hub cannot be reached, .*If you meant a folder"):
        load("owner/name")


def test_a_malformed_card_is_one_message(hub, run_folder):
    hub.repositories["owner/name"].add(stored(run_folder, classes=5))
    with pytest.raises(RunFolderError, match="classes: input should be a valid list, got 5"):
        load("owner/name")


def test_weights_larger_than_the_card_leads_to_expect_are_not_fetched(hub):
    hub.claims["model.safetensors"] = 10**12
    with pytest.raises(DownloadError, match=r"model\.safetensors has 1,000,000,000,000 bytes, .*not downloaded"):
        load("owner/name")
    assert not [path for method, path in hub.requests if method == "GET" and "safetensors" in path]


def test_pickles_on_the_hub_are_not_fetched(hub):
    hub.repositories["owner/pickle"] = Repository()
    hub.repositories["owner/pickle"].add({"pytest_model.bin": b"", "pytorch_model.bin": b""})
    with pytest.raises(InputError, match="not a model of domain-masks"):
        load("owner/pickle")
    assert not [path for _, path in hub.requests if path.endswith(".bin")]


@pytest.mark.parametrize("form", ["model", "folder"])
def test_a_model_is_published_and_comes_back(own_hub, model, run_folder, images, form):
    own_hub.token = "hf_secret"
    if form == "model":
        address = model.push_to_hub("someone/sketches", private=True, token="hf_secret")
    else:
        address = push_to_hub(run_folder, "someone/sketches", private=True, token="hf_secret")
    repository = own_hub.repositories["someone/sketches"]
    commit = repository.branches["main"]
    assert address == f"{own_hub.url}/someone/sketches/commit/{commit}"
    assert len(repository.commits) == 1
    assert repository.private
    assert own_hub.messages == ["Add dmg on small"]
    files = repository.commits[commit]
    assert set(files) == {*FILES, "README.md"}
    for name in FILES:
        assert files[name] == (run_folder / name).read_bytes()
    assert files["README.md"].decode() == model.model_card("someone/sketches")
    path = images / "plain" / "red" / "0.png"
    assert dm.load("someone/sketches", device="cpu", token="hf_secret").predict(path) == model.predict(path)


@pytest.fixture
def drawn(run_folder, tmp_path):
    """A copy of the run with figures of an analysis, of which one shows images."""
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / "figures").mkdir(exist_ok=True)
    for name in ("overlap.png", "heat_maps-dots.png", "mine.png"):
        (folder / "figures" / name).write_bytes(b"\x89PNG" + name.encode())
    return folder


def test_the_command_publishes_privately_with_figures_without_images(own_hub, drawn, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    own_hub.token = "hf_secret"
    assert main(["push", str(drawn), "someone/sketches"]) == 0
    repository = own_hub.repositories["someone/sketches"]
    (commit,) = repository.commits
    assert capsys.readouterr().out.strip() == f"{own_hub.url}/someone/sketches/commit/{commit}"
    assert repository.private
    files = repository.commits[commit]
    assert set(files) == {*FILES, "README.md", "figures/overlap.png"}
    assert files["figures/overlap.png"] == (drawn / "figures" / "overlap.png").read_bytes()
    readme = files["README.md"].decode()
    assert "![Overlap of the masks](figures/overlap.png)" in readme
    assert main(["push", str(drawn), "someone/public", "--public", "--no_figures"]) == 0
    repository = own_hub.repositories["someone/public"]
    assert not repository.private
    (files,) = repository.commits.values()
    assert set(files) == {*FILES, "README.md"}
    assert "## Figures" not in files["README.md"].decode()


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(own_hub, drawn, capsys):
    assert main(["push", str(drawn), "someone/sketches", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert own_hub.requests == []
    for name in (*FILES, "figures/overlap.png"):
        assert f"{(drawn / name).stat().st_size:,} bytes  {name}" in said
    assert "to someone/sketches, private if it is created" in said
    assert "# sketches" in said


def test_a_run_without_figures_is_published_and_said(own_hub, run_folder, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "any")
    assert main(["push", str(run_folder), "someone/sketches"]) == 0
    assert "no figures to upload: `dmg analyze RUN` draws them" in capsys.readouterr().err


def test_the_command_without_permission_is_one_message(own_hub, run_folder, monkeypatch, capsys):
    own_hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert main(["push", str(run_folder), "someone/sketches"]) == 2
    assert "hf auth login" in capsys.readouterr().err


def test_publishing_again_is_another_commit(own_hub, model):
    for _ in range(2):
        model.push_to_hub("someone/sketches", token="any")
    assert len(own_hub.repositories["someone/sketches"].commits) == 2


def test_publishing_without_permission_is_one_message(own_hub, model):
    own_hub.token = "hf_secret"
    with pytest.raises(DownloadError, match=r"someone/sketches: the Hub refused the request: .*hf auth login"):
        model.push_to_hub("someone/sketches", token="hf_other")
    assert own_hub.repositories == {}


def test_publishing_under_no_name_is_one_message(model):
    with pytest.raises(InputError, match="is not a valid name on the Hub"):
        model.push_to_hub("a/b/c", token="any")


def test_publishing_nowhere_is_one_message(model, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="the Hub cannot be reached"):
        model.push_to_hub("a/b", token="any")


def test_publishing_offline_names_the_variable(model, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="a/b: the Hub is not asked, because HF_HUB_OFFLINE is set"):
        model.push_to_hub("a/b", token="any")


def test_publishing_what_is_no_model_is_one_message(tmp_path):
    with pytest.raises(InputError, match="there is no model"):
        push_to_hub(tmp_path, "a/b")


def test_without_the_library_the_extra_is_named(monkeypatch, model):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (lambda: load("owner/name"), lambda: model.push_to_hub("a/b")):
        with pytest.raises(InputError, match=r"pip install 'domain-masks\[hub\]'"):
            call()


@pytest.mark.slow
def test_the_command_takes_a_model_from_the_hub(hub, images, tmp_path):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "domain_masks", "predict", "hf:owner/name", str(images), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert len(done.stdout.splitlines()) == 73


@pytest.mark.slow
def test_the_command_publishes_from_a_process_of_its_own(own_hub, run_folder, tmp_path):
    """Where nothing else has imported the library's parts."""
    environment = {**os.environ, "HF_ENDPOINT": own_hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "any"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "domain_masks", "push", str(run_folder), "someone/sketches"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, own_hub.messages) == (0, ["Add dmg on small"]), done.stderr
