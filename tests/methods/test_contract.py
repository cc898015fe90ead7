import pytest

from domain_masks.errors import InputError
from domain_masks.methods import METHODS
from domain_masks.methods.method_registry import method_class
from domain_masks.methods.settings import method_settings
from methods import contract
from methods.contract_runs import RUN_CHECKS
from methods.expected import EXPECTED


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", METHODS)
def test_contract(name, check):
    check(contract.built(name))


@pytest.mark.parametrize("check", RUN_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", METHODS)
def test_contract_in_runs(name, check):
    check(name)


def test_every_method_is_known_by_its_name_and_nothing_is_expected_of_others():
    assert all(METHODS[name].name == name for name in METHODS)
    assert set(EXPECTED) <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_equal_seeds_are_equal_methods(name):
    first, second, other = contract.built(name), contract.built(name), contract.built(name, seed=1)
    state, twin, different = (method.state_dict() for method in (first, second, other))
    assert all(state[key].equal(twin[key]) for key in state)
    assert any(not state[key].equal(different[key]) for key in state)


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_setting_is_named(name):
    with pytest.raises(InputError, match=r"method\.no_such: there is no such setting"):
        method_settings(name, {"no_such": 1})


@pytest.mark.parametrize("name", METHODS)
def test_defaults_are_settings(name):
    assert isinstance(method_settings(name, {}), METHODS[name].Settings)


def test_a_misspelt_setting_gets_a_suggestion():
    with pytest.raises(InputError, match=r"method\.overlap_wieght: .* did you mean method\.overlap_weight"):
        method_settings("dmg", {"overlap_wieght": 0.1})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("overlap_weight", -0.1),
        ("overlap_weight", float("nan")),
        ("overlap_weight", float("inf")),
        ("overlap_weight", "much"),
        ("overlap_epsilon", -1e-6),
        ("sparsity_weight", float("nan")),
        ("overlap_reduction", "max"),
        ("classification_reduction", "none"),
        ("initialisation", "normal"),
        ("initialisation", float("nan")),
        ("average", "votes"),
        ("validation", "hard"),
        ("dropout", "perhaps"),
        ("masks", "random"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(setting, value):
    with pytest.raises(InputError) as caught:
        method_settings("dmg", {setting: value})
    assert str(caught.value).startswith(f"method.{setting}: ")
    assert f"got {value!r}" in str(caught.value)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(InputError) as caught:
        method_settings("dmg", {"overlap_weight": -1, "sparsity_weight": -2, "no_such": 0})
    for name in ("method.overlap_weight", "method.sparsity_weight", "method.no_such"):
        assert name in str(caught.value)


def test_an_unknown_method_is_named_with_a_suggestion():
    with pytest.raises(InputError, match=r"unknown method 'dgm': expected one of dmg, .* Did you mean 'dmg'"):
        method_class("dgm")
