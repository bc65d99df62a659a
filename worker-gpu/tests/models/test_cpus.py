"""The number of CPUs is that of the container, not of the machine."""

import os
from pathlib import Path

import pytest

from worker_gpu.models.cpus import usable_cpus


def may_run_on(cpus: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def affinity(_: int) -> set[int]:
        return cpus

    monkeypatch.setattr(os, "sched_getaffinity", affinity)


@pytest.fixture(autouse=True)
def a_big_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    may_run_on(set(range(128)), monkeypatch)


def v1(cgroup: Path, quota: str, period: str) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("said", "cpus"),
    [
        ("800000 100000", 8),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("max 100000", 128),
        ("99999999 100000", 128),
        ("nonsense", 128),
        ("100000 0", 128),
        ("", 128),
    ],
)
def test_container_quota_limits_the_cpus(tmp_path: Path, said: str, cpus: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{said}\n")
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("600000", 6), ("-1", 128)])
def test_cgroup_v1_quota_limits_the_cpus(tmp_path: Path, quota: str, cpus: int) -> None:
    v1(tmp_path, quota, "100000")
    assert usable_cpus(tmp_path) == cpus


def test_cpu_affinity_limits_the_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("800000 100000\n")
    may_run_on({4, 5, 6}, monkeypatch)
    assert usable_cpus(tmp_path) == 3


def test_missing_quota_does_not_limit_the_cpus(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == 128
