import json

import pytest

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records import Results
from domain_masks.records.collection import collect, read_run, run_folders
from domain_masks.records.config import parse_config
from domain_masks.records.run_folder import RunFolder

PLAIN = {
    "dataset": "digits",
    "method": "dmg",
    "backbone": "small",
    "sources": ["ink", "neon"],
    "targets": ["mosaic"],
    "seed": 0,
    "epochs_run": 1,
    "protocol": {"selection": "source-validation", "target_labels_used": False},
    "seconds": {},
}


def finished(path, **changes):
    path.mkdir(parents=True)
    Results(**{**PLAIN, **changes}).write(path / "results.json")
    parse_config({"seed": changes.get("seed", 0)}).write(path / "config.yaml")
    return path


def test_every_run_is_found_wherever_it_lies(tmp_path):
    for place in ("a/b/c", "d", "d/moved"):
        finished(tmp_path / place)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.yaml").write_text("epochs: 1\n")
    found = collect([tmp_path])
    assert [str(run.folder.path.relative_to(tmp_path)) for run in found.runs] == ["a/b/c", "d", "d/moved"]
    assert (found.skipped, found.failed, found.unfinished) == ((), (), ())
    assert found.runs[0].config["batch"] == 64


def test_a_run_is_read_once_where_folders_overlap(tmp_path):
    finished(tmp_path / "all" / "one")
    assert len(collect([tmp_path, tmp_path / "all", tmp_path / "all" / "one"]).runs) == 1


def test_what_cannot_be_read_is_named_and_stops_nobody(tmp_path):
    finished(tmp_path / "good")
    (finished(tmp_path / "half") / "results.json").write_text('{"schema": 1, "dataset": ')
    newer = finished(tmp_path / "newer") / "results.json"
    newer.write_text(json.dumps({**json.loads(newer.read_text()), "schema": 99}))
    (finished(tmp_path / "foreign") / "results.json").write_text('{"score": 3}')
    (finished(tmp_path / "bare") / "config.yaml").unlink()
    found = collect([tmp_path])
    assert [run.folder.path.name for run in found.runs] == ["good"]
    reasons = {skipped.path.name: skipped.reason for skipped in found.skipped}
    assert set(reasons) == {"half", "newer", "foreign", "bare"}
    assert "malformed" in reasons["half"]
    assert "newer version" in reasons["newer"]
    assert "config.yaml is missing" in reasons["bare"]


def test_failed_and_unfinished_runs_are_told_apart(tmp_path):
    failed = tmp_path / "failed"
    failed.mkdir()
    (failed / "failed.json").write_text(json.dumps({"schema": 1, "error": "the loss became NaN"}))
    begun = tmp_path / "begun"
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "config.yaml").write_text("seed: 1\n")
    found = collect([tmp_path])
    assert [(entry.path.name, entry.reason) for entry in found.failed] == [("failed", "the loss became NaN")]
    assert [path.name for path in found.unfinished] == ["begun"]


def test_a_message_that_cannot_be_read_is_still_a_failure(tmp_path):
    (tmp_path / "failed.json").write_text("{")
    assert "cannot be read" in collect([tmp_path]).failed[0].reason


@pytest.mark.parametrize(("name", "said"), [("gone", "does not exist"), ("file", "is a file")])
def test_a_path_that_is_no_folder_is_refused(tmp_path, name, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=said):
        list(run_folders(tmp_path / name))


def test_a_run_without_predictions_says_so_when_they_are_asked_for(tmp_path):
    run = read_run(RunFolder(finished(tmp_path / "run")))
    assert run.metrics() == []
    assert run.method_settings == {}
    with pytest.raises(RunFolderError, match=r"predictions\.npz is missing"):
        run.predictions()
