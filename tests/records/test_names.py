from domain_masks.records import names

LONG = "a very long name of a domain that no axis has room for, and that goes on and on"


def test_long_names_are_shortened_in_their_middle():
    assert names.shortened("short") == "short"
    short = names.shortened(LONG)
    assert names.columns_of(short) <= names.LONGEST
    assert short.startswith("a very long")
    assert short.endswith("and on")
    wide = names.shortened("网络摄像头" * 9)
    assert names.columns_of(wide) <= names.LONGEST
