"""``dmg demo`` as a command: its address, its messages, its end."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from domain_masks.cli import main
from domain_masks.deploy.demo.serving import address_of, is_loopback, listening
from domain_masks.errors import InputError


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--fast", "--device", "cpu", "--quiet", "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("flags", [[], ["--tta", "flips"]])
def test_the_page_is_served_until_ctrl_c(flags: list[str], run_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")
    said: list[str] = []
    pages: list[bytes] = []

    def visit_and_interrupt() -> None:
        try:
            for _ in range(600):
                said.append(capfd.readouterr().out)
                if address := "".join(said).strip():
                    with urllib.request.urlopen(address, timeout=20) as page:
                        pages.append(page.read())
                    return
                threading.Event().wait(0.1)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=visit_and_interrupt)
    thread.start()
    before = signal.getsignal(signal.SIGINT)
    status = main(["demo", str(run_folder), "--port", "0", "--device", "cpu", *flags])
    thread.join()
    assert status == 130
    assert signal.getsignal(signal.SIGINT) == before
    assert "".join(said).startswith("http://127.0.0.1:")
    assert b"Domain Masks" in pages[0]
    assert (b"the image and its mirror image; uses no other image" in pages[0]) == bool(flags)
    message = capfd.readouterr().err
    assert message.endswith("dmg: interrupted. The page is closed\n")
    assert "Traceback" not in message


def test_a_port_that_is_taken_is_one_message(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["demo", str(run_folder), "--port", str(port)]) == 2
    assert capsys.readouterr().err == (
        f"dmg: port {port} is in use by another program: give another --port, or 0 for a free one\n"
    )


def test_without_gradio_it_says_how_to_install_it(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", str(run_folder), "--port", "0"]) == 2
    assert "pip install 'domain-masks[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "word"), [("203.0.113.7", "not an address of this machine"), ("no such host", "cannot be resolved")]
)
def test_an_address_of_no_use_is_named(host: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        listening(host, 0)


def test_only_loopback_is_this_machine_alone() -> None:
    with listening("127.0.0.1", 0) as own, listening("0.0.0.0", 0) as everybodys:
        assert is_loopback(own)
        assert not is_loopback(everybodys)
        assert address_of(own) == f"http://127.0.0.1:{own.getsockname()[1]}"
        assert address_of(everybodys) == f"http://127.0.0.1:{everybodys.getsockname()[1]}"
