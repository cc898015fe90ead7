"""The numbers of a run as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from domain_masks.records.results import Results

TITLES = {"out_of_domain": "out of domain", "in_domain": "in domain", "known_domain": "known domain"}


def result_lines(results: Results) -> Iterator[str]:
    """Yield a line per measure, with the split behind it and every domain's accuracy in percent."""
    for name, title in TITLES.items():
        accuracies = getattr(results, name)
        if accuracies is None:
            continue
        domains = "  ".join(f"{domain} {100 * value:.2f}" for domain, value in accuracies["per_domain"].items())
        yield f"{title:<13} {100 * accuracies['accuracy']:6.2f} %  ({accuracies['split']}: {domains})"
        others = accuracies.get("by_ensemble", {})
        if len(others) > 1:
            yield f"{'':<13} by ensemble: " + "  ".join(f"{key} {100 * value:.2f}" for key, value in others.items())
    for site, masks in (results.masks or {}).items():
        shares = "  ".join(f"{domain} {100 * share:.1f}" for domain, share in masks["activated"].items())
        overlap = f"IoU {masks['overall_iou']:.3f}, " if "overall_iou" in masks else ""
        yield f"{'masks':<13} {site}: {overlap}activated % {shares}"
