"""The results of a run on the terminal: one table, and what to do next."""

from __future__ import annotations

from pathlib import Path

from domain_masks.cli.results import next_lines, result_lines, result_table
from domain_masks.records import Accuracies, Results, RunFolder
from report.made_runs import make_run


def made(tmp_path: Path) -> Results:
    return Results.read(RunFolder(make_run(tmp_path / "run")).results)


def test_the_accuracies_are_one_table_with_the_numbers_of_images(tmp_path: Path) -> None:
    results = made(tmp_path)
    lines = list(result_table(results))
    assert lines[0] == "accuracy in % (images)"
    header = lines[1].split()
    assert header[0] == "mean"
    assert header[-1] == "split"
    domains = [*results.sources, *results.targets]
    assert sorted(header[1:-1]) == sorted(domains)
    row = next(line for line in lines if line.startswith("out of domain"))
    assert f"{100 * results.out_of_domain.accuracy:.2f}" in row


def test_many_domains_have_a_line_per_measure(tmp_path: Path) -> None:
    results = made(tmp_path)
    many = {f"domain {number}": 0.5 for number in range(9)}
    wide = results.model_copy(update={"in_domain": Accuracies(split="test", accuracy=0.5, per_domain=many)})
    assert list(result_table(wide)) == list(result_lines(wide))


def test_the_next_commands_name_the_folder(tmp_path: Path) -> None:
    lines = list(next_lines(made(tmp_path), Path("runs/a b")))
    assert lines[0].startswith("next: dmg report 'runs/a b'")
    assert all("'runs/a b'" in line for line in lines)
