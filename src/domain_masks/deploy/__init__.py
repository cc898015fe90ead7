"""From a trained model to something that can be used elsewhere."""
