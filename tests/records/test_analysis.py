import copy
import json

import pytest

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records import Analysis
from domain_masks.records.analysis import SCHEMA

BINS = {"edges": [0.0, 0.5, 1.0], "counts": [0, 4], "confidence": [None, 0.9], "accuracy": [None, 0.75]}
KINDS = {"off": 0.25, "shared": 0.5, "specific": 0.25}
CONTENT = {
    "schema": SCHEMA,
    "mask_by_domain": {"known:photo": {"photo": 0.9, "sketch": 0.5}, "predictions": {"photo": 0.8, "sketch": 0.6}},
    "mask_by_domain_splits": {"photo": "validation", "sketch": "held_out"},
    "sites": {
        "fc": {
            "neurons": 4,
            "kinds": KINDS,
            "overall_iou": 0.5,
            "pairwise_iou": {"photo|art": 0.5},
            "activated": {"photo": 0.75, "art": 0.5},
            "probabilities": {"edges": [0.0, 0.5, 1.0], "counts": {"photo": [1, 3], "art": [2, 2]}},
        }
    },
    "epochs": [{"epoch": 1, "site": "fc", **KINDS, "activated": {"photo": 0.75}}],
    "nearest_source": {
        "rule": "the most likely",
        "right": {"by": "domain classifier", "split": "test", "accuracy": 0.75, "per_domain": {"photo": 0.5, "art": 1.0},
                  "count": 4},
        "rules": {"domain classifier": 0.75, "most confident mask": 0.5},
        "domains": {"sketch": {"photo": 1.0, "art": 0.0}},
        "images": {"sketch": 4},
        "agreement": {"sketch": 1.0},
        "accuracy": {"sketch": {"nearest": 0.5, "predictions": 0.5, "best_single": 0.75}},
        "best_single": {"sketch": "art"},
        "test": {"sketch": {"nearest_only": 1, "predictions_only": 1, "p_value": 1.0}},
    },
    "ablation": {
        "split": {"sketch": "held_out"},
        "images": {"sketch": 4},
        "rows": [
            {"site": "all", "kind": "none", "fraction": 0.0, "neurons": 0, "draws": 1, "accuracy": {"sketch": 0.5}},
            {
                "site": "fc", "kind": "random", "matched": "shared", "fraction": 0.5, "neurons": 1, "draws": 3,
                "accuracy": {"sketch": 0.4}, "deviation": {"sketch": 0.05},
            },
        ],
    },
    "calibration": {"sketch": {"ece": 0.1, "images": 4, "bins": BINS}},
    "confusion": {
        "sketch": {
            "classes": ["cat", "dog"], "counts": [[1, 1], [0, 2]], "of": 2,
            "pairs": [{"label": "cat", "predicted": "dog", "count": 1}],
        }
    },
    "per_class": {"sketch": {"cat": 0.5, "dog": 1.0}},
    "galleries": {
        "nearest/sketch/photo": {
            "title": "sketch: most like photo", "kind": "nearest", "domain": "sketch", "source": "photo",
            "items": [
                {
                    "id": "a.png", "label": "cat", "predicted": "dog", "confidence": 0.9,
                    "votes": {"photo": {"class": "dog", "probability": 0.9}}, "thumbnail": "figures/thumbnails/a.webp",
                }
            ],
        }
    },
    "heat_maps": {
        "layer": "features", "grid": [7, 7],
        "images": [
            {
                "id": "a.png", "domain": "sketch", "label": "cat", "predicted": "dog", "thumbnail": "figures/thumbnails/b.webp",
                "maps": {"predictions": {"probability": 0.9, "thumbnail": "figures/thumbnails/c.webp", "is_empty": True}},
            }
        ],
    },
    "channels": {
        "pairs": [
            {
                "first": "photo", "second": "art", "differing": {"fc": 2},
                "channels": [
                    {
                        "site": "fc", "channel": 3, "on": "photo", "off": "art", "on_probability": 0.9, "off_probability": 0.2,
                        "images": [{"id": "p.png", "domain": "photo", "label": "cat", "activation": 1.5}],
                    }
                ],
            }
        ],
        "images": {"photo": 10},
    },
    "feature_map": {
        "method": "PCA", "layer": "fc", "size": 4, "explained": [0.5, 0.25], "domains": ["photo"], "classes": ["cat"],
        "x": [0.5], "y": [-1.5], "domain": [0], "label": [0],
    },
    "figures": ["overlap.png"],
    "notes": ["no images"],
}  # fmt: skip
OPTIONAL = ("sites", "epochs", "nearest_source", "ablation", "galleries", "heat_maps", "channels", "feature_map")


def changed(path, value):
    content = copy.deepcopy(CONTENT)
    *above, last = path
    place = content
    for name in above:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


def test_written_is_read_with_the_same_keys(tmp_path):
    analysis = Analysis.from_dict(CONTENT)
    analysis.write(tmp_path / "analysis.json")
    written = json.loads((tmp_path / "analysis.json").read_text())
    assert written == CONTENT
    assert list(written) == list(CONTENT)
    assert Analysis.read(tmp_path / "analysis.json") == analysis


def test_what_a_method_does_not_have_is_absent():
    content = {name: value for name, value in CONTENT.items() if name not in OPTIONAL}
    analysis = Analysis.from_dict(content)
    assert analysis.sites is None
    assert analysis.to_dict() == content


def test_unknown_keys_are_kept(tmp_path):
    content = {**CONTENT, "more_of_it": {"a": 1}}
    Analysis.from_dict(content).write(tmp_path / "analysis.json")
    assert Analysis.read(tmp_path / "analysis.json").to_dict() == content


@pytest.mark.parametrize("name", [name for name in CONTENT if name not in OPTIONAL and name != "schema"])
def test_what_is_missing_is_named(name):
    with pytest.raises(InputError, match=f"expected {name}, which is missing"):
        Analysis.from_dict(changed([name], None))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["mask_by_domain", "predictions", "photo"], 80.0, r"mask_by_domain\.predictions\.photo: .*got 80"),
        (["sites", "fc", "neurons"], -1, r"sites\.fc\.neurons"),
        (["sites", "fc", "kinds", "off"], None, r"sites\.fc\.kinds\.off, which is missing"),
        (["epochs", 0, "site"], 3, r"epochs\[0\]\.site"),
        (["nearest_source", "test", "sketch", "p_value"], float("nan"), r"test\.sketch\.p_value"),
        (["ablation", "rows", 1, "accuracy", "sketch"], "half", r"ablation\.rows\[1\]\.accuracy\.sketch"),
        (["calibration", "sketch", "bins", "accuracy"], [2.0], r"bins\.accuracy\[0\]"),
        (["calibration", "sketch", "bins", "counts"], 3, r"calibration\.sketch\.bins\.counts: .* list, got 3"),
        (["confusion", "sketch", "counts"], [[1.5]], r"confusion\.sketch\.counts\[0\]\[0\]"),
        (["galleries", "nearest/sketch/photo", "items", 0, "label"], "", r"items\[0\]\.label"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(path, value, words):
    with pytest.raises(InputError, match=words):
        Analysis.from_dict(changed(path, value))


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "analysis.json").write_text('{"schema": 1}')
    with pytest.raises(RunFolderError, match=r"analysis\.json (?s:cannot be used.*no analysis.*dmg analyze RUN)"):
        Analysis.read(tmp_path / "analysis.json")
