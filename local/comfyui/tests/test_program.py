"""The program as a process: start-up line, flags, a busy port, the end."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_comfyui.options import BadOption, parse_options

MAIN = Path(__file__).resolve().parents[1] / "main.py"

START_SECONDS = 20.0
"""Far more than a start takes, on any machine."""


@contextmanager
def program(folder: Path, *flags: str) -> "Generator[tuple[subprocess.Popen[str], str]]":
    """The program on a free port, and its start-up line."""
    command = [sys.executable, str(MAIN), "--port", "0", "--base-directory", str(folder), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.wait(10)


def origin(line: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found is not None, line
    return found.group()


def ended(*flags: str) -> tuple[int, list[str]]:
    """Exit status and lines of a run that must not start."""
    done = subprocess.run(
        [sys.executable, str(MAIN), *flags], capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_program_prints_what_it_is_and_answers(tmp_path: Path) -> None:
    flags = (
        "--listen 127.0.0.1 --cpu --disable-auto-launch --disable-assets --offline"
        " --database-url sqlite:///:memory: --preview-method auto"
    )
    with program(tmp_path, *flags.split()) as (_, line):
        assert "development engine" in line and "not ComfyUI" in line
        with urllib.request.urlopen(origin(line) + "/system_stats", timeout=START_SECONDS) as answer:  # noqa: S310
            body = answer.read().decode()
        assert (
            '"comfyui_version": "0.3.64"' in body and "development engine" in body and "--disable-auto-launch" in body
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_program_with_status_0_and_removes_temp(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path) as (process, line):
        assert origin(line)
        assert (tmp_path / "temp").is_dir()
        process.send_signal(number)
        assert process.wait(START_SECONDS) == 0
    assert not (tmp_path / "temp").exists()
    assert (tmp_path / "output").is_dir()


def test_temp_files_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "temp").mkdir()
    (tmp_path / "temp" / "old.png").touch()
    with program(tmp_path):
        assert list((tmp_path / "temp").iterdir()) == []


def test_busy_port_fails_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, lines = ended("--port", str(port), "--base-directory", str(tmp_path))
    assert status == 1
    assert lines == [f"local/comfyui: port {port} on 127.0.0.1 is in use; stop what uses it or choose another --port"]


@pytest.mark.parametrize(
    "flags", [["--no-such-flag"], ["--port", "x"], ["--port", "70000"], ["unknown"], ["--max-upload-size", "0"]]
)
def test_unknown_flag_fails_with_one_line(flags: list[str]) -> None:
    status, lines = ended(*flags)
    assert status == 2
    assert len(lines) == 1 and lines[0].startswith("local/comfyui: ") and flags[-1] in lines[0]


def test_folder_that_cannot_be_created_fails_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, lines = ended("--port", "0", "--base-directory", str(tmp_path / "file"))
    assert status == 1
    assert len(lines) == 1 and lines[0].startswith("local/comfyui: cannot start: ")


def test_the_folders_are_where_the_flags_say(tmp_path: Path) -> None:
    argv = [
        "main.py",
        "--base-directory",
        str(tmp_path),
        "--output-directory",
        str(tmp_path / "o"),
        "--temp-directory",
        str(tmp_path / "t"),
    ]
    options = parse_options(argv, Path("/home"))
    assert (options.input, options.output, options.temp) == (
        tmp_path / "input",
        tmp_path / "o",
        tmp_path / "t" / "temp",
    )
    assert parse_options(["main.py"], tmp_path).output == tmp_path / "output"


def test_flags_of_comfyui_are_accepted(tmp_path: Path) -> None:
    flags = (
        "--listen --port 9 --cpu --user-directory u --front-end-root f --disable-api-nodes --log-stdout --verbose DEBUG"
        " --cache-lru 5 --fast fp16_accumulation cublas_ops --whitelist-custom-nodes a b --reserve-vram 1"
        " --use-sage-attention --feature-flag a=b --feature-flag c=d --models-directory m"
        " --disable-all-custom-nodes --cache-ram 4.0 --preview-size 256"
    )
    options = parse_options(["main.py", *flags.split()], tmp_path)
    assert (options.listen, options.port, options.cache_size, options.verbose) == ("0.0.0.0,::", 9, 5, "DEBUG")


def test_abbreviated_flags_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(BadOption):
        parse_options(["main.py", "--disable-meta"], tmp_path)
