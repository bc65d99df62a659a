"""The SDK's local modes with the real worker: `--test_input`, `test_input.json`, `--rp_serve_api`."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

from worker_gpu.json_readers import JsonObject, decode, maybe_list, maybe_object

REPOSITORY = Path(__file__).parents[3]
LIMIT_S = 40
JOB: JsonObject = {
    "input": {
        "workflow": {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
        }
    }
}
EDITOR: JsonObject = {"input": {"workflow": {"nodes": [], "links": []}}}


def environment(folder: Path) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "PYTHONPATH": str(REPOSITORY / "worker-gpu" / "src"),
        "COMFYUI_PATH": str(REPOSITORY / "local" / "comfyui"),
        "WORKER_DATA_DIR": str(folder / "data"),
        "MIN_FREE_MEMORY_MB": "0",
        "MIN_FREE_DISK_MB": "0",
    }


def run_worker(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 -- a program of ours
        [sys.executable, "-m", "worker_gpu", *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_job_given_as_argument_runs_and_the_worker_exits(tmp_path: Path) -> None:
    code, printed = run_worker(tmp_path, "--test_input", json.dumps(JOB))
    assert code == 0, printed
    assert "t_00001_.png" in printed


def test_job_in_test_input_json_runs(tmp_path: Path) -> None:
    (tmp_path / "test_input.json").write_text(json.dumps(JOB))
    code, printed = run_worker(tmp_path)
    assert code == 0, printed
    assert "t_00001_.png" in printed


def test_failed_local_job_sets_the_exit_code(tmp_path: Path) -> None:
    code, printed = run_worker(tmp_path, "--test_input", json.dumps(EDITOR))
    assert code == 1
    assert "Export (API)" in printed


def test_start_log_describes_the_worker_on_one_screen(tmp_path: Path) -> None:
    _, printed = run_worker(tmp_path, "--test_input", '{"input": {"action": "health"}}')
    before_ready = printed.split("event=ready")[0].splitlines()
    assert len(before_ready) < 24, printed
    assert "overhead_seconds=" in printed
    assert all(word in printed for word in ("event=versions", "gpu check skipped", "event=models", "failed_imports=0"))


@pytest.fixture
def served(tmp_path: Path) -> Generator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603 -- a program of ours
        [
            sys.executable,
            "-m",
            "worker_gpu",
            "--rp_serve_api",
            "--rp_api_host",
            "127.0.0.1",
            "--rp_api_port",
            str(port),
        ],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        while "Uvicorn running" not in (line := process.stdout.readline()):
            assert line, "the worker ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(timeout=LIMIT_S)
        process.stdout.close()


def test_local_server_of_the_sdk_runs_jobs_and_reports_failures(served: str) -> None:
    def post(body: JsonObject) -> JsonObject:
        request = urllib.request.Request(  # noqa: S310 -- loopback
            f"{served}/runsync", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310
            return maybe_object(decode(answer.read()))

    began = time.monotonic()
    done = post(JOB)
    assert done["status"] == "COMPLETED"
    assert len(maybe_list(maybe_object(done["output"])["images"])) == 1
    refused = post(EDITOR)
    assert refused["status"] == "FAILED"
    assert str(refused["error"]).startswith("invalid_workflow: ")
    assert time.monotonic() - began < LIMIT_S
