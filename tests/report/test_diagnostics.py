from domain_masks.records import Predictions
from domain_masks.records.collection import collect
from domain_masks.report.diagnostics import diagnostics
from domain_masks.report.document import Gallery, ImageTable, Section
from domain_masks.report.figures.plots import Plot
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.table import Table
from report.made_analysis import made_analysis
from report.made_runs import make_run


def test_a_run_that_was_analyzed_is_shown_whole(tmp_path):
    run = make_run(tmp_path / "run")
    made_analysis(Predictions.load(run / "predictions.npz"), thumbnails=run).write(run / "analysis.json")
    (group,) = groups_of(collect([run]).runs)
    (section,) = diagnostics(group, gallery=True)
    assert isinstance(section, Section)
    assert section.title == "dmg, sketch held out, seed 0"
    names = [block.name.rpartition("diagnostics-1-")[2] for block in section.blocks if isinstance(block, Table | Plot)]
    features = ["features_by_domain", "features_by_class"]
    assert names == ["nearest", "probabilities", "ablation", *features, "calibration", "confusion-4", "classes"]
    galleries = [block for block in section.blocks if isinstance(block, Gallery)]
    assert galleries
    assert all(image.path.is_file() for gallery in galleries for image in gallery.images)
    tables = [block for block in section.blocks if isinstance(block, ImageTable)]
    assert [table.title for table in tables] == ["Class activation maps", "Units that differ: art_painting and cartoon"]
    without = diagnostics(group, gallery=False)[0].blocks
    assert not [block for block in without if isinstance(block, Gallery | ImageTable)]
