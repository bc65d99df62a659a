"""The process around the jobs: settings, memory and disk, children, log lines, the SDK's adapter."""

import asyncio
import io
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fakes.gateway import FakeGateway, Job
from fakes.harness import JOB, QUICK, make_settings
from fakes.server import serving
from worker_gpu.errors import JobError
from worker_gpu.handler import Handler
from worker_gpu.json_readers import Json
from worker_gpu.lifecycle.comfyui import ExternalComfy
from worker_gpu.lifecycle.process import Child, spawn
from worker_gpu.lifecycle.ready import Ready
from worker_gpu.lifecycle.resources import Resources, check, measure
from worker_gpu.log import Log
from worker_gpu.settings import BadSetting, read_settings


def test_settings_have_defaults(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    settings = read_settings({"COMFYUI_PATH": str(tmp_path), "COMFYUI_ARGS": "--cpu --x 'a b'"})
    assert settings.comfyui_path == tmp_path
    assert settings.comfyui_python == sys.executable
    assert settings.comfyui_args == ("--cpu", "--x", "a b")
    assert settings.min_free_memory_bytes == 512 * 1024 * 1024


def test_a_comfyui_that_runs_is_used_rather_than_one_to_start(tmp_path: Path) -> None:
    settings = read_settings({"COMFYUI_URL": "http://127.0.0.1:8188/", "COMFYUI_PATH": str(tmp_path)})
    assert (settings.comfyui_url, settings.comfyui_path) == ("http://127.0.0.1:8188", None)


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({}, "COMFYUI_PATH"),
        ({"COMFYUI_URL": "127.0.0.1:8188"}, "COMFYUI_URL"),
        ({"COMFYUI_PATH": "/nowhere"}, "COMFYUI_PATH"),
        ({"COMFYUI_URL": "http://x", "MIN_FREE_DISK_MB": "-1"}, "MIN_FREE_DISK_MB"),
        ({"COMFYUI_URL": "http://x", "COMFYUI_PORT": "70000"}, "COMFYUI_PORT"),
        ({"COMFYUI_URL": "http://x", "LOG_FORMAT": "xml"}, "LOG_FORMAT"),
    ],
)
def test_a_bad_setting_is_named(env: dict[str, str], named: str) -> None:
    with pytest.raises(BadSetting, match=named):
        read_settings(env)


def test_two_workers_on_a_machine_have_folders_of_their_own() -> None:
    env = {"COMFYUI_URL": "http://x", "WORKER_DATA_DIR": "/data"}
    one = read_settings({**env, "RUNPOD_POD_ID": "w1"})
    two = read_settings({**env, "RUNPOD_POD_ID": "../w2"})
    assert one.data_dir == Path("/data/w1")
    assert two.data_dir == Path("/data/_w2")


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 100 kB\nMemAvailable:   4000 kB\n"}


def test_free_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    assert measure(tmp_path, system(tmp_path, MEMINFO)).memory_free_bytes == 4000 * 1024


def test_a_containers_limit_counts_where_it_is_lower(tmp_path: Path) -> None:
    group = "sys/fs/cgroup"
    files = {
        f"{group}/memory.max": "1000000\n",
        f"{group}/memory.current": "900000\n",
        f"{group}/memory.stat": "anon 1\ninactive_file 50000\n",
    }
    assert measure(tmp_path, system(tmp_path, {**MEMINFO, **files})).memory_free_bytes == 150_000


def test_an_old_kernels_container_limit_counts_too(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory"
    files = {f"{group}/memory.limit_in_bytes": "5000\n", f"{group}/memory.usage_in_bytes": "4000\n"}
    assert measure(tmp_path, system(tmp_path, {**MEMINFO, **files})).memory_free_bytes == 1000


def test_no_limit_is_no_limit(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "900000\n"}
    assert measure(tmp_path, system(tmp_path, {**MEMINFO, **files})).memory_free_bytes == 4000 * 1024


@pytest.mark.parametrize("found", [Resources(9, 100), Resources(100, 9), Resources(None, 9)])
def test_too_little_of_either_is_told_with_numbers(found: Resources) -> None:
    with pytest.raises(JobError) as failure:
        check(found, 10, 10)
    assert failure.value.code == "insufficient_resources"
    assert failure.value.details is not None


def test_enough_of_both_is_enough() -> None:
    check(Resources(10, 10), 10, 10)
    check(Resources(None, 10), 10, 10)


def test_log_lines_are_one_line_each_in_either_form() -> None:
    written = io.StringIO()
    Log(written, "text", lambda: 0.5, {"job": "j"}).info("two words", n=1, ok=True, none=None, text='a "b"\nc')
    Log(written, "json", lambda: 0.5).bind(attempt=2).error("e", f=0.25)
    assert written.getvalue().splitlines() == [
        'time=1970-01-01T00:00:00.500Z level=info event="two words" job=j n=1 ok=true text="a \\"b\\"\\nc"',
        '{"time": "1970-01-01T00:00:00.500Z", "level": "error", "event": "e", "attempt": 2, "f": 0.25}',
    ]


@pytest.mark.asyncio
async def test_a_childs_lines_and_end_are_noticed(tmp_path: Path) -> None:
    child = spawn(
        [sys.executable, "-c", "print('one'); print('two'); exit(3)"], tmp_path, dict(os.environ), lambda _: None
    )
    async with asyncio.timeout(10):
        await child.wait_exit()
        await child.wait_exit()
    assert (child.tail(), child.exit_code, child.is_running) == (["one", "two"], 3, False)


@pytest.mark.asyncio
async def test_the_colours_and_blank_lines_of_a_child_are_left_out(tmp_path: Path) -> None:
    """As ComfyUI 0.33 prints them, also into a pipe."""
    lines: list[str] = []
    code = r"print('\x1b[32m[INFO]\x1b[0m up'); print('\x1b[32m\x1b[0m'); print()"
    child = spawn([sys.executable, "-c", code], tmp_path, dict(os.environ), lines.append)
    async with asyncio.timeout(10):
        await child.wait_exit()
    assert lines == child.tail() == ["[INFO] up"]


@pytest.mark.asyncio
@pytest.mark.parametrize("own_session", [False, True])
async def test_an_exit_is_noticed_while_a_grandchild_holds_the_output(tmp_path: Path, own_session: bool) -> None:
    """Of the same group it goes too; one that left the group is let be, and not waited for."""
    code = (
        "import subprocess, sys\n"
        f"c = subprocess.Popen(['sleep', '600'], start_new_session={own_session})\n"
        "print(c.pid, flush=True); print('last words', flush=True); sys.exit(3)"
    )
    child = spawn([sys.executable, "-c", code], tmp_path, dict(os.environ), lambda _: None)
    async with asyncio.timeout(30):
        await child.wait_exit()
    assert (child.exit_code, child.tail()[1:]) == (3, ["last words"])
    grandchild = int(child.tail()[0])
    if own_session:
        os.kill(grandchild, signal.SIGKILL)
    else:
        assert dies(grandchild)


def dies(pid: int) -> bool:
    """Whether the process goes, or has gone."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], 10)[0])
    finally:
        os.close(watched)


@pytest.mark.asyncio
async def test_lines_are_counted_on_over_starts_and_earlier_ones_left_out(tmp_path: Path) -> None:
    async def printing(*lines: str, printed: int) -> Child:
        code = f"print({chr(10).join(lines)!r})"
        child = spawn([sys.executable, "-c", code], tmp_path, dict(os.environ), lambda _: None, printed)
        async with asyncio.timeout(10):
            await child.wait_exit()
        return child

    first = await printing("a", "b", "c", printed=0)
    assert (first.printed, first.tail(2), first.tail(3)) == (3, ["c"], [])
    second = await printing("d", "e", printed=first.printed)
    assert (second.printed, second.tail(3), second.tail(4), second.tail(9)) == (5, ["d", "e"], ["e"], [])


def test_a_child_that_is_killed_is_not_asked_first(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True));"
        "print('up', flush=True); time.sleep(600)"
    )
    up = threading.Event()
    child = spawn([sys.executable, "-c", code], tmp_path, dict(os.environ), lambda _: up.set())
    assert up.wait(10)
    child.kill()
    assert (child.exit_code, child.tail()) == (-signal.SIGKILL, ["up"])


def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    up = threading.Event()
    child = spawn([sys.executable, "-c", code], tmp_path, dict(os.environ), lambda _: up.set())
    assert up.wait(10)
    child.end(0.05)
    assert child.exit_code == -signal.SIGKILL


def dies_with_its_parent(code: str) -> bool:
    """Run `code`, which starts a child and prints its id; kill it; say whether the child has gone too."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)  # noqa: S603
    assert worker.stdout is not None
    child_pid = int(worker.stdout.readline())
    watched = os.pidfd_open(child_pid)
    worker.kill()
    worker.wait()
    try:
        ended = bool(select.select([watched], [], [], 10)[0])
    finally:
        os.close(watched)
        if worker.stdin is not None:
            worker.stdin.close()
        worker.stdout.close()
    return ended


def test_a_child_dies_with_a_worker_that_was_killed() -> None:
    """As by `kill -9`, which leaves the worker no time to end it."""
    code = (
        "import os, sys, pathlib, threading; from worker_gpu.lifecycle.process import spawn\n"
        "up = threading.Event()\n"
        "c = spawn([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'], pathlib.Path('.'),"
        " dict(os.environ), lambda _: up.set())\n"
        "up.wait(10); print(c.pid, flush=True); sys.stdin.read()"
    )
    assert dies_with_its_parent(code)


def test_the_sdks_ping_process_dies_with_a_worker_that_was_killed() -> None:
    code = (
        "import multiprocessing, sys, time; from worker_gpu.lifecycle.process_guard import end_forks_with_parent\n"
        "end_forks_with_parent()\n"
        "p = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,), daemon=True)\n"
        "p.start(); print(p.pid, flush=True); sys.stdin.read()"
    )
    assert dies_with_its_parent(code)


def test_a_process_forked_just_before_the_worker_was_killed_dies_too() -> None:
    """It comes to itself only when the worker is gone: too late to ask for a signal at its death."""
    code = (
        "import multiprocessing, os, sys, time; from worker_gpu.lifecycle.process_guard import end_forks_with_parent\n"
        "r, w = os.pipe()\n"
        "os.register_at_fork(after_in_child=lambda: (os.close(w), os.read(r, 1)))\n"
        "end_forks_with_parent()\n"
        "p = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,), daemon=True)\n"
        "p.start(); print(p.pid, flush=True); sys.stdin.read()"
    )
    assert dies_with_its_parent(code)


@pytest.mark.asyncio
async def test_a_job_that_meets_no_comfyui_is_claimed_and_fails(tmp_path: Path) -> None:
    """The worker was started while ComfyUI was gone: its owner learns why, rather than waiting."""
    gateway = FakeGateway(Job(JOB, {"1": {"class_type": "X", "inputs": {}}}))
    nobody = "http://127.0.0.1:9"
    async with serving(gateway.application()) as gateway.url:
        handler = Handler(ready_at(nobody, tmp_path))
        receipt = await handler({"id": "1", "input": gateway.ticket()}, lambda _told: None)
        await handler.close()
    assert (receipt["outcome"], receipt["code"]) == ("failed", "comfyui_unavailable")
    assert gateway.claims[0]["catalog"] is None
    assert gateway.violations == []


@pytest.mark.asyncio
@pytest.mark.parametrize("given", [{"job": "x", "attempt": 1}, {"gateway": "http://elsewhere", "job": "x"}])
async def test_a_job_without_a_proper_ticket_is_refused_and_calls_nobody(tmp_path: Path, given: Json) -> None:
    handler = Handler(ready_at("http://127.0.0.1:9", tmp_path))
    receipt = await handler({"id": "1", "input": given}, lambda _told: None)
    assert (receipt["outcome"], receipt["code"]) == ("refused", "invalid_ticket")


@pytest.mark.asyncio
@pytest.mark.parametrize("given", [None, {}, "text", {"workflow": {}}])
async def test_a_job_that_is_neither_ticket_nor_graph_fails_with_its_reason(tmp_path: Path, given: Json) -> None:
    handler = Handler(ready_at("http://127.0.0.1:9", tmp_path))
    answer = await handler({"id": "1", "input": given}, lambda _told: None)
    await handler.close()
    assert answer["code"] in ("invalid_request", "invalid_workflow")
    assert str(answer["error"]).startswith(f"{answer['code']}: ")


def ready_at(url: str, tmp_path: Path) -> Ready:
    settings = make_settings(tmp_path, url)
    return Ready(settings, ExternalComfy(url, QUICK), None, None, QUICK, Log(io.StringIO()))


READ_ENVIRONMENT = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from worker_gpu.lifecycle.process_guard import hide_from_others

def start(work):
    ready, reported = os.pipe()
    pid = os.fork()
    if pid == 0:
        if os.geteuid() == 0:
            os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
        work()
        os.write(reported, b"x")
        os.read(os.pipe()[0], 1)
    os.read(ready, 1)
    return pid

def can_read(pid):
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            os._exit(0 if open(f"/proc/{pid}/environ", "rb").read() else 1)
        except PermissionError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

plain, hidden = start(lambda: None), start(hide_from_others)
print(can_read(plain), can_read(hidden))
for pid in (plain, hidden):
    os.kill(pid, 9)
"""


def test_a_custom_node_cannot_read_the_workers_environment_from_outside() -> None:
    """Not as the same user, who may read that of other processes."""
    sources = str(Path(__file__).parents[2] / "src")
    reported = subprocess.run(  # noqa: S603 -- this test's own program
        [sys.executable, "-c", READ_ENVIRONMENT, sources], capture_output=True, text=True, check=True, timeout=30
    )
    assert reported.stdout.split() == ["True", "False"]
