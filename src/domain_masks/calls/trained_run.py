"""A finished run as Python gets it: its folder, its numbers, its model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from domain_masks.evaluation import accuracies_under
from domain_masks.records import Accuracies, MetricsLog, Predictions
from domain_masks.records.notebook_html import html_block, html_image, html_lines
from domain_masks.records.results import MEASURE_TITLES, accuracies_html
from domain_masks.training import Run

if TYPE_CHECKING:
    import pandas as pd

    from domain_masks.deploy import Model


@dataclass(frozen=True, repr=False)
class TrainedRun(Run):
    """A finished run: its folder, its results, and what is read from its files when it is asked for.

    A path to its folder wherever one is expected: ``dm.load(run)``, ``dm.analyze(run)``, ``Path(run)``.

    - ``ensemble``: how masks are combined in :attr:`accuracies`; None for the prediction ensemble
    """

    ensemble: str | None = None

    def _repr_html_(self) -> str:
        from domain_masks.report.figures.svg import plot_svg  # noqa: PLC0415
        from domain_masks.report.figures.training_curves import training_plot  # noqa: PLC0415

        title = self.results.title
        under = "" if self.ensemble is None else f", ensemble {self.ensemble}"
        tables = list(self.results.html_tables())
        if self.ensemble is not None:
            tables[0] = accuracies_html({MEASURE_TITLES[name]: part for name, part in self.accuracies.items()})
        plot = training_plot("training", {title: [MetricsLog(self.folder.metrics).read()]})
        curves = "" if plot is None else html_image(plot_svg(plot).encode(), "svg+xml", plot.title, "44em")
        return html_block(title + under, *tables, curves, html_lines([f"run folder {self.folder.path}"]))

    @cached_property
    def model(self) -> Model:
        """The model of the selected epoch, on the best device that there is; `dm.load(run, device=...)` chooses."""
        from domain_masks import deploy  # noqa: PLC0415

        return deploy.load(self.folder.path)

    @cached_property
    def predictions(self) -> Predictions:
        """Id, label, domain and logits of every image that was evaluated."""
        return Predictions.load(self.folder.predictions)

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per epoch: losses, learning rates, accuracy on the validation images of each source, masks."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(MetricsLog(self.folder.metrics).read())

    @property
    def accuracies(self) -> dict[str, Accuracies]:
        """``out_of_domain``, ``in_domain`` and ``known_domain``, those that there are, under :attr:`ensemble`.

        Raises InputError where the method does not have the ensemble.
        """
        results = self.results
        measured = {name: part for name in MEASURE_TITLES if (part := getattr(results, name)) is not None}
        if self.ensemble is None:
            return measured
        held_out = "" if results.out_of_domain is None else results.out_of_domain.split
        shown = accuracies_under(self.predictions, self.ensemble, held_out)
        if results.in_domain is not None and "in_domain" in shown:
            shown["in_domain"] = shown["in_domain"].model_copy(update={"split": results.in_domain.split})
        return shown
