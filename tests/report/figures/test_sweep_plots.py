import pytest

from domain_masks.report.figures.sweep_plots import axis, short


def test_zero_has_its_own_place_on_a_logarithmic_axis():
    places, ticks = axis([0.0, 1e-5, 1e-4, 1e-1, 1.0])
    assert places[1e-4] - places[1e-5] == pytest.approx(1.0)
    assert places[0.0] <= places[1e-5] - 1
    assert [label for _, label in ticks] == ["0", "1e-5", "1e-4", "0.1", "1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-3, "1e-3"),
        (0.01, "0.01"),
        (0.0123, "0.0123"),
        (-5e-4, "-5e-4"),
        (1 / 3, "0.333333"),
        (1e5, "1e5"),
    ],
)
def test_numbers_under_an_axis_are_short(value, text):
    assert short(value) == text
