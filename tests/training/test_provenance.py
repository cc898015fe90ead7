from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domain_masks.errors import RunFolderError
from domain_masks.training.checkpoints import load_checkpoint, save_checkpoint
from domain_masks.training.provenance import KEY, Provenance

KEYS = torch.tensor([[3, 4], [5, 6]])


def test_a_checkpoint_gives_it_back(tmp_path: Path) -> None:
    written = Provenance(
        division="a1",
        classes=["cat", "dog"],
        trained_on=["art"],
        trained_images=KEYS[:, 0],
        contents=KEYS,
        not_finite={"least": ["inf"]},
        left_out=["caf\udce9.png"],
        preparation=1.5,
    )
    save_checkpoint(tmp_path / "last.ckpt", {KEY: written.to_dict()})
    read = Provenance.of_checkpoint(load_checkpoint(tmp_path / "last.ckpt"))
    assert torch.equal(read.trained_images, written.trained_images)
    assert torch.equal(read.contents, KEYS)
    tensors = {"trained_images", "contents"}
    assert read.model_dump(exclude=tensors) == written.model_dump(exclude=tensors)


def test_what_an_older_version_kept_is_read_and_what_it_did_not_keep_is_as_now() -> None:
    before = Provenance.of_checkpoint({KEY: {"pictures": "b2", "trained_pictures": KEYS[:, 0], "further": 3}})
    assert (before.division, before.trained_images.tolist(), before.classes) == ("b2", [3, 5], [])
    now = Provenance(division="a1", classes=["cat"], preparation=2.0).resumed(before)
    assert (now.division, now.classes, now.preparation) == ("b2", ["cat"], 2.0)
    assert now.to_dict()["further"] == 3
    assert Provenance.of_checkpoint({}) == Provenance()


@pytest.mark.parametrize("odd", [{"images": 3}, {"trained_images": [1, 2]}, {"classes": "cat"}, [1]])
def test_what_is_nothing_of_the_kind_is_refused(odd: object) -> None:
    with pytest.raises(RunFolderError, match="does not say as it should what its run was made from"):
        Provenance.of_checkpoint({KEY: odd})
