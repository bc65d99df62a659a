"""A ComfyUI at one commit: its files, and the functions that our code relies on."""

import ast
import hashlib
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMIT = re.compile(r"[0-9a-f]{40}")
GIT_TIMEOUT_S = 600
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class TreeError(Exception):
    """A tree cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Tree:
    """The files of `commit` in the git repository `folder`."""

    folder: Path
    commit: str

    def text(self, path: str) -> str:
        """A file's text. Raises `TreeError`."""
        return _git(self.folder, "show", f"{self.commit}:{path}")

    @property
    def version(self) -> str:
        """The version in `comfyui_version.py`. Raises `TreeError`."""
        found = re.search(r'^__version__ = "([0-9.]+)"$', self.text("comfyui_version.py"), re.MULTILINE)
        if found is None:
            raise TreeError("comfyui_version.py states no version.")
        return found[1]

    @property
    def is_release(self) -> bool:
        """Whether the commit is a release: its subject is `ComfyUI vX`."""
        return _git(self.folder, "log", "-1", "--format=%s", self.commit).strip() == f"ComfyUI v{self.version}"


@dataclass(frozen=True)
class Watched:
    """A function or class that `used_by` relies on, with the hash of its source at the pinned commit."""

    file: str
    name: str
    sha256: str
    used_by: str
    why: str


def tree_of(source: str, commit: str, into: Path) -> Tree:
    """The tree at `commit` of `source`, a repository's URL or folder. A URL is fetched into `into`. Raises
    `TreeError`."""
    if not COMMIT.fullmatch(commit):
        raise TreeError(f"{commit!r} is not a whole commit; give its 40 hex digits.")
    if Path(source).is_dir():
        folder = Path(source)
    else:
        folder = into
        _git(folder, "init", "--quiet")
        _git(folder, "fetch", "--quiet", "--depth=1", "--no-tags", source, commit)
    if _git(folder, "rev-parse", f"{commit}^{{commit}}").strip() != commit:
        raise TreeError(f"{source} answered another commit than {commit}.")
    return Tree(folder, commit)


def read_watched(path: Path = HERE / "watched.toml") -> tuple[str, list[Watched]]:
    """The version of the last comparison, and the watched functions."""
    read = tomllib.loads(path.read_text())
    return str(read["version"]), [Watched(**entry) for entry in read["watched"]]


def source_hash(text: str, name: str) -> str | None:
    """Hash of the lines of the function or class `name` (`Class.method`, `Class.method.inner`) in a file's text; None
    if it does not exist."""
    found: ast.AST | None = ast.parse(text)
    for part in name.split("."):
        inner = [node for node in ast.walk(found) if isinstance(node, DEFINITIONS)] if found is not None else []
        found = next((node for node in inner if node.name == part), None)
    if not isinstance(found, DEFINITIONS):
        return None
    lines = text.splitlines()[found.lineno - 1 : found.end_lineno]
    return hashlib.sha256("\n".join(line.rstrip() for line in lines).encode()).hexdigest()


def changed(tree: Tree, watched: list[Watched]) -> list[tuple[Watched, str | None]]:
    """Functions that differ from their hashes in this tree, with the new hash; None if removed. Raises `TreeError`."""
    texts: dict[str, str] = {}
    found: list[tuple[Watched, str | None]] = []
    for each in watched:
        if each.file not in texts:
            try:
                texts[each.file] = tree.text(each.file)
            except TreeError:
                texts[each.file] = ""
        now = source_hash(texts[each.file], each.name)
        if now != each.sha256:
            found.append((each, now))
    return found


def note_read(path: Path, version: str, differing: list[tuple[Watched, str | None]]) -> None:
    """Store the new hashes and the version. Removed functions must be deleted from the file by hand."""
    text = re.sub(r'^version = ".*"$', f'version = "{version}"', path.read_text(), flags=re.MULTILINE)
    for each, now in differing:
        if now is not None:
            text = text.replace(each.sha256, now)
    path.write_text(text)


def missing(tree: Tree, flags: set[str], routes: set[str]) -> list[str]:
    """Command-line flags and HTTP routes that the worker uses and this tree lacks. Raises `TreeError`."""
    arguments, server = tree.text("comfy/cli_args.py"), tree.text("server.py")
    return [
        *(flag for flag in sorted(flags) if f'"{flag}"' not in arguments),
        *sorted(routes - {_plain(route) for route in re.findall(r'["\'](/[a-z_/{}]+)["\']', server)}),
    ]


def worker_uses(source: Path) -> tuple[set[str], set[str]]:
    """The flags that the worker starts ComfyUI with, and the routes that it calls, from the source of the worker."""
    flags: set[str] = set()
    for path in (source / "lifecycle/comfyui.py", source / "settings.py"):
        flags |= set(re.findall(r'"(--[a-z][a-z-]+)"', path.read_text()))
    client = (source / "comfy" / "client.py").read_text()
    routes = set(re.findall(r'"(/[a-z_/{}]+)', client))
    return flags, {_plain(route) for route in routes}


def _plain(route: str) -> str:
    """A route without its optional prefix and without the names of its parameters."""
    return re.sub(r"\{[a-z_]+\}", "{}", route).removeprefix("/api")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)  # noqa: S603
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [str(done.returncode)]
        raise TreeError(f"git {' '.join(arguments[:2])}: {last[0]}")
    return done.stdout
