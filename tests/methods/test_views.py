from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional

from domain_masks.methods.prediction import output_of
from domain_masks.methods.views import output_over_views, views_of
from methods.test_adaptation import SIZE, SOURCES, batch_of, batches, made
from references.adaptation import probabilities_over_views


def flips(image):
    return image.flip(-1)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_probabilities_are_the_mean_over_an_image_and_its_mirror_image(average):
    method = made("dmg", average=average)
    (batch,) = batches(1)

    def network(images):
        return output_of(method, batch_of(images)).logits[ensemble]

    found = output_over_views(method, batch, "flips").logits
    assert set(found) == {"predictions", "masks", *(f"known:{source}" for source in SOURCES)}
    for ensemble in found:
        with torch.no_grad():
            expected = probabilities_over_views(network, batch.images, [lambda image: image, flips])
        torch.testing.assert_close(found[ensemble].softmax(1), expected, rtol=1e-4, atol=1e-5)


def test_an_image_that_is_its_own_mirror_image_is_predicted_as_before():
    method = made("dmg")
    (batch,) = batches(1)
    symmetric = batch_of(batch.images + batch.images.flip(-1))
    found = output_over_views(method, symmetric, "flips").logits["predictions"].softmax(1)
    torch.testing.assert_close(found, output_of(method, symmetric).logits["predictions"].softmax(1))


def test_crops_are_the_corners_enlarged():
    images = torch.rand(2, 3, 16, 16)
    shown = list(views_of(images, "flips+crops"))
    assert len(shown) == 10
    assert all(view.shape == images.shape for view in shown)
    assert torch.equal(shown[0], images)
    places = [(0, 0), (0, 2), (2, 0), (2, 2)]
    for place, (top, left) in enumerate(places):
        expected = functional.resized_crop(images, top, left, 14, 14, [16, 16], antialias=False)
        torch.testing.assert_close(shown[2 + 2 * place], expected)
        assert torch.equal(shown[3 + 2 * place], shown[2 + 2 * place].flip(-1))
    assert len(list(views_of(images, "flips"))) == 2


def test_the_domain_classifier_is_averaged_too():
    method = made("dmg")
    (batch,) = batches(1)
    assert output_over_views(method, batch, "flips+crops").domains is None
    from domain_masks.methods.domain_classifier import DomainClassifier  # noqa: PLC0415

    channels = method.network.pooled(method.boundary_features(batch)).shape[1]
    classifier = DomainClassifier(len(SOURCES), channels)
    torch.nn.init.normal_(classifier.weight)
    method.use_domain_classifier(classifier)
    found = output_over_views(method, batch, "flips")
    by_view = [output_of(method, batch_of(view)).domains for view in (batch.images, batch.images.flip(-1))]
    torch.testing.assert_close(found.domains, torch.stack(by_view).mean(0))
    assert "weighted" in found.logits


def test_features_have_no_views():
    method = made("aggregate")
    batch = batch_of(torch.zeros(2, 3, SIZE, SIZE))
    with pytest.raises(ValueError, match="with images"):
        output_over_views(method, type(batch)(None, None, None, batch.ids, features=torch.zeros(2, 6, 4, 4)), "flips")
