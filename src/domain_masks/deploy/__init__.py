"""From a trained model to something that can be used elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.deploy.hub import push_to_hub
    from domain_masks.deploy.image_paths import Unreadable, find_images
    from domain_masks.deploy.loading import load
    from domain_masks.deploy.model import Model
    from domain_masks.deploy.model_card import model_card
    from domain_masks.deploy.prediction import Guess, Prediction

__all__ = ["Guess", "Model", "Prediction", "Unreadable", "find_images", "load", "model_card", "push_to_hub"]

attach(
    __name__,
    {
        "image_paths": ("Unreadable", "find_images"),
        "hub": ("push_to_hub",),
        "loading": ("load",),
        "model": ("Model",),
        "model_card": ("model_card",),
        "prediction": (
            "Guess",
            "Prediction",
        ),
    },
)
