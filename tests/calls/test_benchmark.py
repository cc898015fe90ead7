"""``dm.benchmark``."""

from __future__ import annotations

from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.errors import InputError


def test_a_benchmark_gives_its_table(tmp_path: Path) -> None:
    settings = tmp_path / "shared.yaml"
    settings.write_text(
        "fast: true\ndevice: cpu\nworkers: 0\ntarget: paper\nmethod: {name: dmg, overlap_weight: 0.2}\n",
        encoding="utf-8",
    )

    def benchmark(**more: object) -> dm.calls.Benchmark:
        return dm.benchmark(
            config=settings, methods=["dmg", "aggregate"], targets=["ink"], out=tmp_path / "runs", quiet=True, **more
        )  # type: ignore[arg-type]

    planned = benchmark(dry_run=True)
    assert list(planned.plan["state"]) == ["pending", "pending"]
    assert not (tmp_path / "runs").exists()
    done = benchmark()
    assert done.finished == 2
    assert set(done.table["target"]) == {"ink"}
    assert list(done.summary["method"][:2]) == ["dmg", "aggregate"]
    assert (tmp_path / "runs" / "accuracies.csv").is_file()
    assert "overlap_weight: 0.2" in (tmp_path / "runs" / "benchmark.yaml").read_text(encoding="utf-8")
    assert repr(done) == f"Benchmark(2 runs, 2 finished; {tmp_path / 'runs'})"
    assert list(benchmark().plan["state"]) == ["done", "done"]


def test_wrong_settings_of_a_benchmark_are_one_message() -> None:
    with pytest.raises(InputError) as caught:
        dm.benchmark(target="ink", epochz=2, seeds=["x"], jobs=0)  # type: ignore[call-arg,list-item]
    for name in ("target: a benchmark has several: give targets", "epochz", "seeds: expected whole numbers", "jobs"):
        assert name in str(caught.value)


def test_what_only_the_command_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="print_config: only the command"):
        dm.benchmark(**{"print_config": True, "out": tmp_path / "runs"})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="print_config: there is no such setting"):
        dm.train(**{"print_config": True, "out": tmp_path / "run"})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
