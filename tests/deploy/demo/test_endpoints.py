"""The page's API, as gradio_client calls it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.served import Served, served
from domain_masks.deploy import Model
from domain_masks.records.test_time import AtTestTime

pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")
gradio_client = pytest.importorskip("gradio_client")


@pytest.fixture(scope="module")
def site(model: Model, images: Path) -> Iterator[Served]:
    with served(model, [str(images / "stripes" / "red")]) as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Served, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return gradio_client.Client(site.address, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


def left(site: Served) -> list[Path]:
    return [path for path in site.uploads() if path.stat().st_size]


def test_the_endpoints_have_these_names_and_no_others(client: Any) -> None:
    api = client.view_api(return_format="dict", print_info=False)
    assert set(api["named_endpoints"]) == {"/predict", "/predict_many", "/model"}
    assert not api["unnamed_endpoints"]
    parameters = api["named_endpoints"]["/predict"]["parameters"]
    assert [one["parameter_name"] for one in parameters] == ["image", "ensemble", "top"]
    assert [one.get("parameter_default") for one in parameters[1:]] == ["predictions", 5]


def test_one_image_is_the_object_of_the_command(client: Any, site: Served, model: Model, images: Path) -> None:
    path = images / "dots" / "red" / "0.png"
    found = client.predict(gradio_client.handle_file(path), "known:dots", 2, api_name="/predict")
    (expected,) = model.predict(path, ensemble="known:dots", top=2)
    assert found.pop("image") == "0.png"
    assert {**found, "path": None} == {**expected.to_dict(), "path": None}
    assert left(site) == []


def test_many_images_and_what_cannot_be_read(client: Any, site: Served, images: Path, tmp_path: Path) -> None:
    packed = tmp_path / "some.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(images / "dots" / "red" / "0.png", "a.png")
        archive.writestr("b.png", b"hello")
    files = [gradio_client.handle_file(path) for path in (packed, images / "dots" / "green" / "1.png")]
    found = client.predict(files, api_name="/predict_many")
    assert [one["image"] for one in found["predictions"]] == ["some.zip/a.png", "1.png"]
    assert found["unreadable"] == [{"image": "some.zip/b.png", "reason": "unsupported or corrupt image"}]
    assert left(site) == []


def test_the_model_says_what_it_is(client: Any, model: Model) -> None:
    found = client.predict(api_name="/model")
    assert found["classes"] == list(model.classes)
    assert found["ensembles"] == list(model.ensembles)
    assert found["test_time"] is found["test_time_protocol"] is None


def test_an_option_of_test_time_is_in_every_answer(model: Model, images: Path, tmp_path: Path) -> None:
    path, option = images / "dots" / "red" / "0.png", AtTestTime(tta="flips")
    with served(model, [str(path)], option) as site:
        client = gradio_client.Client(site.address, verbose=False, download_files=str(tmp_path))
        found = client.predict(gradio_client.handle_file(path), api_name="/predict")
        many = client.predict([gradio_client.handle_file(path)], api_name="/predict_many")["predictions"]
        about = client.predict(api_name="/model")
    (expected,) = model.predict(path, test_time=option)
    assert found == many[0] == {"image": "0.png"} | {k: v for k, v in expected.to_dict().items() if k != "path"}
    assert found["test_time"] == about["test_time"] == "tta flips"
    assert about["test_time_protocol"] == option.in_words()


def test_mistakes_are_one_message_and_nothing_is_kept(client: Any, site: Served, images: Path, tmp_path: Path) -> None:
    image = gradio_client.handle_file(images / "dots" / "red" / "0.png")
    other = tmp_path / "no.png"
    other.write_bytes(b"hello")
    for arguments, message in (
        ((image, "mask", 1), "mask"),
        ((image, "predictions", 0), "top: expected a whole number from 1, got 0"),
        ((gradio_client.handle_file(other), "predictions", 1), "'no.png' cannot be read as an image: unsupported"),
        ((None, "predictions", 1), "expected images, or a ZIP file with images, got none"),
    ):
        with pytest.raises(Exception, match=message):
            client.predict(*arguments, api_name="/predict")
    assert left(site) == []
