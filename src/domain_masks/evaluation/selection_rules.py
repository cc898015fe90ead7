"""The names of the rules that choose among settings; see :mod:`domain_masks.evaluation.selection`."""

from __future__ import annotations

from collections.abc import Mapping

SOURCE_VALIDATION = "source-validation"
LEAVE_ONE_DOMAIN_OUT = "leave-one-domain-out"
ORACLE = "oracle"
SELECTION_RULES: tuple[str, ...] = (SOURCE_VALIDATION, LEAVE_ONE_DOMAIN_OUT, ORACLE)
"""The first is the default; the last uses labels of the held-out domain and must be requested by name."""
RULES_IN_WORDS: Mapping[str, str] = {
    SOURCE_VALIDATION: "highest mean accuracy on the sources' validation images",
    LEAVE_ONE_DOMAIN_OUT: "highest mean accuracy on each source, of runs that hold it out together with the target",
    ORACLE: "highest accuracy on the held-out domain itself, whose labels are used",
}
