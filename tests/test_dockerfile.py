"""The Dockerfile: what it copies is there, who runs what; and the image itself where Docker is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import domain_masks

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEXT = re.sub(r"\\\n\s*", "", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"))
LINES = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and not line.startswith("#")]
FIRST = next(place for place, (word, _) in enumerate(LINES) if word == "FROM")
LAST = max(place for place, (word, _) in enumerate(LINES) if word == "FROM")
BUILD, IMAGE = LINES[FIRST:LAST], LINES[LAST:]


def values(stage: list[list[str]], instruction: str) -> list[str]:
    return [value for word, value in stage if word == instruction]


def test_it_has_a_stage_that_builds_and_one_that_runs() -> None:
    assert values(BUILD, "FROM") == ["python:${PYTHON}-slim AS build"]
    assert values(IMAGE, "FROM") == ["python:${PYTHON}-slim"], "another Python would not find the environment's"
    assert {word for word, _ in LINES} <= {
        "ARG",
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "EXPOSE",
        "ENTRYPOINT",
        "CMD",
    }
    assert values(IMAGE, "COPY") == ["--from=build /opt/domain-masks /opt/domain-masks"]


def test_the_image_runs_dmg_as_a_user_without_rights() -> None:
    assert json.loads(values(IMAGE, "ENTRYPOINT")[-1]) == ["dmg"]
    assert PROJECT["scripts"] == {"dmg": "domain_masks.cli:main"}
    (user,) = values(IMAGE, "USER")
    assert user == "dmg"
    assert any(f"useradd --create-home {user}" in command for command in values(IMAGE, "RUN"))
    words = [word for word, _ in IMAGE]
    assert "RUN" not in words[words.index("USER") :]


def test_it_is_built_for_cpus_unless_an_argument_says_otherwise() -> None:
    arguments = dict(value.split("=") for _, value in LINES if _ == "ARG")
    assert arguments["TORCH_BACKEND"] == "cpu"
    assert {*arguments["EXTRAS"].split(",")} < {*PROJECT["optional-dependencies"]} - {"dev", "docs"}
    assert arguments["PYTHON"] in {text.rpartition(" ")[2] for text in PROJECT["classifiers"]}
    (install,) = [command for command in values(BUILD, "RUN") if "uv pip install" in command]
    assert '--torch-backend "${TORCH_BACKEND}" -c constraints.txt ".[${EXTRAS}]"' in install


def test_all_that_it_copies_is_there_and_sent_to_docker() -> None:
    copied = {name for value in values(BUILD, "COPY") for name in value.split()[:-1]}
    assert {"src", PROJECT["readme"], *PROJECT["license-files"]} <= copied, "the build of the package reads them"
    assert all((REPOSITORY / name).exists() for name in copied)
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_image_trains(tmp_path: Path) -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker is running here")
    tag = "domain-masks:test"
    subprocess.run(["docker", "build", "--tag", tag, REPOSITORY], check=True)
    docker = ["docker", "run", "--rm", "--user", "12345:12345", "--volume", f"{tmp_path}:/work", tag]
    tmp_path.chmod(0o777)
    said = subprocess.run([*docker, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"domain-masks {domain_masks.__version__}\n"
    subprocess.run([*docker, "train", "--fast", "--out", "run"], check=True)
    assert (tmp_path / "run" / "results.json").is_file()
