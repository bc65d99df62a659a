"""Fetches sources at exact commits. Runs only in build stages, with git and the standard library.

    fetch.py one URL COMMIT INTO                one repository
    fetch.py nodes NAMES INTO RECORD            the custom nodes of the presets in NAMES ("video,easy"; "all"; "")
    fetch.py locks NAMES                        the lock files of these presets, one a line

The name of a commit is a hash of its content, so fetching a commit and comparing the name pins the content. No tag,
branch or archive is trusted. History and `.git` are removed. RECORD is a JSON list of the fetched nodes.
"""

# ruff: noqa: T201 -- a command that prints its result
import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMIT = re.compile(r"[0-9a-f]{40}")
GIT_TIMEOUT_S = 600
ANYONE_WRITES = 0o777
"""The container has root and one user, who must be able to write to the folder."""


class BadSource(Exception):  # noqa: N818 -- a message for the user
    """A source differs from the lock file; the message names it."""


@dataclass(frozen=True)
class Source:
    """A repository at one commit."""

    url: str
    commit: str


@dataclass(frozen=True)
class Node:
    """A custom node: the name of its folder, its source, its submodules by path, and the folders that it writes to."""

    name: str
    source: Source
    licence: str
    submodules: dict[str, Source]
    writes: list[str]


def main() -> int:
    """Exit code: 0, or 1 with one line on stderr if a source cannot be fetched as pinned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("one")
    one.add_argument("url")
    one.add_argument("commit")
    one.add_argument("into", type=Path)
    nodes = commands.add_parser("nodes")
    nodes.add_argument("names")
    nodes.add_argument("into", type=Path)
    nodes.add_argument("record", type=Path)
    locks = commands.add_parser("locks")
    locks.add_argument("names")
    for command in (nodes, locks):
        command.add_argument("--lock", type=Path, default=HERE / "nodes.lock")
        command.add_argument("--presets", type=Path, default=HERE / "presets.toml")
    options = parser.parse_args()
    try:
        if options.command == "one":
            fetch(Source(options.url, options.commit), options.into)
            drop_git(options.into)
            return 0
        presets = select_presets(read_presets(options.presets), options.names)
        if options.command == "locks":
            for name in presets:
                print(f"nodes-{name}.lock")
            return 0
        fetch_nodes(read_nodes(options.lock), presets, options.into, options.record)
    except BadSource as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 1
    return 0


def read_nodes(path: Path) -> dict[str, Node]:
    """The nodes of a `nodes.lock`, by name. Raises `BadSource`."""
    nodes: dict[str, Node] = {}
    for entry in tomllib.loads(path.read_text())["nodes"]:
        name = str(entry["name"])
        if name in nodes or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise BadSource(f"{path.name}: {name!r} is a duplicate or not a valid folder name")
        submodules = {str(sub["path"]): _source(sub, name) for sub in entry.get("submodules", [])}
        writes = [str(folder) for folder in entry.get("writes", [])]
        for inner in [*submodules, *writes]:
            if inner.startswith("/") or ".." in inner.split("/"):
                raise BadSource(f"{name}: {inner!r} leaves its folder")
        nodes[name] = Node(name, _source(entry, name), str(entry["licence"]), submodules, writes)
    return nodes


def read_presets(path: Path) -> dict[str, list[str]]:
    """Names of nodes by preset."""
    presets = tomllib.loads(path.read_text())
    return {name: [str(node) for node in preset["nodes"]] for name, preset in presets.items()}


def select_presets(presets: dict[str, list[str]], names: str) -> dict[str, list[str]]:
    """The presets in `names`, in the order of the file. Raises `BadSource` for an unknown preset."""
    wanted = set(presets) if names == "all" else {name.strip() for name in names.split(",") if name.strip()}
    unknown = sorted(wanted - set(presets))
    if unknown:
        raise BadSource(f"no preset {unknown[0]!r}; there are: {', '.join(presets)}")
    return {name: nodes for name, nodes in presets.items() if name in wanted}


def fetch_nodes(nodes: dict[str, Node], presets: dict[str, list[str]], into: Path, record: Path) -> None:
    """Fetch the nodes of `presets` into `into/<name>` and write the record. Raises `BadSource`."""
    into.mkdir(parents=True, exist_ok=True)
    wanted = {name for members in presets.values() for name in members}
    unknown = sorted(wanted - set(nodes))
    if unknown:
        raise BadSource(f"a preset names {unknown[0]!r}, which nodes.lock lacks")
    fetched: list[dict[str, object]] = []
    for node in nodes.values():
        if node.name not in wanted:
            continue
        folder = into / node.name
        fetch(node.source, folder)
        for path, source in node.submodules.items():
            named = _git(folder, "ls-tree", "--format=%(objecttype) %(objectname)", "HEAD", path)
            if named != f"commit {source.commit}":
                raise BadSource(f"{node.name}: its tree names another commit for {path}")
            fetch(source, folder / path)
        drop_git(folder)
        for name in node.writes:
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name).chmod(ANYONE_WRITES)
        fetched.append({"name": node.name, "url": node.source.url, "commit": node.source.commit})
    record.write_text(json.dumps(fetched, indent=1) + "\n")


def fetch(source: Source, into: Path) -> None:
    """Check the commit of `source` out into `into`, without history. Raises `BadSource`."""
    if not COMMIT.fullmatch(source.commit):
        raise BadSource(f"{source.url}: {source.commit!r} is not a whole commit")
    into.mkdir(parents=True, exist_ok=True)
    _git(into, "init", "--quiet")
    _git(into, "-c", "protocol.version=2", "fetch", "--quiet", "--depth=1", "--no-tags", source.url, source.commit)
    if _git(into, "rev-parse", "FETCH_HEAD^{commit}") != source.commit:
        raise BadSource(f"{source.url}: answered another commit than {source.commit}")
    _git(into, "-c", "advice.detachedHead=false", "checkout", "--quiet", source.commit)


def drop_git(folder: Path) -> None:
    """Remove git's own files below `folder`."""
    for found in sorted(folder.rglob(".git"), reverse=True):
        shutil.rmtree(found) if found.is_dir() else found.unlink()


def _source(entry: dict[str, object], name: str) -> Source:
    url, commit = str(entry["url"]), str(entry["commit"])
    if not COMMIT.fullmatch(commit):
        raise BadSource(f"{name}: {commit!r} is not a whole commit")
    return Source(url, commit)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)  # noqa: S603
    if done.returncode != 0:
        raise BadSource(f"{' '.join(arguments[:2])}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
