"""The tables in docs/results/ are those that results/tables.py makes of the runs in results/."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

import generated
from domain_masks.progress import ConsoleReporter
from domain_masks.training import run as train

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted((REPOSITORY / "docs" / "results").glob("*.md"))


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_tables", REPOSITORY / "results" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures(tables: ModuleType) -> Iterator[ModuleType]:
    path = REPOSITORY / "results" / "figures.py"
    with pytest.MonkeyPatch.context() as patch:
        # As for a script beside it.
        patch.setitem(sys.modules, "tables", tables)
        spec = importlib.util.spec_from_file_location("results_figures", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_made_of_the_runs(page: Path, tables: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.with_tables(text) == text, f"{page}: run `python results/tables.py`"


def test_figures_show_the_numbers_of_the_runs_and_are_on_a_page(figures: ModuleType) -> None:
    shown = {name for page in PAGES for name in re.findall(r"\]\((\S+\.svg)\)", page.read_text(encoding="utf-8"))}
    for figure in figures.FIGURES:
        plot = figure()
        file = REPOSITORY / "docs" / "results" / f"{plot.name}.svg"
        assert file.name in shown
        drawn = re.search(r"<desc>(.*?)</desc>", file.read_text(encoding="utf-8"), re.DOTALL)
        assert drawn is not None
        assert unescape(drawn[1]) == figures.description(plot), f"{file}: run `python results/figures.py`"


def test_a_figure_has_the_mean_of_differences_and_their_interval(
    figures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        ("aggregate", "a", 0, 0.50, 0.8),
        ("aggregate", "b", 0, 0.60, 0.8),
        ("dmg", "a", 0, 0.53, 0.8),
        ("dmg", "b", 0, 0.61, 0.7),
        ("mldg", "a", 0, 0.90, 0.9),
    ]
    runs = pd.DataFrame(rows, columns=["setting", "held_out", "seed", "out_of_domain", "in_domain"])
    monkeypatch.setattr(figures, "read", lambda _name: runs.assign(dataset="pacs", backbone="x", epochs=10))
    out, inside = figures.method_differences("made").panels
    # mldg lacks a held-out domain, and is not shown.
    assert [label for _, label in out.ticks] == ["dmg"]
    assert {series.label: series.y for series in out.series} == {
        "a": (pytest.approx(3),),
        "b": (pytest.approx(1),),
        "mean, 95 % interval": (pytest.approx(2),),
    }
    # Student's quantile for one degree of freedom, 12.706, times the standard error, 1.
    assert out.series[-1].spread == (pytest.approx(12.706, abs=1e-3),)
    assert inside.series[-1].y == (pytest.approx(-5),)


def test_every_table_is_on_a_page_and_every_file_in_a_table(tables: ModuleType) -> None:
    shown = {name for page in PAGES for name in re.findall(r"<!-- table: (\S+) -->", page.read_text(encoding="utf-8"))}
    assert shown == set(tables.TABLES)
    assert {path.stem for path in (REPOSITORY / "results").glob("*.csv")} <= {
        name for name in shown if (REPOSITORY / "results" / f"{name}.csv").exists()
    }


def test_means_and_deviations_are_over_seeds_with_all_domains(tables: ModuleType) -> None:
    rows = [
        ("dmg", "a", 0, 0.5),
        ("dmg", "b", 0, 0.7),
        ("dmg", "a", 1, 0.6),
        ("dmg", "b", 1, 0.9),
        ("dmg", "a", 2, 0.1),
    ]
    runs = pd.DataFrame(rows, columns=["method", "held_out", "seed", "out_of_domain"])
    (row,) = tables.accuracies(runs, "out_of_domain").to_dict("records")
    assert row == {
        "method": "`dmg`",
        "a": "40.00 ± 26.46",
        "b": "80.00 ± 14.14",
        "overall": "67.50 ± 10.61",
        "seeds": 2,
    }


def test_runs_of_several_settings_are_not_averaged(tables: ModuleType) -> None:
    rows = [("dmg", "dmg, average none", "a", 0, 0.5), ("dmg", "dmg, average ema", "a", 0, 0.7)]
    runs = pd.DataFrame(rows, columns=["method", "setting", "held_out", "seed", "out_of_domain"])
    with pytest.raises(ValueError, match="duplicate"):
        tables.accuracies(runs, "out_of_domain")
    assert len(tables.accuracies(runs, "out_of_domain", by="setting")) == 2


def made_rows(values: list[tuple[str, str, int, float]], **columns: object) -> pd.DataFrame:
    """A row per (setting, held-out domain, seed, accuracy), all of one protocol."""
    runs = pd.DataFrame(values, columns=["setting", "held_out", "seed", "out_of_domain"])
    shared = {"dataset": "pacs", "backbone": "mobilenet_v2", "size": 112, "epochs": 10, "in_domain_test": "official"}
    return runs.assign(**{**shared, **columns})


PAIRED = [
    *(("aggregate", domain, seed, 0.50 + seed / 100) for domain in "ab" for seed in (0, 1)),
    ("dmg", "a", 0, 0.53),
    ("dmg", "a", 1, 0.52),
    ("dmg", "b", 0, 0.50),
    ("dmg", "b", 1, 0.52),
    ("dmg, masks fixed", "a", 0, 0.49),
]


def test_differences_are_paired_by_held_out_domain_and_seed(tables: ModuleType) -> None:
    first, second = tables.differences(made_rows(PAIRED)).to_dict("records")
    # Pairs of 3, 1, 0 and 1 points: mean 1.25, deviation 1.2583, t(3) 3.182.
    assert first == {
        "setting": "dmg",
        "a": "+2.00",
        "b": "+0.50",
        "overall": "+1.25",
        "95 % interval": "-0.75 to +3.25",
        "higher": "3 of 4",
        "seeds": 2,
    }
    assert (second["a"], second["b"], second["overall"], second["seeds"]) == ("-1.00", "-", "-", 0)


def test_a_measure_is_compared_with_another_of_the_same_run(tables: ModuleType) -> None:
    runs = made_rows(PAIRED[4:8]).assign(known_domain=[0.9, 0.9, 0.8, 0.8], in_domain=[0.88, 0.89, 0.8, 0.79])
    (row,) = tables.differences(runs, "known_domain", minus="in_domain").to_dict("records")
    assert (row["a"], row["b"], row["overall"], row["higher"]) == ("+1.50", "+0.50", "+1.00", "3 of 4")


def test_runs_of_several_protocols_are_not_compared_and_other_epochs_are_a_setting(tables: ModuleType) -> None:
    runs = made_rows(PAIRED)
    longer = made_rows([("aggregate", domain, seed, 0.6) for domain in "ab" for seed in (0, 1)], epochs=20)
    table = tables.differences(pd.concat([runs, longer]))
    assert "aggregate, 20 epochs" in list(table["setting"])
    assert len(tables.by_setting(pd.concat([runs, longer]), "out_of_domain")) == 4
    with pytest.raises(ValueError, match="expected runs of one protocol, got in_domain_test official, validation-half"):
        tables.differences(pd.concat([runs, made_rows(PAIRED, in_domain_test="validation-half")]))
    with pytest.raises(ValueError, match="duplicate"):
        tables.differences(pd.concat([runs, runs]))


@pytest.mark.parametrize(
    ("setting", "compared"), [("aggregate, average ema", {"aggregate"}), ("dmg, masks shared", {"aggregate", "dmg"})]
)
def test_an_experiment_is_compared_with_the_usual_runs_of_its_methods_and_of_aggregate(
    setting: str, compared: set[str], tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    usual = made_rows(PAIRED)
    usual.assign(method=usual["setting"].str.split(",").str[0]).to_csv(tmp_path / "usual.csv", index=False)
    own = made_rows([(setting, "a", seed, 0.53) for seed in (0, 1)], method=setting.split(",", maxsplit=1)[0])
    own.to_csv(tmp_path / "own.csv", index=False)
    runs = tables.with_usual("own", "usual")
    assert set(runs["held_out"]) == {"a"}
    assert set(runs["method"]) == compared
    rows = {row["setting"]: row for row in tables.differences(runs).to_dict("records")}
    assert (rows[setting]["overall"], rows[setting]["seeds"]) == ("+2.50", 2)


def test_masks_are_shown_by_setting(tables: ModuleType) -> None:
    runs = made_rows(PAIRED[4:8]).assign(
        known_domain=[0.9, 0.9, 0.8, 0.8], in_domain=[0.88, 0.89, 0.8, 0.79], own_mask_best=[1, 1, 2 / 3, 1 / 3]
    )
    runs = runs.assign(**{"iou/classifier": [0.2, 0.3, 0.4, 0.5], "active/classifier": 0.5, "spread/classifier": 1.0})
    (row,) = tables.masks_by_setting(runs).to_dict("records")
    assert (row["iou/classifier"], row["known − ensemble"], row["own mask best"], row["runs"]) == (
        "0.35",
        "+1.00",
        "0.75",
        4,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of DMG with and without learned masks, and of Aggregate."""
    out = tmp_path_factory.mktemp("runs")
    for name, method in {
        "dmg": {"name": "dmg", "overlap_weight": 0.2},
        "fixed": {"name": "dmg", "masks": "fixed"},
        "aggregate": {"name": "aggregate"},
    }.items():
        config = generated.config(epochs=1, method=method)
        train(config, out / name, dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True))
    return out


def test_a_row_holds_what_a_finished_run_ended_with(runs: Path, tables: ModuleType, tmp_path: Path) -> None:
    tables.collect_runs(runs, tmp_path / "rows.csv")
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert list(rows["setting"]) == ["dmg, masks fixed", "dmg, overlap_weight 0.2", "aggregate"]
    assert rows["key"].nunique() == 3
    assert rows["key"].str.fullmatch("[0-9a-f]{16}").all()
    assert set(rows["in_domain_test"]) == {"official"}
    assert set(rows["in_domain_split"]) == {"test"}
    assert rows["torch"].notna().all()
    masks = rows[rows["method"] == "dmg"]
    for name in ("iou", "active", "spread"):
        values = masks[[f"{name}/classifier.hidden", f"{name}/classifier.head"]]
        assert ((values >= 0) & (values <= 1)).all(axis=None)
    assert masks["spread/classifier.hidden"].to_numpy() == pytest.approx(0.29, abs=0.03), "as drawn from U(0, 1)"
    assert masks["own_mask_best"].between(0, 1).all()
    assert (rows["out_of_domain_low"] <= rows["out_of_domain"]).all()
    assert rows[rows["method"] == "aggregate"]["known_domain"].isna().all()
    assert len(tables.by_setting(rows, "out_of_domain")) == 3


def test_runs_of_another_machine_are_added(runs: Path, tables: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    tables.collect_runs(runs, file)
    whole = pd.read_csv(file)
    other = whole.iloc[:1].assign(key="another", seed=7)
    pd.concat([other, whole.assign(out_of_domain=0.0)]).to_csv(file, index=False)
    tables.collect_runs(runs, file, add=True)
    added = pd.read_csv(file).set_index("key")
    assert set(added.index) == {"another", *whole["key"]}
    assert added.index.get_loc("another") == 1, "in the order of settings, domains and seeds"
    for row in (*whole.itertuples(), *other.itertuples()):
        assert added.loc[row.key, "out_of_domain"] == row.out_of_domain, "its own rows are written anew"
