"""Prediction of files, folders and arrays: classes, votes of the masks, the nearest source."""
