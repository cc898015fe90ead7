"""The algorithms, one file each; :data:`~domain_masks.methods.METHODS` names their classes."""
