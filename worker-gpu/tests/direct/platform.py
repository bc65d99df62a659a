"""local/runpod as a process, with the real worker under the real RunPod SDK in its production loop."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker_gpu.json_readers import Json, JsonObject, decode, maybe_list, maybe_object, maybe_text

REPOSITORY = Path(__file__).parents[3]
STEP_S = 30.0
"""Time limit of a step: a worker with its ComfyUI starts in two to five seconds."""
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


@dataclass
class Platform:
    """RunPod's client API for its one endpoint, `gpu`."""

    url: str
    logs: Path

    def call(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """Make one call, and return the JSON."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(  # noqa: S310 -- loopback
            self.url + path,
            data,
            {"Authorization": "Bearer test", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=STEP_S * 2) as answer:  # noqa: S310
            return maybe_object(decode(answer.read()))

    def submit(self, given: Json, policy: JsonObject | None = None) -> str:
        """Queue a job, and return its id."""
        body: JsonObject = {"input": given, **({"policy": policy} if policy is not None else {})}
        return maybe_text(self.call("POST", "/v2/gpu/run", body)["id"]) or ""

    def end_of(self, job: str) -> JsonObject:
        """The job's final status."""
        until = time.monotonic() + STEP_S
        while time.monotonic() < until:
            status = self.call("GET", f"/v2/gpu/status-sync/{job}?wait=10000")
            if status["status"] in FINAL:
                return status
        raise TimeoutError(f"job {job} does not end")

    def event(self, kind: str, after: int = 0, **about: str) -> JsonObject:
        """Wait for the first event of that kind after event `after`."""
        query = "&".join([f"after={after}", f"type={kind}", *(f"{k}={v}" for k, v in about.items())])
        answer = self.call("GET", f"/admin/events?{query}&wait_ms={int(STEP_S * 1000)}")
        events = maybe_list(answer["events"])
        assert events, f"no {kind} for {about}"
        return maybe_object(events[0])

    def chunk(self, job: str, kind: str) -> JsonObject:
        """Wait for the first chunk of that type in the job's stream. Earlier chunks are dropped."""
        while True:
            answer = self.call("GET", f"/v2/gpu/stream/{job}")
            for chunk in map(maybe_object, maybe_list(answer["stream"])):
                if maybe_object(chunk["output"]).get("type") == kind:
                    return chunk
            assert answer["status"] not in FINAL, f"no {kind} in the stream of {job}"

    def terminate_worker(self) -> None:
        """SIGTERM to the one worker, and what RunPod does with it: the SDK's open calls are answered, or it would wait
        them out."""
        (endpoint,) = maybe_list(self.call("GET", "/admin/state")["endpoints"])
        (worker,) = maybe_list(maybe_object(endpoint)["workers"])
        self.call("POST", f"/admin/endpoints/gpu/workers/{maybe_object(worker)['id']}/stop")

    def log(self) -> str:
        """The output of the workers."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.logs.glob("*.log")))


@contextlib.contextmanager
def platform(folder: Path, env: Mapping[str, str] | None = None, **endpoint: Json) -> Generator[Platform]:
    """A platform with at most one worker, which starts at the first job. `endpoint` adds to its configuration."""
    installed = REPOSITORY / "node_modules" / ".bin" / "node"
    node = str(installed) if installed.exists() else shutil.which("node")
    assert node is not None, "the repository's Node is not installed: npm ci"
    worker_env: JsonObject = {
        "PYTHONPATH": str(REPOSITORY / "worker-gpu" / "src"),
        "COMFYUI_PATH": str(REPOSITORY / "local" / "comfyui"),
        "COMFYUI_PYTHON": sys.executable,
        "COMFYUI_ARGS": "--probe-nodes",
        "WORKER_DATA_DIR": str(folder / "data"),
        "MIN_FREE_MEMORY_MB": "0",
        "MIN_FREE_DISK_MB": "0",
        **(env or {}),
    }
    config: JsonObject = {
        "port": 0,
        "log_dir": str(folder),
        "endpoints": [
            {
                "id": "gpu",
                "workers": {
                    "max": 1,
                    "idle_timeout_s": 60,
                    "command": [sys.executable, "-m", "worker_gpu"],
                    "env": worker_env,
                },
                **endpoint,
            }
        ],
    }
    process = subprocess.Popen(  # noqa: S603 -- a program of ours
        [node, str(REPOSITORY / "local" / "runpod" / "main.ts"), json.dumps(config)],
        stdout=subprocess.PIPE,
        text=True,
        env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "ready" in line, line
        yield Platform(line.split()[-1], folder)
    finally:
        process.terminate()
        process.wait(timeout=STEP_S)
        process.stdout.close()
