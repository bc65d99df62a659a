"""The entrypoint as a plain process: the program that it runs, its arguments, signals and exit code."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from image.places import IMAGE, WORKER, path_of_an_image

ENTRYPOINT = IMAGE / "entrypoint.sh"
TIMEOUT_S = 30
BAD_CONFIGURATION = 78
STUB = """#!/usr/bin/env bash
echo "pid $$"
echo "folder $PWD"
printf 'argument %s\\n' "$@"
echo "comfyui_args ${COMFYUI_ARGS:-}"
exit "${STUB_EXIT:-0}"
"""
WAITS = """#!/usr/bin/env bash
trap 'echo got TERM; exit 43' TERM
trap 'echo got INT; exit 44' INT
echo ready
while :; do sleep 0.05; done
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The image's environment, with stubs for both Pythons and no volume."""
    stub = tmp_path / "stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    comfyui = tmp_path / "comfyui"
    comfyui.mkdir()
    (comfyui / "main.py").touch()
    return {
        "PATH": path_of_an_image(tmp_path / "bin"),
        "WORKER_PYTHON": str(stub),
        "COMFYUI_PYTHON": str(stub),
        "COMFYUI_PATH": str(comfyui),
        "WORKER_DATA_DIR": str(tmp_path / "data"),
        "MODELS_DIR": str(tmp_path / "models"),
        "VOLUME_PODS": str(tmp_path / "none"),
        "VOLUME_SERVERLESS": str(tmp_path / "none"),
    }


def start(env: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    """Start it as tini would."""
    command = [str(ENTRYPOINT), *arguments]
    return subprocess.Popen(  # noqa: S603
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell ignores SIGINT in background jobs, children inherit that, and Bash cannot trap an ignored signal.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def run(env: dict[str, str], *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr."""
    process = start(env, *arguments)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out.splitlines(), err


def given(lines: list[str]) -> list[str]:
    """The arguments of the stub."""
    return [line.removeprefix("argument ") for line in lines if line.startswith("argument ")]


@pytest.mark.parametrize("mode", ["serverless", "compute", "models"])
def test_entrypoint_replaces_the_shell_by_the_program(mode: str, env: dict[str, str]) -> None:
    process = start(env, mode)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert f"pid {process.pid}" in out.splitlines()


@pytest.mark.parametrize("mode", ["serverless", "compute", "models"])
def test_entrypoint_keeps_the_exit_code_of_the_program(mode: str, env: dict[str, str]) -> None:
    assert run({**env, "STUB_EXIT": "7"}, mode)[0] == 7


@pytest.mark.parametrize("mode", ["serverless", "compute"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 43), (signal.SIGINT, 44)])
def test_entrypoint_passes_signals_to_the_program(
    mode: str, number: signal.Signals, code: int, env: dict[str, str]
) -> None:
    Path(env["WORKER_PYTHON"]).write_text(WAITS)
    process = start(env, mode)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == code
    assert f"got {number.name.removeprefix('SIG')}" in out


def test_serverless_starts_the_worker_with_its_arguments(env: dict[str, str]) -> None:
    code, lines, _ = run(env, "serverless", "--rp_serve_api", "--rp_api_port", "8000")
    assert code == 0
    assert given(lines) == ["-m", "worker_gpu", "--rp_serve_api", "--rp_api_port", "8000"]


def test_serverless_sets_flags_of_comfyui_that_the_user_can_override(
    env: dict[str, str],
) -> None:
    _, lines, _ = run({**env, "COMFYUI_ARGS": "--highvram"}, "serverless")
    flags = next(line for line in lines if line.startswith("comfyui_args ")).split()[1:]
    assert flags[:2] == ["--front-end-root", "/opt/comfyui/no-frontend"]
    assert flags[flags.index("--models-directory") + 1] == env["MODELS_DIR"]
    assert flags[-1] == "--highvram"


def test_compute_listens_on_all_addresses_and_uses_the_data_folder(env: dict[str, str]) -> None:
    code, lines, _ = run({**env, "COMFYUI_ARGS": "--highvram --fast"}, "compute", "--lowvram")
    arguments = given(lines)
    data = env["WORKER_DATA_DIR"]
    assert code == 0
    assert arguments[:2] == ["-u", "main.py"]
    assert f"folder {env['COMFYUI_PATH']}" in lines
    for flag, value in {
        "--listen": "0.0.0.0",  # noqa: S104 -- the compute image is for other machines
        "--port": "8188",
        "--models-directory": env["MODELS_DIR"],
        "--input-directory": f"{data}/input",
        "--output-directory": f"{data}/output",
        "--temp-directory": data,
        "--user-directory": f"{data}/user",
        "--database-url": f"sqlite:///{data}/user/comfyui.db",
    }.items():
        assert arguments[arguments.index(flag) + 1] == value
    assert arguments[-3:] == ["--highvram", "--fast", "--lowvram"]
    assert sorted(path.name for path in Path(data).iterdir()) == ["input", "output", "temp", "user"]


def test_compute_on_a_pod_keeps_files_and_models_on_the_volume(env: dict[str, str], tmp_path: Path) -> None:
    volume = tmp_path / "workspace"
    (volume / "models").mkdir(parents=True)
    _, lines, _ = run({**env, "VOLUME_PODS": str(volume), "COMFYUI_PORT": "9000"}, "compute")
    arguments = given(lines)
    assert arguments[arguments.index("--models-directory") + 1] == f"{volume}/models"
    assert arguments[arguments.index("--user-directory") + 1] == f"{volume}/comfyui/user"
    assert arguments[arguments.index("--port") + 1] == "9000"


def test_compute_reads_the_models_of_a_serverless_volume(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "volume/models").mkdir(parents=True)
    _, lines, _ = run({**env, "VOLUME_SERVERLESS": str(tmp_path / "volume")}, "compute")
    arguments = given(lines)
    assert arguments[arguments.index("--models-directory") + 1] == str(tmp_path / "volume/models")


def test_models_runs_the_workers_command(env: dict[str, str]) -> None:
    assert given(run(env, "models", "verify", "--full")[1]) == ["-m", "worker_gpu", "models", "verify", "--full"]


def test_other_command_runs_unchanged(env: dict[str, str]) -> None:
    assert run(env, "echo", "two words", "x")[1] == ["two words x"]


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ({}, [], "say what to run"),
        ({"WORKER_PYTHON": ""}, ["serverless"], "no worker"),
        ({"WORKER_PYTHON": "/nowhere"}, ["models", "list"], "no worker"),
        ({"COMFYUI_PATH": "/nowhere"}, ["serverless"], "COMFYUI_PATH"),
        ({"COMFYUI_PYTHON": "/nowhere"}, ["compute"], "COMFYUI_PYTHON"),
        ({"WORKER_DATA_DIR": "/dev/null/data"}, ["compute"], "cannot write to /dev/null/data"),
    ],
)
def test_invalid_start_fails_with_its_reason(
    change: dict[str, str], arguments: list[str], says: str, env: dict[str, str]
) -> None:
    code, lines, err = run({**env, **change}, *arguments)
    assert code == BAD_CONFIGURATION
    assert says in err.splitlines()[-1]
    assert lines == []


def test_entrypoint_starts_the_real_worker_and_keeps_its_exit_code(env: dict[str, str]) -> None:
    real = {"WORKER_PYTHON": sys.executable, "PYTHONPATH": str(WORKER / "src"), "LOG_FORMAT": "no such form"}
    code, _, err = run({**env, **real}, "serverless")
    assert code == 2
    assert "LOG_FORMAT" in err
