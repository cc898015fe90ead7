import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from domain_masks.masks import (
    hard_masks,
    mask_probabilities,
    overlap_loss,
    pairwise_soft_iou,
    sample_masks,
    soft_iou,
    sparsity_loss,
)
from references import masks as slow

SHAPES = [(2, 1), (3, 7), (5, 64), (30, 33)]


def drawn(domains, size, seed=0):
    return torch.randn(domains, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def uniform(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows_of(domains, count, seed=2):
    return torch.randint(domains, (count,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("domains", "size"), [(1, 4), *SHAPES])
def test_sampling_matches_the_reference_exactly(domains, size):
    logits, noise, rows = drawn(domains, size), uniform(11, size), rows_of(domains, 11)
    assert sample_masks(logits, rows, noise).tolist() == slow.sample(logits.tolist(), rows.tolist(), noise.tolist())


@pytest.mark.parametrize(("domains", "size"), [(1, 4), *SHAPES])
def test_probabilities_and_hard_masks_match_the_reference(domains, size):
    logits = drawn(domains, size)
    expected = torch.tensor(slow.probabilities(logits.tolist()), dtype=torch.float64)
    torch.testing.assert_close(mask_probabilities(logits), expected, rtol=1e-12, atol=0)
    assert hard_masks(logits).tolist() == slow.hard(logits.tolist())
    assert hard_masks(logits).dtype == torch.bool


def test_probability_of_exactly_one_half_is_off():
    assert hard_masks(torch.tensor([[0.0, 1e-6, -1e-6]])).tolist() == [[False, True, False]]


@pytest.mark.parametrize(("domains", "size"), [(1, 4), *SHAPES])
@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_overlap_loss_matches_the_reference(domains, size, epsilon, reduction):
    logits = drawn(domains, size)
    expected = slow.overlap_loss(logits.tolist(), reduction, epsilon)
    assert float(overlap_loss(logits, reduction, epsilon)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("domains", "size"), [(1, 4), *SHAPES])
def test_sparsity_loss_matches_the_reference(domains, size):
    logits = drawn(domains, size)
    assert float(sparsity_loss(logits)) == pytest.approx(slow.sparsity_loss(logits.tolist()), rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_soft_iou_matches_the_reference(epsilon):
    p, q = uniform(4, 9), uniform(4, 9, seed=5)
    expected = [slow.soft_iou(a, b, epsilon) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    assert soft_iou(p, q, epsilon).tolist() == pytest.approx(expected, rel=1e-12)
    assert soft_iou(p[0], q[0], epsilon).shape == ()
    assert pairwise_soft_iou(p, epsilon).flatten().tolist() == pytest.approx(
        [value for row in slow.pairwise_soft_iou(p.tolist(), epsilon) for value in row], rel=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_hard_masks_of_any_type_have_the_ordinary_iou(dtype):
    masks = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    first, second, empty = masks.to(dtype)
    assert [float(soft_iou(first, other)) for other in (first, second, empty)] == [1.0, 0.5, 0.0]
    assert torch.equal(pairwise_soft_iou(masks.to(dtype)), pairwise_soft_iou(masks.float()))


def test_identical_hard_masks_overlap_wholly_disjoint_ones_not_at_all():
    on = torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert float(soft_iou(on, on)) == 1.0
    assert float(soft_iou(on, 1 - on)) == 0.0
    assert float(soft_iou(on, torch.ones(4))) == 0.5
    assert float(soft_iou(torch.ones(4), torch.ones(4))) == 1.0


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_empty_masks_are_equal_and_have_no_infinite_gradient(epsilon):
    empty = torch.zeros(3, 5)
    empty[2, 0] = 1.0
    empty.requires_grad_()
    overlap = pairwise_soft_iou(empty, epsilon)
    expected = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(overlap, expected, atol=1e-5, rtol=0)
    overlap.sum().backward()
    assert torch.isfinite(empty.grad).all()
    assert float(soft_iou(torch.zeros(5), torch.zeros(5), epsilon)) == 1.0
    assert float(soft_iou(torch.zeros(5), torch.ones(5), epsilon)) == pytest.approx(0.0, abs=1e-6)


def test_masks_that_vanish_have_an_overlap_that_vanishes():
    vanishing = torch.full((2, 5), -30.0, requires_grad=True)
    loss = overlap_loss(vanishing)
    assert 0 < float(loss.detach()) < 1e-12
    loss.backward()
    assert torch.isfinite(vanishing.grad).all()


def test_a_soft_mask_with_itself_is_less_than_one():
    half = torch.full((6,), 0.5)
    assert float(soft_iou(half, half)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_single_domain_has_no_overlap_but_a_gradient_of_zero(reduction):
    logits = torch.randn(1, 6, requires_grad=True)
    loss = overlap_loss(logits, reduction)
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad.tolist() == [[0.0] * 6]


@pytest.mark.parametrize("domains", [2, 3, 5])
def test_the_sum_over_pairs_is_as_many_times_the_mean_as_there_are_pairs(domains):
    logits = drawn(domains, 8)
    pairs = domains * (domains - 1) / 2
    assert float(overlap_loss(logits, "sum")) == pytest.approx(pairs * float(overlap_loss(logits, "mean")), rel=1e-12)


@given(st.integers(1, 12), st.integers(0, 2**31 - 1))
@hypothesis_settings(max_examples=40, deadline=None)
def test_soft_iou_is_symmetric_and_between_zero_and_one(size, seed):
    p, q = uniform(size, seed=seed), uniform(size, seed=seed + 1)
    overlap = float(soft_iou(p, q))
    assert 0.0 <= overlap <= 1.0
    assert overlap == pytest.approx(float(soft_iou(q, p)), rel=1e-14)
    permutation = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    assert overlap == pytest.approx(float(soft_iou(p[permutation], q[permutation])), rel=1e-12)


@given(st.integers(2, 8), st.integers(1, 9), st.integers(0, 2**31 - 1))
@hypothesis_settings(max_examples=30, deadline=None)
def test_overlap_loss_does_not_depend_on_the_order_of_domains_or_neurons(domains, size, seed):
    logits = drawn(domains, size, seed)
    generator = torch.Generator().manual_seed(seed)
    shuffled = logits[torch.randperm(domains, generator=generator)][:, torch.randperm(size, generator=generator)]
    assert float(overlap_loss(shuffled)) == pytest.approx(float(overlap_loss(logits)), rel=1e-10)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_gradients_of_the_formulas(epsilon):
    p = (uniform(2, 5) * 0.8 + 0.1).requires_grad_()
    q = (uniform(2, 5, seed=4) * 0.8 + 0.1).requires_grad_()
    logits = drawn(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: soft_iou(a, b, epsilon), (p, q))
    assert torch.autograd.gradcheck(lambda a: pairwise_soft_iou(a, epsilon), (p,))
    assert torch.autograd.gradcheck(lambda a: overlap_loss(a, "sum", epsilon), (logits,))
    assert torch.autograd.gradcheck(lambda a: overlap_loss(a, "mean", epsilon), (logits,))
    assert torch.autograd.gradcheck(sparsity_loss, (logits,))


@pytest.mark.parametrize(("domains", "size"), SHAPES)
def test_straight_through_gradient_is_the_stated_rule(domains, size):
    logits = drawn(domains, size).requires_grad_()
    rows = rows_of(domains, 13)
    upstream = drawn(13, size, seed=9)
    sample_masks(logits, rows, uniform(13, size)).backward(upstream)
    expected = torch.tensor(
        slow.sample_gradient(logits.tolist(), rows.tolist(), upstream.tolist()), dtype=torch.float64
    )
    torch.testing.assert_close(logits.grad, expected, rtol=1e-10, atol=1e-12)


def test_domains_that_are_absent_get_a_gradient_of_exactly_zero():
    logits = drawn(4, 6).requires_grad_()
    sample_masks(logits, torch.tensor([1, 3, 1]), uniform(3, 6)).sum().backward()
    assert logits.grad[[0, 2]].tolist() == [[0.0] * 6] * 2
    assert (logits.grad[[1, 3]] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_samples_are_exactly_zero_or_one(dtype):
    logits = (torch.randn(3, 4096) * 3).to(dtype)
    masks = sample_masks(logits, torch.tensor([0, 1, 2, 0]))
    assert masks.dtype == dtype
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_extreme_logits_are_always_off_or_always_on():
    logits = torch.stack([torch.full((500,), -200.0), torch.full((500,), 200.0)])
    masks = sample_masks(logits, torch.tensor([0, 1]))
    assert not masks[0].any()
    assert masks[1].all()


def test_extreme_noise_still_gives_each_probability_its_meaning():
    logits = torch.zeros(1, 2)
    assert sample_masks(logits, torch.tensor([0]), torch.tensor([[0.0, 0.5]])).tolist() == [[1.0, 0.0]]


def test_sampling_frequencies_are_those_of_the_probabilities():
    torch.manual_seed(0)
    logits = torch.tensor([[-2.0, -0.5, 0.0, 1.0, 3.0], [3.0, 1.0, 0.0, -0.5, -2.0]])
    count = 20_000
    masks = sample_masks(logits, torch.tensor([0, 1]).repeat_interleave(count)).reshape(2, count, 5)
    for domain, row in enumerate(slow.probabilities(logits.tolist())):
        for k, probability in enumerate(row):
            deviation = math.sqrt(probability * (1 - probability) / count)
            assert abs(float(masks[domain, :, k].mean()) - probability) < 5 * deviation


def test_instances_of_one_domain_get_masks_of_their_own():
    torch.manual_seed(0)
    masks = sample_masks(torch.zeros(1, 64), torch.zeros(8, dtype=torch.long))
    assert len({tuple(row) for row in masks.tolist()}) == 8


def test_without_noise_the_global_generator_decides():
    logits, rows = drawn(3, 20), rows_of(3, 5)
    torch.manual_seed(3)
    first = sample_masks(logits, rows)
    torch.manual_seed(3)
    assert torch.equal(first, sample_masks(logits, rows))
    assert not torch.equal(first, sample_masks(logits, rows))


def test_large_problems_are_one_batch_of_operations():
    logits = torch.zeros(30, 4096)
    assert sample_masks(logits, torch.zeros(512, dtype=torch.long)).shape == (512, 4096)
    assert pairwise_soft_iou(logits.sigmoid()).shape == (30, 30)
    assert float(overlap_loss(logits)) == pytest.approx(435 / 3, rel=1e-4)


def test_mixed_precision_does_not_coarsen_the_overlap():
    logits = drawn(3, 4096).float()
    exact = overlap_loss(logits)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = overlap_loss(logits)
    assert mixed.dtype == torch.float32
    assert float(mixed) == float(exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_of_many_neurons_in_half_precision_are_those_of_the_same_values_in_single(dtype):
    logits = (drawn(3, 40_000) + 2).to(dtype).requires_grad_()
    single = logits.detach().float().requires_grad_()
    for loss in (overlap_loss, sparsity_loss):
        value, expected = loss(logits), loss(single)
        assert torch.equal(value, expected)
        for each, of in ((value, logits), (expected, single)):
            of.grad = None
            each.backward()
        assert torch.equal(logits.grad, single.grad.to(dtype))
    masks = logits.detach().sigmoid()
    assert torch.equal(pairwise_soft_iou(masks), pairwise_soft_iou(masks.float()))
    assert torch.equal(soft_iou(masks[0], masks[1]), soft_iou(masks[0].float(), masks[1].float()))
    assert overlap_loss(logits[:1]).item() == 0


def test_rare_neurons_are_sampled_as_often_in_half_precision():
    # Uniform numbers in bfloat16 have 256 values: 0.001 would be drawn three times as often, and 0.999 always.
    count = 200_000
    probabilities = torch.tensor([0.001, 0.999])
    logits = torch.logit(probabilities)[None].bfloat16()
    torch.manual_seed(0)
    means = sample_masks(logits, torch.zeros(count, dtype=torch.long)).float().mean(0)
    for mean, probability in zip(means.tolist(), logits.float().sigmoid()[0].tolist(), strict=True):
        assert abs(mean - probability) < 5 * math.sqrt(probability * (1 - probability) / count)


@pytest.mark.parametrize(
    ("logits", "domains", "noise", "message"),
    [
        (torch.zeros(3), torch.zeros(2, dtype=torch.long), None, r"expected logits \(D, K\)"),
        (torch.zeros(3, 4), torch.zeros(2, 1, dtype=torch.long), None, r"domains \(N,\)"),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), torch.zeros(2, 5), r"noise of shape \(2, 4\)"),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), torch.zeros(4), r"got \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(logits, domains, noise, message):
    with pytest.raises(ValueError, match=message):
        sample_masks(logits, domains, noise)


@pytest.mark.parametrize("domain", [-1, 3])
def test_a_domain_that_is_not_there_is_refused(domain):
    with pytest.raises(IndexError):
        sample_masks(torch.zeros(3, 4), torch.tensor([0, domain]))


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(4,\)"):
        soft_iou(torch.zeros(3), torch.zeros(4))


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="expected reduction 'sum' or 'mean', got 'max'"):
        overlap_loss(torch.zeros(2, 3), "max")
