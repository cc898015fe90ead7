import numpy as np
import pytest
import torch
from PIL import Image

from domain_masks.data import (
    LoaderSettings,
    Preprocessing,
    Subset,
    TrainingLoader,
    evaluation_batches,
    load_digits_dataset,
    load_folder,
    split_domains,
)
from domain_masks.errors import InputError
from domain_masks.randomness import BatchRandomness

PREPROCESSING = Preprocessing(size=32, resize=32, square=True, training_size=32)
SOURCES = ("ink", "outline", "mosaic")


class BlindSubset(Subset):
    """A subset whose labels must not be looked at."""

    @property
    def labels(self):
        raise AssertionError("the labels of held-out images were read")


def training(count=100, **settings):
    dataset = load_digits_dataset()
    rows = split_domains(dataset, ["paper"]).train.indices[:: 1080 // count][:count]
    return TrainingLoader(
        Subset(dataset, rows), SOURCES, PREPROCESSING, LoaderSettings(**{"batch_size": 16} | settings)
    )


def same(one, other):
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("images", "labels", "domains", "ids")
    ) and (one.random == other.random)


def test_an_epoch_holds_every_image_with_its_own_columns():
    loader = training()
    dataset = loader.plan.subset.dataset
    batches = list(loader)
    assert len(batches) == len(loader) == 7
    assert [len(batch) for batch in batches] == [16] * 6 + [4]
    assert sorted(torch.cat([batch.ids for batch in batches]).tolist()) == sorted(loader.plan.subset.indices.tolist())
    for batch in batches:
        rows = batch.ids.numpy()
        assert batch.labels.tolist() == dataset.labels[rows].tolist()
        names = [dataset.domains[index] for index in dataset.domain_indices[rows]]
        assert [SOURCES[position] for position in batch.domains.tolist()] == names
        assert batch.images.dtype == torch.uint8
        expected = dataset.open_image.pixels[rows].transpose(0, 3, 1, 2)
        assert (batch.images.numpy() == expected).all()


def test_random_numbers_are_keyed_by_the_global_step():
    loader = training(seed=5)
    loader.set_epoch(2)
    steps = [batch.random for batch in loader]
    assert steps[3] == BatchRandomness(seed=5, step=2 * 7 + 3, first=0, count=16, total=16)
    assert steps[-1] == BatchRandomness(seed=5, step=2 * 7 + 6, first=0, count=4, total=4)


@pytest.mark.parametrize("sampling", ["pooled", "balanced"])
def test_workers_change_nothing(sampling):
    alone = training(sampling=sampling)
    together = training(sampling=sampling, workers=2)
    for epoch in (0, 3):
        for loader in (alone, together):
            loader.set_epoch(epoch)
        pairs = list(zip(alone, together, strict=True))
        assert len(pairs) == 7
        assert all(same(one, other) for one, other in pairs)


def test_epochs_differ_and_return():
    loader = training()
    first = [batch.ids.tolist() for batch in loader]
    loader.set_epoch(1)
    assert [batch.ids.tolist() for batch in loader] != first
    loader.set_epoch(0)
    assert [batch.ids.tolist() for batch in loader] == first


def test_starting_in_the_middle_reads_the_rest_only():
    loader = training()
    loader.set_epoch(1)
    whole = list(loader)
    loader.set_start(4)
    rest = list(loader)
    assert len(rest) == 3
    assert all(same(one, other) for one, other in zip(whole[4:], rest, strict=True))
    assert len(loader) == 7
    loader.set_start(7)
    assert list(loader) == []
    loader.set_epoch(2)
    assert len(list(loader)) == 7
    with pytest.raises(InputError, match="batch from 0 to 7"):
        loader.set_start(8)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_a_batch_in_contiguous_parts(world_size):
    whole = list(training(100, batch_size=24))
    parts = [list(training(100, batch_size=24, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for batch, *shares in zip(whole, *parts, strict=True):
        for name in ("images", "labels", "domains", "ids"):
            assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(batch, name))
        assert {share.random.step for share in shares} == {batch.random.step}
        assert {share.random.total for share in shares} == {len(batch)}
        assert [share.random.first for share in shares] == np.cumsum([0, *map(len, shares)])[:-1].tolist()
        assert [share.random.count for share in shares] == [len(share) for share in shares]


@pytest.mark.parametrize(("rows", "world_size", "batches"), [(25, 1, 2), (26, 1, 3), (26, 3, 2), (1, 1, 1)])
def test_a_row_that_is_left_over_is_left_out(rows, world_size, batches):
    loader = training(rows, batch_size=12, world_size=world_size)
    assert len(list(loader)) == len(loader) == batches
    assert len(list(training(3, batch_size=1))) == 3


def test_balanced_batches_hold_every_source_equally():
    for batch in training(300, batch_size=15, sampling="balanced"):
        assert torch.bincount(batch.domains, minlength=3).tolist() == [5, 5, 5]


def test_no_number_of_the_global_generator_is_used():
    state = torch.get_rng_state()
    list(training())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_and_does_not_look_at_labels(workers):
    dataset = load_digits_dataset()
    held_out = split_domains(dataset, ["paper"]).held_out
    blind = BlindSubset(dataset, held_out.indices[:50])
    batches = list(evaluation_batches(blind, PREPROCESSING, 20, workers, with_labels=False))
    assert [len(batch) for batch in batches] == [20, 20, 10]
    assert torch.cat([batch.ids for batch in batches]).tolist() == blind.indices.tolist()
    assert all(batch.labels is None and batch.domains is None and batch.random is None for batch in batches)
    assert torch.equal(batches[0].images[7], PREPROCESSING.load(dataset.open_image(int(blind.indices[7]))))
    with pytest.raises(AssertionError, match="labels"):
        next(evaluation_batches(blind, PREPROCESSING, 20))


def test_evaluation_of_sources_knows_their_domains():
    splits = split_domains(load_digits_dataset(), ["paper"])
    batches = list(evaluation_batches(splits.test, PREPROCESSING, 64, sources=splits.sources))
    assert torch.cat([batch.labels for batch in batches]).tolist() == splits.test.labels.tolist()
    names = [splits.sources[position] for batch in batches for position in batch.domains.tolist()]
    assert names == [splits.dataset.domains[index] for index in splits.test.domain_indices]
    with pytest.raises(InputError, match="got one of 'paper'"):
        next(evaluation_batches(splits.held_out, PREPROCESSING, 64, sources=splits.sources))
    assert list(evaluation_batches(Subset(splits.dataset, []), PREPROCESSING, 64)) == []


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["text", "cut", "gone"])
def test_unreadable_images_are_named(tmp_path, workers, damage):
    for domain in ("a", "b"):
        for index in range(3):
            path = tmp_path / domain / "dog" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((40, 40), 50).save(path)
    dataset = load_folder(tmp_path)
    broken = tmp_path / "b" / "dog" / "1.png"
    content = broken.read_bytes()
    if damage == "gone":
        broken.unlink()
    else:
        broken.write_bytes(b"no image" if damage == "text" else content[: len(content) // 2])
    with pytest.raises(InputError, match=r"^image 'b/dog/1.png' cannot be read .*replace the file or remove it"):
        list(evaluation_batches(Subset(dataset, range(6)), PREPROCESSING, 2, workers))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampling": "poled"}, "Did you mean 'pooled'"),
        ({"batch_size": 0}, "batch size"),
        ({"batch_size": 2, "world_size": 3}, "at least the 3 processes"),
        ({"workers": -1}, "workers"),
        ({"rank": 1}, "rank from 0 to 0"),
    ],
)
def test_misuse_is_named(settings, words):
    with pytest.raises(InputError, match=words):
        training(**settings)


def test_training_needs_images_of_its_sources():
    dataset = load_digits_dataset()
    with pytest.raises(InputError, match="at least one training image"):
        TrainingLoader(Subset(dataset, []), SOURCES, PREPROCESSING, LoaderSettings(16))
    with pytest.raises(InputError, match="got one of 'paper'"):
        TrainingLoader(Subset(dataset, range(len(dataset))), SOURCES, PREPROCESSING, LoaderSettings(16))
    with pytest.raises(InputError, match="batch size of 1"):
        next(evaluation_batches(Subset(dataset, [0]), PREPROCESSING, 0))


def test_the_plan_of_an_epoch_is_what_the_loader_gives():
    loader = training()
    loader.set_epoch(1)
    loader.set_start(2)
    pairs = list(zip(loader.plan.batches(1, 2), loader, strict=True))
    assert len(pairs) == 5
    for (positions, planned), batch in pairs:
        assert planned.images is None
        assert loader.plan.subset.indices[positions].tolist() == batch.ids.tolist() == planned.ids.tolist()
        assert planned.random == batch.random
        assert torch.equal(planned.labels, batch.labels)


@pytest.mark.parametrize("rank", [0, 1])
def test_every_process_sees_that_another_has_too_few_rows_of_a_source(rank):
    settings = {"sampling": "balanced", "batch_size": 13, "rank": rank, "world_size": 2}
    assert len(list(training(rows_per_domain=2, **settings))) == 8
    with pytest.raises(
        InputError, match=r"'balanced' gave 2 images of source '\w+' in batch 1 of epoch 1, for process 1 of 2"
    ):
        list(training(rows_per_domain=3, **settings))


def test_sources_that_nothing_is_learned_from_need_no_rows():
    dataset = load_digits_dataset()
    rows = split_domains(dataset, ["paper"]).train
    learned = Subset(dataset, rows.indices[rows.domain_indices == dataset.domains.index("mosaic")][:32])
    settings = LoaderSettings(16, "balanced", rows_per_domain=8)
    assert len(list(TrainingLoader(learned, SOURCES, PREPROCESSING, settings))) == 2
