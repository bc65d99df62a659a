"""Writes the lock files of the image from its `.in` files: `python image/relock.py [--upgrade] [--check]`.
Move to another ComfyUI first: `python image/relock.py --comfyui COMMIT [--from URL-OR-FOLDER] [--read]`.

One resolution covers ComfyUI, its browser side and the nodes of every preset, so any set of presets installs on top of
the same ComfyUI layer without changing a version in it. A lock holds only what it adds to the layers below it (torch,
then ComfyUI) and is installed with `--no-deps`. Locked versions stay as they are unless `--upgrade` is given.
`--check` writes nothing and exits 1 when a file would change. Needs `uv` on PATH (or in `UV`) and a package index.

`--comfyui` reads that commit with git, and writes nothing if it lacks a flag or route that the worker uses. Otherwise
it pins the commit, writes the locks, and prints the changes in the functions that our code relies on (`watched.toml`)
and the open steps (`checklist.py`). `--read` marks the changes as read.
"""

# ruff: noqa: T201 -- a command that prints its result
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checklist import left
from pin import Repository, move
from tree import Tree, TreeError, changed, missing, note_read, read_watched, tree_of, worker_uses

HERE = Path(__file__).resolve().parent
PYTHON_VERSION = "3.12"
"""The version in Ubuntu 24.04."""
PLATFORM = "x86_64-manylinux_2_39"
"""Ubuntu 24.04 has glibc 2.39."""
LAYERS = ["torch", "comfyui"]
"""Each layer is installed on top of the one before, and every other set on top of both."""
BUILDER = "builder"
COMFYUI = "https://github.com/Comfy-Org/ComfyUI"
REPOSITORY = Repository(HERE.parents[1])
TIMEOUT_S = 600


def main() -> int:
    """Exit code: 0 if every lock file is up to date or was written, 1 if `--check` found an outdated one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions the .in files allow")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a lock file is out of date")
    parser.add_argument("--comfyui", metavar="COMMIT", help="pin this commit of ComfyUI")
    parser.add_argument("--from", dest="source", default=COMFYUI, help="where that commit is (default: %(default)s)")
    parser.add_argument("--read", action="store_true", help="with --comfyui: mark the changes as read")
    options = parser.parse_args()
    if options.comfyui is not None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                tree = tree_of(options.source, options.comfyui, Path(folder))
                if not move_to(tree, REPOSITORY, read=options.read):
                    return 1
            except TreeError as error:
                print(f"relock: {error}", file=sys.stderr)
                return 1
    with tempfile.TemporaryDirectory() as folder:
        try:
            written = lock_all(Path(folder), upgrade=options.upgrade)
        except subprocess.CalledProcessError:
            return 1  # uv has said why
        stale = [path.name for path in written if not _same(path, HERE / path.name)]
        if options.check:
            for name in stale:
                print(f"{name}: out of date; run image/relock.py")
            return 1 if stale else 0
        for name in stale:
            shutil.copyfile(Path(folder) / name, HERE / name)
            print(f"{name}: written")
    return 0


def move_to(tree: Tree, repository: Repository, read: bool) -> bool:
    """Pin this tree and print the open steps. False, with nothing written, if the worker cannot work with it. Raises
    `TreeError`."""
    version = tree.version
    lacking = missing(tree, *worker_uses(repository.root / "worker-gpu" / "src" / "worker_gpu"))
    if lacking:
        print(f"ComfyUI {version} lacks what the worker uses: {', '.join(lacking)}. Nothing was changed.")
        return False
    watched = repository.image / "watched.toml"
    differing = changed(tree, read_watched(watched)[1])
    for each, now in differing:
        print(f"{'gone' if now is None else 'differs'}: {each.file} {each.name}\n  {each.why} Used by {each.used_by}.")
    notes = move(repository, version, tree.commit, tree.text("requirements.txt"))
    if not tree.is_release:
        notes.append(
            f"{tree.commit} is a commit after the release {version}: prefer a release, which was tried as such."
        )
    if read or not differing:
        note_read(watched, version, differing)
    print(f"ComfyUI {version} is pinned. Left to do:")
    for line in [*notes, *(f"{item.what}\n    {item.how}" for item in left(repository, version))]:
        print(f"  - {line}")
    return True


def lock_all(folder: Path, upgrade: bool) -> list[Path]:
    """Write every lock file into `folder`."""
    parts = sorted(path.stem for path in HERE.glob("*.in") if path.stem not in (*LAYERS, BUILDER))
    together = folder / "together.txt"
    if not upgrade:
        # uv keeps the versions in an existing output file.
        known = [HERE / f"{name}.lock" for name in (*LAYERS, *parts)]
        together.write_text("\n".join(path.read_text() for path in known if path.exists()))
    _compile([*LAYERS, *parts], together, [])
    written: list[Path] = []
    below: list[str] = []
    without: list[str] = []

    def lock(name: str) -> Path:
        path = folder / f"{name}.lock"
        _compile([*below, name], path, ["--constraints", str(together), "--generate-hashes", *without])
        written.append(path)
        return path

    for layer in LAYERS:
        path = lock(layer)
        below.append(layer)
        without += [flag for name in names(path.read_text()) for flag in ("--no-emit-package", name)]
    for part in parts:
        lock(part)
    builder = folder / f"{BUILDER}.lock"
    _compile([BUILDER], builder, ["--generate-hashes"])
    return [*written, builder]


def names(lock: str) -> list[str]:
    """The packages that a lock file pins, in order."""
    return [line.split("==")[0] for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]


def _compile(inputs: list[str], output: Path, flags: list[str]) -> None:
    command = [
        *(os.environ.get("UV", "uv"), "pip", "compile", "--quiet", "--no-annotate"),
        *("--custom-compile-command", "python worker-gpu/image/relock.py"),
        *("--python-version", PYTHON_VERSION, "--python-platform", PLATFORM),
        *("--excludes", "excludes.txt", "--output-file", str(output)),
        *flags,
        *(f"{name}.in" for name in inputs),
    ]
    subprocess.run(command, cwd=HERE, check=True, timeout=TIMEOUT_S, stdout=subprocess.DEVNULL)  # noqa: S603


def _same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
