"""The lock files: every package by hash, one version of each, and the CUDA that the base image has."""

import json
import re
from pathlib import Path

import pytest

from image.places import IMAGE, LOCKS, ROOT, WORKER, pins, read_dockerfile

LAYERS = ["torch", "comfyui"]
SETS = [path.stem for path in LOCKS if path.stem not in (*LAYERS, "builder")]


def normal(name: str) -> str:
    """A package's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(path: Path) -> list[str]:
    """The packages of an .in file."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return [normal(re.split(r"[\[<>=~!; ]", line)[0]) for line in lines if line]


@pytest.mark.parametrize("lock", [*LOCKS, WORKER / "requirements.lock"], ids=lambda path: path.name)
def test_every_package_has_one_version_and_a_hash(lock: Path) -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n(?:\s*#.*\n)*", "", lock.read_text()))
    assert entries
    for entry in entries:
        first, *rest = entry.rstrip().splitlines()
        assert re.match(r"[A-Za-z0-9._-]+==[^ ]+ ", first), first
        hashes = [line for line in rest if not line.lstrip().startswith("#")]
        assert hashes, first
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes), first


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_lock_has_the_packages_of_its_input(path: Path) -> None:
    here = {normal(name) for name in pins(path)}
    layers = LAYERS[:1] if path.stem in LAYERS else LAYERS
    below = {normal(name) for layer in layers for name in pins(IMAGE / f"{layer}.lock")}
    assert [name for name in wanted(path.with_suffix(".in")) if name not in here | below] == []


def test_every_input_is_locked() -> None:
    assert sorted(path.stem for path in IMAGE.glob("*.in")) == sorted(path.stem for path in LOCKS)


def test_preset_adds_packages_and_changes_none_of_its_layers() -> None:
    torch, comfyui = (set(pins(IMAGE / f"{layer}.lock")) for layer in LAYERS)
    assert torch & comfyui == set()
    for name in SETS:
        assert set(pins(IMAGE / f"{name}.lock")) & (torch | comfyui) == set(), name


def test_all_presets_agree_on_every_version() -> None:
    versions: dict[str, set[str]] = {}
    for name in SETS:
        for package, version in pins(IMAGE / f"{name}.lock").items():
            versions.setdefault(package, set()).add(version)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}


def test_only_one_opencv_is_installed() -> None:
    excluded = {line for line in (IMAGE / "excludes.txt").read_text().splitlines() if not line.startswith("#")}
    for lock in LOCKS:
        packages = set(pins(lock))
        assert packages & excluded == set(), lock.name
        assert {name for name in packages if "opencv" in name} <= {"opencv-contrib-python-headless"}, lock.name


def test_torch_is_built_for_the_cuda_of_the_base_image() -> None:
    toolkit = pins(IMAGE / "torch.lock")["cuda-toolkit"].split(".")
    base = read_dockerfile().arguments["CUDA_VERSION"].split(".")
    assert toolkit[:2] == base[:2]


def test_no_package_is_for_another_cuda() -> None:
    everything = {name for lock in LOCKS for name in pins(lock)}
    other = {name for name in everything if re.search(r"-cu(da)?1[0-24-9]x?\b", name)}
    assert other == set()
    assert any(name.endswith("-cu13") for name in everything)


def test_runpod_files_request_machines_of_this_cuda_or_newer() -> None:
    least = tuple(map(int, read_dockerfile().arguments["CUDA_VERSION"].split(".")[:2]))
    for name in ("hub.json", "tests.json"):
        allowed = json.loads((ROOT / ".runpod" / name).read_text())["config"]["allowedCudaVersions"]
        versions = [tuple(map(int, version.split("."))) for version in allowed]
        assert min(versions) == least


def test_locks_name_no_index() -> None:
    for lock in LOCKS:
        assert "://" not in lock.read_text(), lock.name
