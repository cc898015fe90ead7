"""What the tests of many runs share: a small dataset, and plans on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import generated
from domain_masks.experiments import leave_one_out


@pytest.fixture(scope="package")
def data() -> Any:
    return generated.dataset(per_class=10)


@pytest.fixture
def plan(data: Any, tmp_path: Path) -> Any:
    """Return a function that plans runs of two batches; any setting may be given, and the lists of a benchmark."""

    def planned(out: Path | None = None, **changes: Any) -> Any:
        lists = {"methods": ["dmg", "aggregate"], "targets": [], "seeds": [0]}
        given = {name: changes.pop(name, default) for name, default in lists.items()}
        varied = {name: changes.pop(name) for name in ("sweep", "variants") if name in changes}
        base = generated.config(**{"target": None, "fast": True, **changes})
        return leave_one_out(base, data, **given, out=out or tmp_path, varied=varied)

    return planned
