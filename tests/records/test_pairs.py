import itertools

import pytest

from domain_masks.records.pairs import pair_key, pair_of, pair_title

NAMES = ["a", "a|b", "b", "b|c", "c", "|", "\\", "\\|", "a\\", "", " ", "网络", "=x", "a\nb"]


def test_plain_names_are_joined_by_a_bar():
    assert pair_key("photo", "art") == "photo|art"
    assert pair_title("photo|art") == "photo – art"


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations([name for name in NAMES if name], 2)))
def test_every_pair_comes_back(first, second):
    assert pair_of(pair_key(first, second)) == (first, second)
    assert pair_of(pair_key(first, second), NAMES) == (first, second)


def test_no_two_pairs_have_one_key():
    pairs = list(itertools.permutations(NAMES, 2))
    assert len({pair_key(*pair) for pair in pairs}) == len(pairs)


def test_a_key_of_an_older_version_is_told_by_the_domains():
    assert pair_of("a|b|x_y", ["a|b", "x_y"]) == ("a|b", "x_y")
    assert pair_title("x_y|a|b", ["a|b", "x_y"]) == "x_y – a|b"
    assert pair_of("all") == ("all", "")
