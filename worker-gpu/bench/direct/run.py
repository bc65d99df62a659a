"""What a direct job adds to ComfyUI's own time: ours, and beside it worker-comfyui on the same ComfyUI.

    npm run bench -- direct
    <python> worker-gpu/bench/direct/run.py [--rounds 20] [--warm-up 3] [--mode own] [--mode url]

Ours alone, unless WORKER_COMFYUI_HANDLER names a checkout of github.com/runpod-workers/worker-comfyui (AGPL: it is run,
and no part of this project). It needs `runpod`, `requests` and `websocket-client` in the Python of
WORKER_COMFYUI_PYTHON, which is else this one.

ComfyUI is that of COMFYUI_PATH with COMFYUI_PYTHON and COMFYUI_ARGS, else the CPU engine. In the mode `own` the worker
starts it, in `url` it runs already. All take turns, job by job, so that a busy machine hurts all alike. What a handler
adds is its time from job to answer, less ComfyUI's own time for the same graph (`bare.py`); both are medians.
"""

# ruff: noqa: T201 -- a command: what it prints is its answer
import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
sys.path.insert(0, str(HERE))

from bare import bare_client  # noqa: E402 -- after its path is set
from cases import CASES, Case  # noqa: E402 -- as above

START_S = 180.0
BETWEEN_S = 0.2
"""Between jobs: what a handler does after its answer does not meet the next one's."""


@dataclass
class Times:
    """Milliseconds of each round."""

    comfyui: list[float] = field(default_factory=list[float])
    ours: list[float] = field(default_factory=list[float])
    theirs: list[float] = field(default_factory=list[float])


class HandlerProcess:
    """A process of `handlers.py`."""

    def __init__(self, python: str, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(  # noqa: S603 -- a program of ours
                [python, str(HERE / "handlers.py"), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, **env},
                text=True,
            )
        self._answer()

    def run(self, case: Case, seed: int) -> float:
        """Milliseconds of one job."""
        if self._process.stdin is None:
            raise SystemExit("the handler has no stdin")
        print(json.dumps({"id": f"job-{seed}", "input": case.job(seed)}), file=self._process.stdin, flush=True)
        answer = self._answer()
        if answer["error"] or answer["images"] != case.outputs:
            raise SystemExit(f"{case.title}: {answer}\n{self._log.read_text(errors='replace')[-3000:]}")
        return float(answer["ms"])

    def end(self) -> None:
        """End it and wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> "dict[str, object]":
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise SystemExit(f"the handler ended:\n{self._log.read_text(errors='replace')[-3000:]}")
        return json.loads(line)


def main() -> int:
    """Exit code: 0."""
    parser = argparse.ArgumentParser(description="What a direct job adds to ComfyUI's own time.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--mode", action="append", choices=["own", "url"])
    given = parser.parse_args()
    for mode in given.mode or ["own", "url"]:
        print(table(mode, measure(mode, given.warm_up, given.rounds)), flush=True)
    return 0


def measure(mode: str, warm_up: int, rounds: int) -> dict[str, Times]:
    """The times of each case, by its title."""
    theirs_folder = os.environ.get("WORKER_COMFYUI_HANDLER")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comfy-edge-bench-")))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        engine = {"COMFYUI_PATH": str(REPOSITORY / "local" / "comfyui"), **os.environ}
        if mode == "url":
            stack.enter_context(running_comfyui(engine, folder / "comfyui", port))
            env = {"COMFYUI_URL": url, "COMFYUI_PATH": ""}
        else:
            env = {"COMFYUI_PATH": engine["COMFYUI_PATH"], "COMFYUI_PORT": str(port), "COMFYUI_URL": ""}
        env |= {"WORKER_DATA_DIR": str(folder / "worker"), "MIN_FREE_MEMORY_MB": "0", "MIN_FREE_DISK_MB": "0"}
        ours = HandlerProcess(sys.executable, ["ours"], env, folder / "ours.log")
        stack.callback(ours.end)
        theirs: HandlerProcess | None = None
        if theirs_folder:
            python = os.environ.get("WORKER_COMFYUI_PYTHON", sys.executable)
            theirs = HandlerProcess(python, ["theirs", str(port)], {}, folder / "theirs.log")
            stack.callback(theirs.end)
        return asyncio.run(take_turns(url, ours, theirs, warm_up, rounds))


async def take_turns(
    url: str, ours: HandlerProcess, theirs: HandlerProcess | None, warm_up: int, rounds: int
) -> dict[str, Times]:
    """Each case by each client, round by round."""
    times = {case.title: Times() for case in CASES}
    seeds = itertools.count(1)
    async with bare_client(url) as bare:
        for number in range(warm_up + rounds):
            for case in CASES:
                its = Times() if number < warm_up else times[case.title]
                its.comfyui.append(await bare.run(case, next(seeds)))
                await asyncio.sleep(BETWEEN_S)
                its.ours.append(await asyncio.to_thread(ours.run, case, next(seeds)))
                await asyncio.sleep(BETWEEN_S)
                if theirs is not None:
                    its.theirs.append(await asyncio.to_thread(theirs.run, case, next(seeds)))
                    await asyncio.sleep(BETWEEN_S)
    return times


def table(mode: str, times: Mapping[str, Times]) -> str:
    """The medians as a Markdown table."""
    modes = {"own": "a ComfyUI that the worker starts", "url": "a ComfyUI of COMFYUI_URL"}
    lines = [
        f"\nWith {modes[mode]}, ms beyond ComfyUI's own time (medians)\n",
        "| job | ComfyUI | ours | worker-comfyui | ours / theirs |",
        "|---|---:|---:|---:|---:|",
    ]
    for title, its in times.items():
        share = statistics.median(its.comfyui)
        ours = statistics.median(its.ours) - share
        theirs = statistics.median(its.theirs) - share if its.theirs else None
        beside = f"{theirs:.1f} | {ours / theirs:.2f}" if theirs else " | "
        lines.append(f"| {title} | {share:.1f} | {ours:.1f} | {beside} |")
    return "\n".join(lines)


@contextmanager
def running_comfyui(engine: Mapping[str, str], folder: Path, port: int) -> Iterator[None]:
    """The engine at `port`, with its folders below `folder`."""
    for name in ("input", "output", "user"):
        (folder / name).mkdir(parents=True)
    command = [
        *(engine.get("COMFYUI_PYTHON") or sys.executable, "-u", "main.py"),
        *engine.get("COMFYUI_ARGS", "").split(),
        *("--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch", "--temp-directory", str(folder)),
        *(part for name in ("input", "output", "user") for part in (f"--{name}-directory", str(folder / name))),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=engine["COMFYUI_PATH"], stdout=log, stderr=log)  # noqa: S603
    try:
        until = time.monotonic() + START_S
        while not answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit((folder / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    """Whether ComfyUI answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/system_stats", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main())
