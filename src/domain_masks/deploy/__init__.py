"""Deployment of a trained model: prediction, export, demo page and Hugging Face Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.deploy.hub.model_card import model_card
    from domain_masks.deploy.hub.publishing import push_to_hub
    from domain_masks.deploy.predicting.image_paths import Unreadable, find_images
    from domain_masks.deploy.predicting.model import Model
    from domain_masks.deploy.predicting.model_loading import load
    from domain_masks.deploy.predicting.prediction import Guess, Prediction
    from domain_masks.deploy.predicting.prediction_list import PredictionList

__all__ = [
    "Guess",
    "Model",
    "Prediction",
    "PredictionList",
    "Unreadable",
    "find_images",
    "load",
    "model_card",
    "push_to_hub",
]

attach(__name__)
