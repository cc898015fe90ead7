from domain_masks.report import summary_lines
from report.made_analysis import made_analysis


def test_the_summary_says_what_was_found():
    found = made_analysis()
    text = "\n".join(summary_lines(found, ("sketch",)))
    for word in ("only photo", "sketch (held out)", "IoU", "nearest", "oracle", "zeroed", "calibration error"):
        assert word in text
    own = found.mask_by_domain["known:photo"]["photo"]
    assert f"{100 * own:.2f}*" in text


def test_an_analysis_without_masks_is_told_too():
    whole = made_analysis()
    found = whole.model_copy(update=dict.fromkeys(("sites", "epochs", "ablation", "nearest_source")))
    assert "calibration error" in "\n".join(summary_lines(found, ("sketch",)))
