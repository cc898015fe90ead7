"""Fonts that have the letters of names, and what to install where there is none."""

from matplotlib import font_manager

from domain_masks.report.figures import fonts


def test_letters_are_those_of_all_texts_within():
    found = fonts.letters_of({"网": ["络", {"摄": "像"}]}, ("头", 3, None))
    assert found == frozenset("网络摄像头")


def test_a_letter_that_no_font_has_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    for cached in (fonts._installed, fonts._fallbacks):
        cached.cache_clear()
    try:
        assert fonts.families(frozenset("abc")) == [fonts.OWN]
        assert fonts.missing_note(frozenset("abcé")) == ""
        note = fonts.missing_note(frozenset("a网络ب"))
        assert "络" in note
        assert "网" in note
        assert "Noto Sans CJK" in note
    finally:
        for cached in (fonts._installed, fonts._fallbacks):
            cached.cache_clear()


def test_a_font_that_is_installed_is_found(monkeypatch):
    # Matplotlib's own font under another name: as if it alone had the letter.
    path = font_manager.findfont("DejaVu Serif")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [path])
    monkeypatch.setattr(fonts, "_has", lambda file: frozenset("网") if file == path else frozenset("abc"))
    for cached in (fonts._installed, fonts._fallbacks):
        cached.cache_clear()
    try:
        assert fonts.families(frozenset("a网")) == [fonts.OWN, "DejaVu Serif"]
        assert fonts.missing_note(frozenset("a网")) == ""
        assert fonts.missing(frozenset("a网络")) == "络"
    finally:
        for cached in (fonts._installed, fonts._fallbacks):
            cached.cache_clear()
