from domain_masks.report.document import Section
from domain_masks.report.tables.run_tables import runs_section
from domain_masks.report.tables.table import Table


def test_every_run_is_called_by_its_setting(swept):
    section = runs_section(swept)
    titles = [block.title for block in section.blocks if isinstance(block, Section)]
    assert len(set(titles)) == len(titles) == len(swept.runs)
    assert "dmg, overlap_weight 0.001, sketch held out, seed 0" in titles
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert set(table.frame["setting"]) == {f"dmg, overlap_weight {value}" for value in ("0", "0.001", "1")}
    assert set(table.frame["method"]) == {"dmg"}
