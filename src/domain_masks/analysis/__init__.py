"""What the masks of a run learned: tables, figures and galleries."""

from domain_masks.analysis.analyzing import PICTURES, analyze
from domain_masks.analysis.sites import histogram, site_analysis, site_epochs
from domain_masks.analysis.summary import summary_lines

__all__ = ["PICTURES", "analyze", "histogram", "site_analysis", "site_epochs", "summary_lines"]
