"""From a trained model to something that can be used elsewhere."""

from domain_masks.deploy.finding import find_pictures
from domain_masks.deploy.hub import push_to_hub
from domain_masks.deploy.inputs import Unreadable
from domain_masks.deploy.loading import load
from domain_masks.deploy.model import Model
from domain_masks.deploy.model_card import model_card
from domain_masks.deploy.votes import Guess, Prediction

__all__ = ["Guess", "Model", "Prediction", "Unreadable", "find_pictures", "load", "model_card", "push_to_hub"]
