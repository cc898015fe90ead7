import shutil

from domain_masks.evaluation import accuracies
from domain_masks.records import Predictions, Results, RunFolder
from domain_masks.records.collection import collect
from domain_masks.report.runs.accuracies import overall, summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.accuracy_tables import ensembles, side_by_side
from domain_masks.report.tables.findings import findings
from domain_masks.report.tables.footnotes import ONE_SEED
from report.made_runs import DOMAINS, PAPER_CONFIG, make_benchmark, make_run


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_a_line_of_one_seed_among_others_of_several_says_so(tmp_path):
    make_benchmark(tmp_path / "two", {"aggregate": 0.6}, [0, 1])
    make_benchmark(tmp_path / "one", {"dmg": 0.8}, [0])
    (group,) = groups_of(collect([tmp_path]).runs)
    notes = side_by_side(group, summary(group)).notes
    assert any(note.startswith("No ± for dmg: only one seed") for note in notes)
    (finding,) = findings(group, []).iloc[:1]["here"]
    assert "(only seed 0)" in finding


def test_seeds_without_every_domain_leave_no_overall_and_say_why(tmp_path):
    for seed, target in enumerate(DOMAINS):
        make_run(tmp_path / target, "dmg", target, seed, 0.7)
    make_benchmark(tmp_path / "a", {"aggregate": 0.6}, [0, 1])
    (group,) = groups_of(collect([tmp_path]).runs)
    notes = side_by_side(group, summary(group)).notes
    assert any(note.startswith("No overall for dmg: no single seed") for note in notes)


def test_the_seeds_of_an_overall_are_named_where_others_lack_a_domain(tmp_path):
    out = make_benchmark(tmp_path, {"dmg": 0.8, "aggregate": 0.6}, [0, 1, 2])
    shutil.rmtree(out / "dmg" / "target-0" / "seed-2")
    (group,) = groups_of(collect([out]).runs)
    notes = side_by_side(group, summary(group)).notes
    assert [note.split(";")[0] for note in notes if note.startswith("Overall of")] == [
        "Overall of dmg, its ± and its differences: seeds 0, 1 alone"
    ]


def test_an_ensemble_that_some_runs_lack_is_named(tmp_path):
    out = make_benchmark(tmp_path, {"dmg": 0.8}, [0])
    folder = RunFolder(out / "dmg" / "target-0" / "seed-0")
    made = Predictions.load(folder.predictions)
    logits = {**made.logits, "weighted": made.logits["predictions"]}
    more = Predictions(
        made.ids, made.labels, made.domains, made.domain_names, made.splits, logits, made.classes, made.sources
    )
    more.save(folder.predictions)
    results = Results.read(folder.results)
    found = accuracies(more, "all")
    measures = {name: found[name] for name in ("out_of_domain", "in_domain")}
    results.model_copy(update=measures).write(folder.results)
    (group,) = groups_of(collect([out]).runs)
    notes = ensembles(group, summary(group)).notes
    assert any(note.startswith("weighted: 1 of 4 runs of dmg have it") for note in notes)


def test_a_single_seed_has_no_deviation_and_says_why(tmp_path):
    (group,) = groups_of(collect([make_benchmark(tmp_path, seeds=[3])]).runs)
    table = side_by_side(group, summary(group))
    assert ONE_SEED in table.notes
    assert not any("±" in cell.text for row in table.rows for cell in row)


def test_no_overall_where_a_domain_is_missing(tmp_path):
    make_benchmark(tmp_path, {"dmg": 0.8}, [0])
    make_run(tmp_path / "one", "aggregate", "photo", 0, 0.6)
    (group,) = groups_of(collect([tmp_path]).runs)
    assert list(overall(summary(group))["method"]) == ["dmg"]
    assert any("not every domain" in note for note in side_by_side(group, summary(group)).notes)


def test_settings_that_are_defaults_of_a_method_are_named(tmp_path):
    balanced = {**PAPER_CONFIG, "sampling": "balanced"}
    make_benchmark(tmp_path, {"aggregate": 0.6, "mldg": 0.7}, [0], config=balanced)
    named = [
        (line.label, note)
        for group in groups_of(collect([tmp_path]).runs)
        for line in group.lines
        for note in side_by_side(group, summary(group)).notes
        if "defaults of the method" in note
    ]
    own = "Run with defaults of the method instead of the usual ones: mldg (sampling balanced)."
    assert named == [("mldg", own)]
