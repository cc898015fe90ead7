import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import metadata
from types import SimpleNamespace

from domain_masks.records import read_json, write_json
from domain_masks.records.environment import _MAIN, devices, environment, versions


def test_content_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dmg", "train", "--seed", "3"])
    content = environment()
    write_json(tmp_path / "environment.json", content)
    assert read_json(tmp_path / "environment.json") == content
    assert content["python"] == platform.python_version()
    assert content["argv"] == ["dmg", "train", "--seed", "3"]
    assert content["cpu_count"] >= 1
    started = datetime.fromisoformat(content["started"])
    assert abs(datetime.now(UTC) - started) < timedelta(minutes=1)


def test_versions_are_those_installed():
    found = versions()
    assert found["numpy"] == metadata.version("numpy")
    assert "mypy" not in found


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=2", "no-such-thing>=1 ; extra == 'onnx'"])
    assert "no-such-thing" not in versions()

    def nothing(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", nothing)
    monkeypatch.setattr(metadata, "version", nothing)
    assert versions() == {}


def test_versions_are_noted_where_the_package_runs_from_its_sources(monkeypatch):
    def requires(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "requires", requires)
    assert versions()["torch"] == metadata.version("torch")


def test_those_that_are_noted_are_dependencies():
    declared = [line.split(">")[0].split("[")[0] for line in metadata.requires("domain-masks") or []]
    assert set(_MAIN) <= set(declared)


def test_devices_are_named_by_torch(monkeypatch):
    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, get_device_name="GPU {}".format)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert devices() == ["GPU 0", "GPU 1"]
    monkeypatch.delitem(sys.modules, "torch")
    assert devices() == []


def test_nothing_heavy_is_imported():
    program = (
        "import sys, domain_masks.records.environment as module, domain_masks.records.predictions;"
        "module.environment(); print([name for name in ('torch', 'scipy', 'pandas') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
