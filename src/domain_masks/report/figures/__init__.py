"""Figures of a report and of an analysis: what they show, and how it is drawn."""
