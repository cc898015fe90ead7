"""The names of the ensembles: how the predictions of several masks are combined into one."""

from __future__ import annotations

PREDICTION_ENSEMBLE = "predictions"
MASK_ENSEMBLE = "masks"
WEIGHTED_ENSEMBLE = "weighted"
KNOWN_DOMAIN = "known:"
"""Prefix of the name of the source domain whose mask alone is used."""
