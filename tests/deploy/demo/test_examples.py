from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import generated
from domain_masks.deploy import Model, load
from domain_masks.deploy.demo.examples import find_examples
from domain_masks.errors import InputError
from domain_masks.training import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, images: Path) -> tuple[Model, Path, Path]:
    """A run on a folder of images, and a copy of the folder that may be moved."""
    place = tmp_path_factory.mktemp("folder")
    shutil.copytree(images, place / "here")
    run(generated.config(dataset=str(place / "here"), epochs=1), place / "run")
    return load(place / "run", device="cpu"), place / "run", place / "here"


def test_given_images_are_offered_and_the_others_named(model: Model, images: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"hello")
    shutil.copy(images / "dots" / "red" / "0.png", tmp_path / "good.png")
    found = find_examples(model, [str(tmp_path), str(tmp_path / "gone.png")])
    assert [(one.name, one.label) for one in found.images] == [("good.png", None)]
    assert ["bad.png" in note or "gone.png" in note for note in found.notes] == [True, True]
    many = [str(one.open().relative_to(images).parent) for one in find_examples(model, [str(images)]).images]
    assert (len(many), len(set(many))) == (12, 9)
    assert many == sorted(many)


def test_without_one_readable_image_it_is_an_error(model: Model, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"examples: no readable image.*bad\.png"):
        find_examples(model, [str(tmp_path)])


def test_held_out_images_of_the_runs_dataset_of_all_classes(trained: tuple[Model, Path, Path]) -> None:
    model, folder, _ = trained
    found = find_examples(model, folder=folder)
    assert found.notes == ()
    assert "held-out stripes" in found.title
    assert len({one.name for one in found.images}) == len(found.images) == 12
    assert all(one.name.startswith("stripes/") for one in found.images)
    assert {one.label for one in found.images} == set(model.classes)
    assert all(one.name.split("/")[1] == one.label for one in found.images)
    assert find_examples(model, folder=folder).images[3].name == found.images[3].name


def test_an_unreadable_held_out_image_is_replaced(trained: tuple[Model, Path, Path]) -> None:
    model, folder, data = trained
    first = find_examples(model, folder=folder).images[0].name
    content = (data / first).read_bytes()
    (data / first).write_bytes(b"broken")
    try:
        found = find_examples(model, folder=folder)
        assert first not in [one.name for one in found.images]
        assert len(found.images) == 12
        assert {one.label for one in found.images} == set(model.classes)
    finally:
        (data / first).write_bytes(content)


def test_a_dataset_that_has_moved_gives_digits_and_a_note(trained: tuple[Model, Path, Path]) -> None:
    model, folder, data = trained
    data.rename(data.with_name("moved"))
    try:
        found = find_examples(model, folder=folder)
        assert "Digits" in found.title
        assert all(one.label is None for one in found.images)
        assert "--examples" in found.notes[0]
        assert len(found.notes[0].splitlines()) == 1
        with pytest.raises(InputError):
            find_examples(model, folder=folder, root=Path("nowhere"))
    finally:
        data.with_name("moved").rename(data)


def test_a_model_alone_gives_digits_and_says_why(model: Model, tmp_path: Path) -> None:
    found = find_examples(model, folder=tmp_path)
    assert "Digits" in found.title
    assert "config.yaml" in found.notes[0]
