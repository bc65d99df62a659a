"""Write the lock files of the image from its `.in` files: `python image/relock.py [--upgrade] [--check]`.

One resolution covers ComfyUI, its browser side and the nodes of every preset, so any set of presets installs on top of
the same ComfyUI layer without changing a version in it. A lock holds only what it adds to the layers below it (torch,
then ComfyUI) and is installed with `--no-deps`. Locked versions stay as they are unless `--upgrade` is given.
`--check` writes nothing and exits 1 when a file would change. Needs `uv` on PATH (or in `UV`) and a package index.
"""

# ruff: noqa: T201 -- a command: what it prints is its answer
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON_VERSION = "3.12"
"""Ubuntu 24.04's own."""
PLATFORM = "x86_64-manylinux_2_39"
"""Ubuntu 24.04 has glibc 2.39."""
LAYERS = ["torch", "comfyui"]
"""Each is installed on top of the one before; every other set on top of both."""
BUILDER = "builder"
TIMEOUT_S = 600


def main() -> int:
    """Exit code: 0 when every lock file is as it should be, 1 when `--check` found one that is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions the .in files allow")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a lock file is out of date")
    options = parser.parse_args()
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


def lock_all(folder: Path, upgrade: bool) -> list[Path]:
    """Write every lock file into `folder`."""
    parts = sorted(path.stem for path in HERE.glob("*.in") if path.stem not in (*LAYERS, BUILDER))
    together = folder / "together.txt"
    if not upgrade:
        # uv keeps the versions that its output file already names.
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
    """The packages a lock file pins, in its order."""
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
