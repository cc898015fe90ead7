from domain_masks.records.counts import counted, listed


def test_numbers_have_their_nouns():
    assert [counted(number, "image") for number in (0, 1, 1204)] == ["0 images", "1 image", "1,204 images"]
    assert [counted(number, "class", "classes") for number in (1, 2)] == ["1 class", "2 classes"]


def test_names_are_listed_as_in_a_sentence():
    assert [listed(["a", "b", "c"][:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
