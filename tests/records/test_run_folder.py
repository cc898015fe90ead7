from pathlib import Path

import pytest

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records import RunFolder, write_whole
from domain_masks.records.run_folder import folder_name

NAMES = {
    "config": "config.yaml",
    "environment": "environment.json",
    "metrics": "metrics.csv",
    "results": "results.json",
    "predictions": "predictions.npz",
    "analysis": "analysis.json",
    "last": "checkpoints/last.ckpt",
    "best": "checkpoints/best.ckpt",
    "model": "model.safetensors",
    "model_card": "model.json",
    "report": "report.html",
}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "runs" / "sketch")


def files(folder):
    return sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())


def fill(folder, *without):
    for name in NAMES:
        if name not in without:
            write_whole(getattr(folder, name), "{}")


def test_names(folder):
    for name, relative in NAMES.items():
        assert getattr(folder, name) == folder.path / relative
    assert folder.figures == folder.path / "figures"
    assert not folder.exists
    assert not folder.is_finished


def test_new_folder_is_made(folder):
    assert folder.prepare() == "new"
    assert folder.path.is_dir()
    assert list(folder.path.iterdir()) == []
    assert folder.prepare() == "new"


def test_existing_run_needs_a_word(folder):
    fill(folder, "results")
    before = files(folder)
    with pytest.raises(RunFolderError, match=r"holds files already.*--resume.*--overwrite.*--out"):
        folder.prepare()
    fill(folder)
    with pytest.raises(RunFolderError, match="holds a finished run already"):
        folder.prepare()
    assert set(before) < set(files(folder))


def test_both_words_are_misuse(folder):
    with pytest.raises(InputError, match="--resume or --overwrite, got both"):
        folder.prepare(resume=True, overwrite=True)
    assert not folder.path.exists()


def test_resuming_a_missing_folder_is_misuse(folder):
    with pytest.raises(RunFolderError, match=r"nothing to resume.*does not exist"):
        folder.prepare(resume=True)
    assert not folder.path.exists()


def test_resuming_from_a_checkpoint(folder):
    fill(folder, "results")
    assert folder.prepare(resume=True) == "resume"
    assert folder.metrics.exists()


def test_resuming_without_a_checkpoint_begins(folder):
    fill(folder, "results", "last")
    assert folder.prepare(resume=True) == "new"
    assert not folder.metrics.exists()
    assert folder.config.exists()


def test_resuming_an_empty_folder_begins(folder):
    folder.path.mkdir(parents=True)
    assert folder.prepare(resume=True) == "new"


def test_resuming_a_finished_run_changes_nothing(folder):
    fill(folder)
    before = files(folder)
    assert folder.prepare(resume=True) == "finished"
    assert files(folder) == before
    assert folder.is_finished


def test_half_written_results_are_not_finished(folder):
    fill(folder)
    folder.results.write_text('{"schema"')
    assert not folder.is_finished
    assert folder.prepare(resume=True) == "resume"


def test_overwriting_removes_what_a_run_leaves_and_nothing_else(folder):
    fill(folder)
    with folder.figure("overlap.png") as temporary:
        temporary.write_bytes(b"png")
    foreign = [
        "notes.txt",
        "checkpoints/mine.ckpt",
        "figures/mine.png",
        "tensorboard/mine.txt",
        "config.yaml.old",
        "deep/results.json",
    ]
    for name in foreign:
        write_whole(folder.path / name, "mine")
    write_whole(folder.tensorboard / "events.out.tfevents.1700000000.machine.1.0", "events")
    partial = folder.path / "checkpoints" / ".last.ckpt.0a1b2c3d.partial.ckpt"
    partial.write_text("half")
    assert folder.prepare(overwrite=True) == "new"
    assert files(folder) == sorted(foreign)


def test_overwriting_leaves_an_empty_folder(folder):
    fill(folder)
    with folder.figure("overlap.png") as temporary:
        temporary.write_bytes(b"png")
    assert folder.prepare(overwrite=True) == "new"
    assert list(folder.path.iterdir()) == []


def test_overwriting_nothing_is_fine(folder):
    assert folder.prepare(overwrite=True) == "new"


def test_overwriting_does_not_leave_the_folder(folder, tmp_path):
    fill(folder)
    outside = tmp_path / "mine.txt"
    outside.write_text("mine")
    write_whole(folder.figures / "index.json", '{"files": ["../../../mine.txt", "..", 3]}')
    folder.prepare(overwrite=True)
    assert outside.read_text() == "mine"


def test_figures_have_plain_names(folder):
    for name in ("../a.png", "..", ""):
        with pytest.raises(InputError, match="plain file name"), folder.figure(name):
            pass
    for name in ("b.png", "a.png", "b.png"):
        with folder.figure(name) as temporary:
            temporary.write_text(name)
    assert files(folder) == ["figures/a.png", "figures/b.png", "figures/index.json"]


def test_thumbnails_take_the_place_of_those_before(folder):
    with folder.figure("a.png") as temporary:
        temporary.write_text("a")
    folder.write_thumbnails({"one.webp": b"1", "two.webp": b"2"})
    write_whole(folder.thumbnails / "mine.webp", "mine")
    folder.write_thumbnails({"two.webp": b"22", "three.webp": b"3"})
    small = [f"figures/thumbnails/{name}.webp" for name in ("mine", "three", "two")]
    assert files(folder) == ["figures/a.png", "figures/index.json", *small]
    assert (folder.thumbnails / "two.webp").read_bytes() == b"22"
    folder.prepare(overwrite=True)
    assert files(folder) == ["figures/thumbnails/mine.webp"]
    with pytest.raises(InputError, match="plain file names"):
        folder.write_thumbnails({"../a.webp": b""})


def test_only_own_figures_are_removed(folder):
    for name in ("a.png", "b.png"):
        with folder.figure(name) as temporary:
            temporary.write_text(name)
    folder.write_thumbnails({"small.webp": b"1"})
    write_whole(folder.figures / "mine.png", "mine")
    folder.remove_figures(["a.png", "mine.png", "../config.yaml", "gone.png"])
    assert files(folder) == [
        "figures/b.png", "figures/index.json", "figures/mine.png", "figures/thumbnails/small.webp"
    ]  # fmt: skip
    folder.prepare(overwrite=True)
    assert files(folder) == ["figures/mine.png"]


@pytest.mark.parametrize("words", [{}, {"resume": True}, {"overwrite": True}])
def test_file_in_place_of_the_folder(tmp_path, words):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunFolderError, match="file is a file: expected a folder"):
            RunFolder(path).prepare(**words)
    assert (tmp_path / "file").read_text() == "mine"


def test_folder_in_place_of_a_file(folder):
    folder.config.mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"cannot use .*config\.yaml"):
        folder.prepare(overwrite=True)


def test_missing_permission_is_told(folder, monkeypatch):
    def forbidden(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", forbidden)
        with pytest.raises(RunFolderError, match=r"cannot use .*sketch as run folder: Permission denied"):
            folder.prepare()
    monkeypatch.setattr(Path, "touch", forbidden)
    with pytest.raises(RunFolderError, match=r"cannot use .*sketch as run folder: Permission denied"):
        folder.prepare()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Berlin, Mitte", "Berlin, Mitte"),
        ("Krankenhaus Süd", "Krankenhaus Süd"),
        ("ピクチャ_v1.2", "ピクチャ_v1.2"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("a+b", "a%2Bb"),
        ("hf:a/b#x=y", "hf%3Aa%2Fb#x=y"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("two\nlines\n", "two%0Alines%0A"),
        ("C:\\x", "C%3A%5Cx"),
        ("end ", "end%20"),
    ],
)
def test_any_text_is_the_name_of_one_folder(text, name, tmp_path):
    assert folder_name(text) == name
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
