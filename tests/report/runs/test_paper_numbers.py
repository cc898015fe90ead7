import pytest

from domain_masks.records.results import OVERALL
from domain_masks.report.runs.paper_numbers import CAPTIONS, accuracy_numbers, mask_numbers, paper_number


def test_all_printed_numbers_are_there():
    assert (len(accuracy_numbers()), len(mask_numbers())) == (592, 72)
    assert {number.table for number in accuracy_numbers()} | {4} == set(CAPTIONS)


def test_every_overall_is_the_mean_of_its_row_but_for_the_misprint():
    rows = {}
    for number in accuracy_numbers():
        key = (number.table, number.dataset, number.backbone, number.shown, number.measure, number.ensemble)
        rows.setdefault(key, {})[number.target] = number.accuracy
    wrong = set()
    for key, row in rows.items():
        values = [value for target, value in row.items() if target != OVERALL]
        if OVERALL in row and abs(sum(values) / len(values) - row[OVERALL]) > 6e-4:
            wrong.add((key[2], key[3], row[OVERALL]))
    assert wrong == {("resnet18", "Aggregate (reported in [29])", 0.791)}


@pytest.mark.parametrize(
    ("wanted", "printed"),
    [
        (("pacs", "resnet18", "dmg", "adam", "out_of_domain", "predictions", "overall"), 0.8146),
        (("pacs", "resnet18", "aggregate", "adam", "out_of_domain", "predictions", "sketch"), 0.6520),
        (("domainnet", "alexnet", "aggregate", "sgd", "out_of_domain", "predictions", "clipart"), 0.4230),
        (("domainnet", "alexnet", "dmg", "adam", "known_domain", "predictions", "clipart"), 0.5191),
        (("domainnet", "alexnet", "dmg", "adam", "out_of_domain", "masks", "overall"), 0.3110),
        (("domainnet", "alexnet", "multi_headed", "adam", "in_domain", "predictions", "overall"), 0.5074),
    ],
)
def test_numbers_are_found_under_our_names(wanted, printed):
    found = paper_number(*wanted)
    assert found is not None
    assert found.accuracy == pytest.approx(printed)


def test_there_is_no_in_domain_number_on_pacs():
    assert paper_number("pacs", "resnet18", "dmg", "adam", "in_domain", "predictions", "overall") is None
