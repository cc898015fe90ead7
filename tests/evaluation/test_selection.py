from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import SELECTION_RULES, accuracies, choose, selected, variants
from domain_masks.evaluation.selection import source_validation_accuracy
from domain_masks.evaluation.selection_rules import RULES_IN_WORDS
from domain_masks.records import Predictions, Results, RunFolder, SelectionProtocol
from domain_masks.records.collection import RunRecord
from domain_masks.records.config import NOT_COMPUTED, parse_config
from references import selection as slow

DOMAINS = ("art", "cartoon", "photo", "sketch")
CLASSES = ("dog", "horse", "house")
BLIND = ("source-validation", "leave-one-domain-out")
WEIGHTS = (0.001, 0.01, 0.1)


def predictions_of(targets, random, skill=1.0):
    """Random logits on validation images of the sources and all of the held-out domains, of a given skill."""
    domains, labels, splits = [], [], []
    for index, domain in enumerate(DOMAINS):
        count = 12 + 3 * index
        domains += [index] * count
        labels += random.integers(len(CLASSES), size=count).tolist()
        splits += ["held_out" if domain in targets else "validation"] * count
    logits = random.normal(size=(len(labels), len(CLASSES)))
    logits[np.arange(len(labels)), labels] += skill
    return Predictions(
        ids=np.array([str(row) for row in range(len(labels))]),
        labels=np.array(labels),
        domains=np.array(domains),
        domain_names=DOMAINS,
        splits=np.array(splits),
        logits={"predictions": logits},
        classes=CLASSES,
        sources=tuple(name for name in DOMAINS if name not in targets),
    )


def record(folder, predictions, targets, method="dmg", seed=0, run=None, **settings):
    config = parse_config({"dataset": "pacs", "target": ",".join(targets), "seed": seed, **(run or {})}).to_dict()
    predictions.save(folder / "predictions.npz")
    results = Results(
        dataset="pacs",
        method=method,
        backbone="small",
        sources=[name for name in DOMAINS if name not in targets],
        targets=list(targets),
        seed=seed,
        epochs_run=1,
        protocol={"selection": "source-validation", "target_labels_used": False},
        seconds={},
        **accuracies(predictions),
    )
    return RunRecord(RunFolder(folder), results, {**config, "method": {"name": method, **settings}})


def collection(tmp_path, seeds=(0, 1), weights=WEIGHTS, skills=None):
    """Every single domain and every pair of domains held out, under each weight and seed."""
    random = np.random.default_rng(7)
    records = []
    for targets in [(name,) for name in DOMAINS] + list(combinations(DOMAINS, 2)):
        for weight in weights:
            for seed in seeds:
                folder = tmp_path / f"{weight}" / "+".join(targets) / f"seed-{seed}"
                predictions = predictions_of(targets, random, (skills or {}).get(weight, 1.0))
                records.append(record(folder, predictions, targets, seed=seed, overlap_weight=weight))
    return records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """A whole collection, to be read alone."""
    return collection(tmp_path_factory.mktemp("runs"))


def plain(records):
    return [
        (
            run.config["method"]["overlap_weight"],
            set(run.results.targets),
            run.results.seed,
            slow.validation_accuracy(run.predictions()),
            run.results.out_of_domain.per_domain,
        )
        for run in records
    ]


def reference(rule, records, target):
    if rule == "leave-one-domain-out":
        return slow.leave_one_domain_out(plain(records), target, [name for name in DOMAINS if name != target])
    return {"source-validation": slow.source_validation, "oracle": slow.oracle}[rule](plain(records), target)


@pytest.mark.parametrize("rule", SELECTION_RULES)
def test_every_rule_matches_the_reference(records, rule):
    chosen = {}
    for target in DOMAINS:
        choice = choose(records, rule, target, "dmg")
        expected = reference(rule, records, target)
        assert choice.scores == pytest.approx(
            {f"dmg, overlap_weight {key:g}": value for key, value in expected.items()}
        )
        best = max(sorted(expected), key=expected.get)
        assert choice.variant.settings == {"method.overlap_weight": best}
        assert choice.rule == rule
        assert choice.target_labels_used == (rule == "oracle")
        chosen[target] = best
    assert len(set(chosen.values())) > 1, "the generated runs must make the choice depend on the target"


def test_rules_differ_and_each_says_what_it_is(records):
    picked = {
        rule: tuple(choose(records, rule, name, "dmg").variant.label for name in DOMAINS) for rule in SELECTION_RULES
    }
    assert len(set(picked.values())) == 3
    assert tuple(RULES_IN_WORDS) == SELECTION_RULES == ("source-validation", "leave-one-domain-out", "oracle")


def poisoned(record, target, random):
    """The run as it would be had the held-out domain other labels and other logits, in both of its files."""
    predictions = record.predictions()
    rows = predictions.domains == DOMAINS.index(target)
    rows &= predictions.splits == "held_out"
    labels, logits = predictions.labels.copy(), predictions.of("predictions").copy()
    labels[rows] = random.integers(len(CLASSES), size=rows.sum())
    logits[rows] = random.normal(size=(rows.sum(), len(CLASSES)))
    changed = replace(predictions, labels=labels, logits={"predictions": logits})
    changed.save(record.folder.predictions)
    return replace(record, results=record.results.model_copy(update=accuracies(changed)))


@pytest.mark.parametrize("rule", BLIND)
def test_labels_of_the_target_cannot_change_the_choice(tmp_path, rule):
    random = np.random.default_rng(0)
    records = collection(tmp_path, seeds=(0,), weights=(0.01, 0.1))
    for target in ("photo", "sketch"):
        before = choose(records, rule, target, "dmg")
        oracle = choose(records, "oracle", target, "dmg")
        records = [poisoned(run, target, random) if target in run.results.targets else run for run in records]
        after = choose(records, rule, target, "dmg")
        assert after.scores == before.scores
        assert after.variant.label == before.variant.label
        assert choose(records, "oracle", target, "dmg").scores != oracle.scores, "the poison must be seen by the oracle"


def test_skill_is_found_by_every_rule(tmp_path):
    records = collection(tmp_path, seeds=(0,), weights=(0.01, 0.1), skills={0.01: 6.0})
    for rule in SELECTION_RULES:
        for row in selected(records, rule, targets=DOMAINS):
            assert row.variant.settings == {"method.overlap_weight": 0.01}


def test_of_equal_scores_the_first_setting_wins_whatever_the_order_of_the_records(tmp_path):
    random = np.random.default_rng(3)
    same = predictions_of(("sketch",), random)
    records = [record(tmp_path / str(w), same, ("sketch",), overlap_weight=w) for w in (1, 0.5, 1e-5, 0.25)]
    for order in (records, records[::-1]):
        for rule in ("source-validation", "oracle"):
            assert choose(order, rule, "sketch", "dmg").variant.label == "dmg, overlap_weight 1e-05"


def test_one_variant_is_chosen_without_looking(tmp_path):
    alone = record(tmp_path, predictions_of(("sketch",), np.random.default_rng(0)), ("sketch",))
    alone.folder.predictions.unlink()
    for rule in SELECTION_RULES:
        choice = choose([alone], rule, "sketch")
        assert (choice.variant.label, choice.scores) == ("dmg", {})
        assert choice.target_labels_used == (rule == "oracle")


def test_seeds_are_compared_where_all_settings_have_them(tmp_path):
    random = np.random.default_rng(0)
    good, bad = (predictions_of(("sketch",), random, skill) for skill in (9.0, -9.0))
    records = [
        record(tmp_path / "a0", good, ("sketch",), seed=0, overlap_weight=0.1),
        record(tmp_path / "a1", bad, ("sketch",), seed=1, overlap_weight=0.1),
        record(tmp_path / "b0", predictions_of(("sketch",), random, 1.0), ("sketch",), seed=0, overlap_weight=0.5),
    ]
    (row,) = selected(records)
    assert row.variant.settings == {"method.overlap_weight": 0.1}
    assert [run.results.seed for run in row.records] == [0, 1]
    apart = [records[1], records[2]]
    assert choose(apart, "source-validation", "sketch").variant.settings == {"method.overlap_weight": 0.5}


def test_missing_inner_runs_are_named(records):
    records = [run for run in records if run.results.targets != ["photo", "sketch"]]
    with pytest.raises(InputError) as caught:
        choose(records, "leave-one-domain-out", "sketch", "dmg")
    for weight in WEIGHTS:
        assert f"dmg, overlap_weight {weight:g}: target sketch,photo, seed 0" in str(caught.value)
    assert "got none of these 3" in str(caught.value)
    assert choose(records, "leave-one-domain-out", "art", "dmg").scores


def test_two_sources_are_too_few_to_hold_out_one_more(tmp_path):
    targets, random = ("photo", "sketch"), np.random.default_rng(0)
    records = [
        record(tmp_path / str(w), predictions_of(targets, random), targets, overlap_weight=w) for w in (0.1, 0.2)
    ]
    with pytest.raises(InputError, match=r"sketch: got the sources art, cartoon, and expected more than 2"):
        choose(records, "leave-one-domain-out", "photo,sketch", "dmg")


def test_selected_rows_of_a_table(records):
    both = selected(records, "leave-one-domain-out")
    assert [row.target for row in both] == list(DOMAINS)
    everything = selected(records)
    assert len(everything) == 10
    for row in everything[:4]:
        assert (row.method, row.rule, row.target_labels_used) == ("dmg", "source-validation", False)
        assert [run.results.seed for run in row.records] == [0, 1]
        assert all(run in row.variant.records for run in row.records)
        assert row.choice.scores == choose(records, row.rule, row.target, "dmg").scores
    assert [row.target for row in selected(records, targets=["sketch,art", "photo"])] == ["photo", "art,sketch"]
    assert all(row.target_labels_used for row in selected(records, "oracle", targets=["photo"]))


def test_runs_that_hold_out_two_domains_more_are_rows_of_their_own(tmp_path):
    random, groups = np.random.default_rng(0), [("art",), ("art", "cartoon"), ("art", "cartoon", "photo")]
    runs = [record(tmp_path / str(len(group)), predictions_of(group, random), group) for group in groups]
    rows = selected([runs[0], runs[2]], "leave-one-domain-out")
    assert [row.targets for row in rows] == [groups[0], groups[2]]
    assert [row.targets for row in selected(runs, "leave-one-domain-out")] == [groups[0]]


def test_a_run_that_used_target_labels_itself_says_so(tmp_path):
    run = record(tmp_path, predictions_of(("sketch",), np.random.default_rng(0)), ("sketch",))
    oracle = SelectionProtocol(selection="oracle", target_labels_used=True)
    cheated = replace(run, results=run.results.model_copy(update={"protocol": oracle}))
    assert [row.target_labels_used for row in selected([cheated])] == [True]


def test_nothing_held_out_is_a_target_of_its_own(tmp_path):
    random = np.random.default_rng(0)
    records = [
        record(tmp_path / f"{weight}-{targets}", predictions_of(targets, random), targets, overlap_weight=weight)
        for weight in (0.1, 0.2)
        for targets in [(), *((name,) for name in DOMAINS)]
    ]
    expected = [np.mean([run.results.out_of_domain.accuracy for run in records[i : i + 4]]) for i in (1, 6)]
    assert list(choose(records, "leave-one-domain-out", "", "dmg").scores.values()) == pytest.approx(expected)
    with pytest.raises(InputError, match="accuracy on none, got none of dmg, overlap_weight"):
        choose(records, "oracle", (), "dmg")


def test_validation_accuracy_is_read_from_the_results_where_predictions_are_gone(tmp_path):
    run = record(tmp_path, predictions_of(("sketch",), np.random.default_rng(0)), ("sketch",))
    with_file = source_validation_accuracy(run)
    assert with_file == pytest.approx(slow.validation_accuracy(run.predictions()))
    run.folder.predictions.unlink()
    assert source_validation_accuracy(run) == pytest.approx(with_file)
    tested = run.results.in_domain.model_copy(update={"split": "test"})
    on_test = replace(run, results=run.results.model_copy(update={"in_domain": tested}))
    with pytest.raises(InputError, match=r"no validation accuracy of the run in .*predictions\.npz is missing"):
        source_validation_accuracy(on_test)


def test_in_domain_test_images_choose_nothing(tmp_path):
    predictions = predictions_of(("sketch",), np.random.default_rng(0))
    of_sources = np.flatnonzero(predictions.splits == "validation")
    splits = predictions.splits.copy()
    splits[of_sources[::2]] = "test"
    divided = replace(predictions, splits=splits)
    run = record(tmp_path, divided, ("sketch",))
    validation = divided.rows(splits == "validation")
    assert source_validation_accuracy(run) == pytest.approx(slow.validation_accuracy(validation))
    assert source_validation_accuracy(run) != pytest.approx(slow.validation_accuracy(predictions))


@pytest.mark.parametrize(
    ("rule", "target", "method", "message"),
    [
        ("orcale", "sketch", "dmg", "unknown selection rule 'orcale': .* Did you mean 'oracle'"),
        (
            "oracle",
            "sketsh",
            "dmg",
            "unknown held-out domain of method 'dmg' 'sketsh': expected one of sketch.*'sketch'",
        ),
        ("oracle", "sketch", "dgm", "unknown method 'dgm': expected one of dmg"),
    ],
)
def test_a_name_that_is_none_is_named(tmp_path, rule, target, method, message):
    run = record(tmp_path, predictions_of(("sketch",), np.random.default_rng(0)), ("sketch",))
    with pytest.raises(InputError, match=message):
        choose([run], rule, target, method)


def bare(tmp_path, method="dmg", targets=("sketch",), seed=0, run=None, **settings):
    return record(tmp_path, predictions_of(targets, np.random.default_rng(0)), targets, method, seed, run, **settings)


def test_variants_are_told_by_what_differs_within_a_method(tmp_path):
    records = [
        bare(tmp_path, overlap_weight=0.01, run={"clip": 1.0}),
        bare(tmp_path, overlap_weight=0.1),
        bare(tmp_path, "aggregate", run={"lr": 1e-3}),
        bare(tmp_path, overlap_weight=0.01, targets=("art",), seed=3),
    ]
    found = variants(records)
    assert [variant.label for variant in found] == [
        "dmg, overlap_weight 0.01",
        "dmg, overlap_weight 0.1",
        "dmg, clip 1, overlap_weight 0.01",
        "aggregate",
    ]
    assert found[0].settings == {"clip": None, "method.overlap_weight": 0.01}
    assert found[3].settings == {}
    assert [len(variant.records) for variant in found] == [1, 1, 1, 1]
    assert found[0].holding_out(["art"]) == (records[3],)
    assert found[0].holding_out(["sketch"]) == ()


def test_what_decides_nothing_makes_no_variant(tmp_path):
    other = {"workers": 3, "device": "cpu", "devices": 2, "checkpoint_every": 5, "verify": False, "root": "/elsewhere"}
    other |= {"domain_classifier": False, "calibrate": True, "threads": 1, "plugin": ["my_methods"], "cache": "disk"}
    other |= {"recipe": "paper", "logger": ["tensorboard", "mlflow"]}
    assert {*other, "dataset"} == NOT_COMPUTED
    records = [bare(tmp_path), bare(tmp_path, seed=1, run=other), bare(tmp_path, seed=1)]
    (variant,) = variants(records)
    assert variant.label == "dmg"
    assert variant.records == tuple(records[:2]), "a copy must not count as another seed"


def test_settings_that_an_older_run_did_not_know_were_at_their_default(tmp_path):
    old = bare(tmp_path, seed=1)
    lean = {name: value for name, value in old.config.items() if name not in ("views", "clip")}
    assert len(variants([bare(tmp_path), replace(old, config=lean)])) == 1
    assert len(variants([bare(tmp_path, average="logits"), bare(tmp_path)])) == 1
    other = variants([bare(tmp_path, average="probabilities"), bare(tmp_path)])
    assert [variant.label for variant in other] == ["dmg, average logits", "dmg, average probabilities"]
    unknown = [bare(tmp_path, "of somebody"), bare(tmp_path, "of somebody", strength=1)]
    assert [variant.label for variant in variants(unknown)] == ["of somebody", "of somebody, strength 1"]


def test_lists_truths_and_long_numbers_in_a_label(tmp_path):
    records = [
        bare(tmp_path, run={"sites": ["fc", "layer4"], "fast": True, "lr": 0.12345678}),
        bare(tmp_path, run={"lr": 0.12345679}),
    ]
    assert [variant.label for variant in variants(records)] == [
        "dmg, lr 0.12345679, fast false",
        "dmg, sites fc layer4, lr 0.12345678, fast true",
    ]


def test_runs_of_several_datasets_are_refused(tmp_path):
    run = bare(tmp_path)
    with pytest.raises(InputError, match="expected the runs of one dataset, got pacs, digits"):
        variants([run, replace(run, results=run.results.model_copy(update={"dataset": "digits"}))])
    assert variants([]) == ()
    assert selected([]) == []
