"""Runs that several tests of the report look at: made once, grouped once, and never changed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from domain_masks.records.collection import Collection, collect
from domain_masks.records.pairs import pair_key
from domain_masks.records.results import MASKS_AT_START
from domain_masks.report import build_report, write_report
from domain_masks.report.document import Report
from domain_masks.report.runs.accuracies import summary
from domain_masks.report.runs.groups import Group, groups_of
from report.made_runs import ODD_CONFIG, ODD_DOMAINS, make_benchmark, make_run


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Three methods, every domain of PACS held out, two seeds."""
    return collect([make_benchmark(tmp_path_factory.mktemp("benchmark"))])


@pytest.fixture(scope="session")
def group(benchmark: Collection) -> Group:
    (found,) = groups_of(benchmark.runs)
    return found


@pytest.fixture(scope="session")
def frame(group: Group) -> pd.DataFrame:
    return summary(group)


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """DMG with three overlap weights, none of them the paper's."""
    out = tmp_path_factory.mktemp("swept")
    for weight, right, overlap in ((0.0, 0.7, 0.9), (0.001, 0.75, 0.8), (1.0, 0.65, 0.2)):
        make_benchmark(out / f"o{weight}", {"dmg": right}, [0], overlap=overlap, settings={"overlap_weight": weight})
    return collect([out])


@pytest.fixture(scope="session")
def papers_among(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """DMG with three overlap weights, the paper's the worst on validation images, and Aggregate."""
    out = tmp_path_factory.mktemp("papers")
    for weight, right, overlap in zip((0.0, 0.1, 1.0), (0.7, 0.65, 0.68), (0.9, 0.8, 0.2), strict=True):
        make_benchmark(out / f"o{weight}", {"dmg": right}, [0, 1], overlap=overlap, settings={"overlap_weight": weight})
    make_benchmark(out / "a", {"aggregate": 0.5}, [0, 1])
    return collect([out])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of two methods on two domains."""
    out = tmp_path_factory.mktemp("small")
    make_benchmark(out, {"dmg": 0.8, "aggregate": 0.6}, [0], domains=("photo", "sketch"))
    return build_report(collect([out]))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report, and in ``runs`` the run that it is of, whose domains and classes have odd names."""
    root = tmp_path_factory.mktemp("report")
    make_run(
        root / "runs" / "one", "dmg", "_amazon", domains=ODD_DOMAINS, classes=("=1+2", "50%", "<i>"), config=ODD_CONFIG
    )
    path = root / "runs" / "one" / "results.json"
    content = json.loads(path.read_text())
    for site in content["masks"].values():
        site["pairwise_iou"] = {pair_key("a|b", "x_y"): 0.5, pair_key("网络摄像头", "a|b"): 0.25}
        site["activated"] = dict.fromkeys(content["sources"], 1.0)
    content["notes"] = [{"about": MASKS_AT_START, "text": "the masks have hardly left their start: raise --lr_masks"}]
    path.write_text(json.dumps(content))
    write_report(build_report(collect([root / "runs"])), root / "report.html")
    return root
