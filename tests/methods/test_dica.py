from dataclasses import replace

import numpy as np
import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods.algorithms.dica import discriminant, invariant_directions, squared_distances
from domain_masks.methods.settings import method_settings
from methods.contract import as_features, built, fitted, toy_batch
from references import kernel as reference


def made(count=60, seed=0):
    random = np.random.default_rng(seed)
    labels, domains = random.integers(0, 4, count), random.integers(0, 3, count)
    rows = 0.5 * random.normal(size=(count, 6))
    rows[:, 0] += labels
    rows[:, 1] += 2 * (labels % 2)
    rows[:, 2] += 2 * domains
    return rows, labels, domains


def features_of(gram):
    values, vectors = np.linalg.eigh(gram)
    mapped = torch.from_numpy(vectors * np.sqrt(values.clip(min=0)))
    return mapped - mapped.mean(0)


@pytest.mark.parametrize(("regulariser", "output_regulariser"), [(0.1, 0.01), (3.0, 1.0)])
def test_directions_are_those_of_the_papers_eigenproblem(regulariser, output_regulariser):
    rows, labels, domains = made()
    gram = reference.gaussian(rows, rows, 0.2)
    expected, values = reference.dica(gram, labels, domains, regulariser, output_regulariser, 3)
    mapped = features_of(gram)
    weights = (regulariser, output_regulariser)
    directions, found = invariant_directions(mapped, torch.from_numpy(labels), torch.from_numpy(domains), *weights)
    assert found.tolist() == pytest.approx(values.tolist(), rel=1e-6)
    projected = (mapped @ directions).numpy()
    for column in range(3):
        # An eigenvector has any length and sign.
        assert abs(np.corrcoef(projected[:, column], expected[:, column])[0, 1]) == pytest.approx(1.0, abs=1e-9)


def test_means_of_domains_come_together_and_classes_stay_apart():
    rows, labels, domains = made(300)
    mapped = features_of(reference.gaussian(rows, rows, 0.2))
    directions, _ = invariant_directions(mapped, torch.from_numpy(labels), torch.from_numpy(domains), 0.1, 0.01)
    projected = (mapped @ directions).numpy()

    def apart(values, groups):
        means = np.stack([values[groups == group].mean(0) for group in np.unique(groups)])
        return means.var(0).sum() / values.var(0).sum()

    assert apart(projected, domains) < 0.2 * apart(rows, domains)
    assert apart(projected, labels) > 0.8


def test_with_all_images_as_landmarks_predictions_are_of_the_papers_projection():
    method = built("dica", tolerance=0.0, landmarks=48).eval()
    batch = toy_batch(48)
    rows = method.represent(as_features(method, batch).features).detach().double()
    fitted(method)
    sharpness = 0.5 / torch.nn.functional.pdist(rows).median().square()
    assert float(method.sharpness) == pytest.approx(float(sharpness), rel=1e-3)
    gram = reference.gaussian(rows.numpy(), rows.numpy(), float(sharpness))
    projected, _ = reference.dica(gram, batch.labels.numpy(), batch.domains.numpy(), 0.1, 0.01, 3)
    weights, biases = discriminant(torch.from_numpy(projected / projected.std(0)), batch.labels, 4)
    expected = torch.from_numpy(projected / projected.std(0)) @ weights + biases
    with torch.no_grad():
        got = method.predict(batch)["predictions"].double()
    # The discriminant is the same in any basis of the projections, but for its own regulariser.
    torch.testing.assert_close(got.log_softmax(1), expected.log_softmax(1), rtol=1e-2, atol=2e-2)


def test_later_images_are_centred_by_the_training_images():
    method = fitted(built("dica")).eval()
    batch = toy_batch(12, seed=5)
    dark = replace(batch, images=torch.cat([batch.images[:6], batch.images[6:] - 3.0]))
    with torch.no_grad():
        together, apart = method.predict(dark)["predictions"], method.predict(batch)["predictions"]
    torch.testing.assert_close(together[:6], apart[:6], rtol=1e-4, atol=1e-4)


def test_under_autocast_predictions_are_those_of_single_precision():
    method, batch = fitted(built("dica")).eval(), as_features(built("dica"), toy_batch(64, seed=5))
    with torch.no_grad():
        expected = method.predict(batch)["predictions"]
        with torch.autocast("cpu", torch.bfloat16):
            got = method.predict(batch)["predictions"]
            rounded = method.predict(replace(batch, features=batch.features.bfloat16()))["predictions"]
    assert torch.equal(got, expected)
    assert rounded.dtype == expected.dtype == torch.float32


def test_large_weights_of_landmarks_cancel():
    method = fitted(built("dica", tolerance=0.0)).eval()
    rows = method.represent(as_features(method, toy_batch(64, seed=5)).features).detach()
    with torch.no_grad():
        got = method.predict(toy_batch(64, seed=5))["predictions"]
    distances = (rows.double()[:, None] - method.landmarks.double()).square().sum(-1)
    expected = (-method.sharpness.double() * distances).exp() @ method.weights.double() + method.biases.double()
    assert method.weights.abs().max() > 100
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-5)


def test_the_discriminant_is_that_of_gaussians():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4000) % 3
    means = torch.tensor([[0.0, 0.0], [2.0, 1.0], [-1.0, 3.0]])
    mixing = torch.tensor([[1.0, 0.4], [0.0, 0.7]])
    scores = (means[labels] + torch.randn(4000, 2, generator=generator) @ mixing).double()
    weights, biases = discriminant(scores, labels, 3)
    gaussians = [
        torch.distributions.MultivariateNormal(mean.double(), (mixing.t() @ mixing).double()) for mean in means
    ]
    expected = torch.stack([gaussian.log_prob(scores) for gaussian in gaussians], 1).softmax(1)
    assert ((scores @ weights + biases).softmax(1) - expected).abs().mean() < 0.01
    lacking = discriminant(scores, labels, 4)
    assert all(torch.isfinite(part).all() for part in lacking)


def test_fewer_components_and_landmarks_are_kept_where_that_is_asked_for():
    whole, few = fitted(built("dica")), fitted(built("dica", landmarks=10, components=1))
    assert len(whole.landmarks) == 48
    assert len(few.landmarks) == 10
    assert int(torch.linalg.matrix_rank(few.weights - few.weights.mean(1, keepdim=True), rtol=1e-3)) == 1
    assert int(torch.linalg.matrix_rank(whole.weights - whole.weights.mean(1, keepdim=True), rtol=1e-4)) == 3


def test_squared_distances():
    rows, landmarks = torch.randn(5, 3), torch.randn(4, 3)
    torch.testing.assert_close(squared_distances(rows, landmarks), torch.cdist(rows, landmarks).square())


def test_images_of_one_class_are_refused():
    method = built("dica").eval()
    batch = as_features(method, toy_batch(12))
    with pytest.raises(InputError, match="found no direction that separates classes"):
        method.fit_closed_form(replace(batch, labels=torch.zeros(12, dtype=torch.int64)))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("landmarks", 1),
        ("components", 0),
        ("regulariser", 0.0),
        ("output_regulariser", -1.0),
        ("width", 0),
        ("tolerance", 1.0),
    ],
)
def test_settings_that_cannot_be_used_are_named(setting, value):
    with pytest.raises(InputError, match=rf"method\.{setting}: "):
        method_settings("dica", {setting: value})
