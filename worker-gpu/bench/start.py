"""How long a worker needs beyond ComfyUI's own start, and how much memory it holds while it waits.

    python worker-gpu/bench/start.py [--rounds 5]

Each round runs `python -m worker_gpu` under the RunPod SDK's local mode with one `health` job. ComfyUI is that of
COMFYUI_PATH (with COMFYUI_PYTHON and COMFYUI_ARGS), else local/comfyui. `overhead` is the worker's own figure: from its
first step to taking jobs, less the longer of ComfyUI's start and the boot models. `before` is what Python took until
that first step, imports included: nobody but the process's parent can see it.
"""

# ruff: noqa: T201 -- a command: what it prints is its answer
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 300


def main() -> int:
    """Exit code: 0."""
    parser = argparse.ArgumentParser(description="Start of the worker: overhead in seconds, memory in MB.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    measured = [measure() for _ in range(rounds)]
    print(f"medians of {rounds} (least to most)")
    for name in measured[0]:
        values = sorted(round_[name] for round_ in measured)
        print(f"{name:>24}  {statistics.median(values):8.3f}  ({values[0]:.3f} to {values[-1]:.3f})")
    return 0


def measure() -> dict[str, float]:
    """One start."""
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "COMFYUI_PATH": str(REPOSITORY / "local" / "comfyui"),
            "MIN_FREE_MEMORY_MB": "0",
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "worker-gpu" / "src"),
            "WORKER_DATA_DIR": folder,
        }
        job = json.dumps({"input": {"action": "health"}})
        command = [sys.executable, "-m", "worker_gpu", "--test_input", job]
        began = time.time()
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603
    first = re.search(r"^time=(\S+)Z .*comfyui starting", done.stdout, re.MULTILINE)
    if first is None:
        raise SystemExit(done.stdout[-2000:])
    stamp = first.group(1)
    started = time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(stamp[19:])
    return {
        "overhead s": _number(done.stdout, r"overhead_seconds=([\d.]+)"),
        "comfyui s": _number(done.stdout, r"comfyui_seconds=([\d.]+)"),
        "before s": started - began,
        "memory of the worker MB": _number(done.stdout, r"worker_memory_mb=(\d+)"),
    }


def _number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"{pattern} is not in what the worker printed:\n{text[-2000:]}")
    return float(found.group(1))


if __name__ == "__main__":
    sys.exit(main())
