"""The input, output and temp folders: paths of their files, protection against other paths, and the next free save
name."""

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ANNOTATIONS = {"[output]": "output", "[input]": "input", "[temp]": "temp"}
"""Suffixes of a file name in a graph that name its folder."""


@dataclass(frozen=True)
class Folders:
    """The three folders ComfyUI knows by name. All are absolute."""

    input: Path
    output: Path
    temp: Path

    def named(self, name: str) -> Path | None:
        """The folder called `name` in a request (`input`, `output`, `temp`), or None."""
        return {"input": self.input, "output": self.output, "temp": self.temp}.get(name)

    def prepare(self) -> None:
        """Create missing folders. Raises `OSError`."""
        for folder in (self.input, self.output, self.temp):
            folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class SaveTarget:
    """Where the next file of a prefix goes: `folder/stem_00001_.ext`, with `counter` the first free number."""

    folder: Path
    stem: str
    counter: int
    subfolder: str

    def name(self, index: int, extension: str) -> str:
        """File name of the `index`-th file saved at once (0 first)."""
        return f"{self._start(index)}_.{extension}"

    def short_name(self, index: int, extension: str) -> str:
        """The file name without an underscore after the number, as newer nodes (audio, text) use it."""
        return f"{self._start(index)}.{extension}"

    def _start(self, index: int) -> str:
        return f"{self.stem.replace('%batch_num%', str(index))}_{self.counter + index:05}"


class OutsideFolder(ValueError):  # noqa: N818 -- becomes a node's error by this name
    """A save prefix that leads out of its folder."""


def is_inside(root: Path, path: Path) -> bool:
    """True when `path`, with links and dots resolved, is `root` or below it."""
    real_root, real_path = os.path.realpath(root), os.path.realpath(path)
    return real_path == real_root or real_path.startswith(real_root.rstrip(os.sep) + os.sep)


def is_file(path: Path) -> bool:
    """Whether a file exists; False also for a name that the file system rejects."""
    try:
        return path.is_file()
    except OSError:
        return False


def split_annotation(name: str) -> tuple[str, str | None]:
    """`("a.png", "output")` from `a.png [output]`; the folder is None where the name has no suffix."""
    for suffix, folder in ANNOTATIONS.items():
        if name.endswith(suffix):
            return name[: -len(suffix)].rstrip(" "), folder
    return name, None


def find_annotated(folders: Folders, name: str) -> Path | None:
    """The existing file that `name` in a graph refers to (default folder: input), or None. Never a file outside its
    folder."""
    plain, annotation = split_annotation(name)
    root = folders.named(annotation or "input")
    if root is None or "\0" in plain or not plain:
        return None
    path = root / plain
    return path if is_inside(root, path) and is_file(path) else None


def list_input_files(folders: Folders) -> list[str]:
    """Names of the plain files directly in the input folder, sorted."""
    if not folders.input.is_dir():
        return []
    return sorted(entry.name for entry in folders.input.iterdir() if entry.is_file())


def next_save_target(root: Path, prefix: str, now: datetime, width: int = 0, height: int = 0) -> SaveTarget:
    """Where files with `prefix` (may hold a subfolder and %year%-style words) are saved next; creates the folder.

    The counter is one above the highest `stem_<digits>_` or `stem_<digits>.` there. Raises `OutsideFolder`.
    """
    if "%" in prefix:
        words = {
            "width": str(width),
            "height": str(height),
            "year": str(now.year),
            "month": f"{now.month:02}",
            "day": f"{now.day:02}",
            "hour": f"{now.hour:02}",
            "minute": f"{now.minute:02}",
            "second": f"{now.second:02}",
        }
        for word, value in words.items():
            prefix = prefix.replace(f"%{word}%", value)
    normal = os.path.normpath(prefix)
    subfolder, stem = os.path.split(normal)
    folder = root / subfolder
    if "\0" in prefix or not is_inside(root, folder) or not is_inside(root, root / normal):
        raise OutsideFolder(
            f"**** ERROR: Saving image outside the output folder is not allowed.\n full_output_folder: {folder}\n"
            f"         output_dir: {root}\n"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return SaveTarget(folder, stem, _highest_counter(folder, stem) + 1, subfolder)


def _highest_counter(folder: Path, stem: str) -> int:
    highest = 0
    for name in os.listdir(folder):  # noqa: PTH208 -- names only, in folders that may hold thousands
        if name.startswith(stem + "_"):
            digits = re.split(r"[_.]", name[len(stem) + 1 :])[0]
            if digits.isdecimal():
                highest = max(highest, int(digits))
    return highest
