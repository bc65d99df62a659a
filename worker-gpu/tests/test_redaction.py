"""What of ComfyUI's words a client sees: the message, and nothing of the machine it comes from."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_gpu.json_readers import JsonObject, decode, maybe_list, maybe_object
from worker_gpu.lifecycle.preflight import log_tail
from worker_gpu.redaction import public_text, without_paths, without_traces


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("cannot open /a/b/c.png", "cannot open c.png"),
        ("cannot open '/my files/b/c.png'", "cannot open 'c.png'"),
        ("cannot open 'C:\\x y\\z\\c.png'", "cannot open 'c.png'"),
        ("cannot open 'C:/x y/z/c.png'", "cannot open 'c.png'"),
        ("at C:\\Users\\me\\c.png", "at c.png"),
        ("at C:/Users/me/c.png", "at c.png"),
        ("path=/root/models/a.safetensors", "path=a.safetensors"),
        ("see https://user:pw@host/x?token=1 now", "see <url> now"),
        ("connect to 10.1.2.3:80 failed", "connect to <address> failed"),
        ("Cannot connect to host models.internal:8000 ssl:default", "Cannot connect to host <address> ssl:default"),
        ("Cannot connect to host redis:6379", "Cannot connect to host <address>"),
        ("HTTPSConnectionPool(host='models', port=443)", "HTTPSConnectionPool(host=<address>, port=443)"),
        ("Failed to resolve 'models' ([Errno -2])", "Failed to resolve <address> ([Errno -2])"),
        ("db-1.eu-west.internal did not answer", "<address> did not answer"),
        ("no answer from acct.r2.cloudflarestorage.com:443", "no answer from <address>"),
        ("huggingface.co:443 is down", "<address> is down"),
        ('File "nodes.py", line 12, in load\nbad shape', "bad shape"),
        ("bad shape\nTraceback (most recent call last):\n  File x", "bad shape"),
        ("401 with Bearer abcdefgh.ijkl", "401 with <secret>"),
        ("token hf_AbCdEfGhIjKlMnOpQrSt refused", "token <secret> refused"),
        ("key comfyui-0123456789abcdef0123 refused", "key <secret> refused"),
        ("  many\n\n lines ", "many lines"),
        ("caf\udce9.png", "caf\ufffd.png"),
        ("x" * 600, "x" * 499 + "…"),
    ],
)
def test_a_client_sees_no_folder_host_secret_or_trace(text: str, reported: str) -> None:
    assert public_text(text) == reported


# `src/providers/gpu/worker-comfyui/message.test.ts` has the same cases.
CASES = maybe_object(decode((Path(__file__).parents[2] / "test" / "fixtures" / "public-messages.json").read_bytes()))


@pytest.mark.parametrize("case", [maybe_object(each) for each in maybe_list(CASES["removed"])])
def test_message_loses_secrets_folders_and_hosts_as_in_the_gateway(case: JsonObject) -> None:
    reported = public_text(str(case["text"]))
    assert str(case["secret"]) not in reported
    assert str(case["kept"]) in reported


@pytest.mark.parametrize("text", [str(each) for each in maybe_list(CASES["unchanged"])])
def test_ordinary_messages_stay_as_they_are(text: str) -> None:
    assert public_text(text) == text
    assert without_paths(text) == text


TRACE = [
    "got prompt",
    "!!! Exception during processing !!! bad shape",
    "Traceback (most recent call last):",
    '  File "/opt/comfyui/execution.py", line 12, in run',
    "    return f(x)",
    "           ^^^^",
    '  File "/opt/comfyui/nodes.py", line 7, in f',
    "    raise ValueError('bad shape')",
    "ValueError: bad shape",
    "",
    "Prompt executed in 0.1 seconds",
]


def test_comfyuis_last_lines_come_without_stack_traces() -> None:
    kept = ["got prompt", "!!! Exception during processing !!! bad shape", "ValueError: bad shape"]
    assert without_traces(TRACE) == [*kept, "", "Prompt executed in 0.1 seconds"]
    assert without_traces(TRACE[4:]) != TRACE[4:]
    for cut in range(len(TRACE)):
        reported = str(log_tail(TRACE[cut:]))
        assert "execution.py" not in reported
        assert "nodes.py" not in reported
        assert "line 12" not in reported


def test_a_text_of_a_megabyte_is_read_at_its_beginning() -> None:
    reported = public_text("a." * 500_000)
    assert len(reported) <= 500


def test_no_piece_of_a_secret_is_left_where_reading_ends() -> None:
    secret = "hf_" + "s" * 40
    for before in range(8 * 500 - 40, 8 * 500):
        assert "hf_" not in public_text("https://x.example/" + "u" * (before - 20) + " " + secret + " end")


def test_the_owners_report_keeps_the_lines_of_a_trace() -> None:
    assert without_paths(TRACE[3]) == 'File "execution.py", line 12, in run'


@given(st.text() | st.text("ab.:/\\'\" 019-\n"))
def test_every_text_has_a_public_form(text: str) -> None:
    reported = public_text(text)
    assert len(reported) <= 500
    assert "\n" not in reported
    reported.encode()
