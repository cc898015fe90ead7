"""A page in the browser on which to try a model; gradio is imported by :mod:`.page` and :mod:`.serving` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.deploy.demo.agreement import SiteAgreement, site_agreements
    from domain_masks.deploy.demo.answers import Answer, Shown, answer, shown
    from domain_masks.deploy.demo.examples import Example, find_examples

__all__ = ["Answer", "Example", "Shown", "SiteAgreement", "answer", "find_examples", "shown", "site_agreements"]

attach(__name__)
