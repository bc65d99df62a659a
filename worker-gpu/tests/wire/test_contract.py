"""The wire: what the worker accepts from outside, and what it does not."""

from copy import deepcopy

import pytest

from worker_gpu.json_readers import Json, JsonObject, ShapeError, decode
from worker_gpu.wire.contract import (
    Claim,
    MultipartUpload,
    PutUpload,
    Receipt,
    Ticket,
    is_trusted_url,
    missing_names,
    parse_uploads,
    problem_code,
)

JOB = "11111111-2222-3333-4444-555555555555"
TICKET: JsonObject = {"job": JOB, "attempt": 1, "gateway": "https://gw.example", "token": "t"}
CLAIM: JsonObject = {
    "job": JOB,
    "attempt": 1,
    "prompt_id": JOB,
    "workflow": {"1": {"class_type": "X", "inputs": {}}},
    "inputs": [
        {"name": "a", "url": "https://r2.example/a", "sha256": "0" * 64, "size_bytes": 1, "content_type": "x/y"}
    ],
    "options": {"previews": True, "temp_outputs": False, "metadata": True},
    "limits": {"max_output_bytes": 1, "max_outputs": 2, "max_text_bytes": 3, "silence_s": 4},
    "deadline": "2026-01-01T00:10:00.500Z",
    "server_time": "2026-01-01T00:00:00.000Z",
    "catalog_wanted": False,
}


def test_a_ticket_is_read() -> None:
    assert Ticket.parse({**TICKET, "extra": 1}) == Ticket(JOB, 1, "https://gw.example", "t")


def test_a_claim_that_names_no_scope_is_of_a_scope_of_its_own() -> None:
    assert Claim.parse(CLAIM).scope == f"{JOB}.1"
    assert Claim.parse({**CLAIM, "scope": "s"}).scope == "s"


@pytest.mark.parametrize(
    "wrong",
    [
        {"job": "not-a-uuid"},
        {"job": JOB.replace("1", "A")},
        {"attempt": 0},
        {"attempt": "1"},
        {"attempt": True},
        {"gateway": "http://gw.example"},
        {"gateway": "ftp://127.0.0.1"},
        {"gateway": "https://"},
        {"token": ""},
        {"token": None},
    ],
)
def test_a_wrong_ticket_is_refused(wrong: JsonObject) -> None:
    with pytest.raises(ShapeError):
        Ticket.parse({**TICKET, **wrong})


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_a_ticket_is_an_object(value: Json) -> None:
    with pytest.raises(ShapeError):
        Ticket.parse(value)


def test_only_the_workers_own_gateway_is_called() -> None:
    assert (
        Ticket.parse({**TICKET, "gateway": "https://gw.example/"}, "https://gw.example").gateway == "https://gw.example"
    )
    with pytest.raises(ShapeError):
        Ticket.parse(TICKET, "https://other.example")


def test_a_claim_is_read_with_its_time_by_the_gateways_clock() -> None:
    claim = Claim.parse({**CLAIM, "extra": {}})
    assert claim.time_left_s == 600.5
    assert claim.inputs[0].name == "a"
    assert claim.options.previews
    assert claim.limits.silence_s == 4


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["prompt_id"], "x"),
        (["workflow"], []),
        (["workflow", "1"], "x"),
        (["options", "previews"], 1),
        (["limits", "max_outputs"], -1),
        (["deadline"], "soon"),
        (["deadline"], "2026-01-01T00:00:00"),
        (["inputs"], {}),
    ],
)
def test_a_wrong_claim_is_refused(path: list[str], value: Json) -> None:
    claim = deepcopy(CLAIM)
    context: Json = claim
    for step in path[:-1]:
        assert isinstance(context, dict)
        context = context[step]
    assert isinstance(context, dict)
    context[path[-1]] = value
    with pytest.raises(ShapeError):
        Claim.parse(claim)


@pytest.mark.parametrize("wrong", [{"url": "http://r2.example/a"}, {"sha256": "xyz"}, {"size_bytes": -1}, {"name": ""}])
def test_a_wrong_input_is_refused(wrong: JsonObject) -> None:
    (file,) = CLAIM["inputs"] if isinstance(CLAIM["inputs"], list) else []
    assert isinstance(file, dict)
    with pytest.raises(ShapeError):
        Claim.parse({**CLAIM, "inputs": [{**file, **wrong}]})


def test_neither_graph_nor_url_is_in_the_text_of_a_claim() -> None:
    text = repr(Claim.parse(CLAIM))
    assert "class_type" not in text
    assert "r2.example" not in text


def test_uploads_are_read_in_the_order_asked() -> None:
    put: JsonObject = {
        "name": "a",
        "key": "k",
        "method": "PUT",
        "url": "https://r2/a",
        "headers": {"content-type": "x/y"},
    }
    parts: JsonObject = {
        "name": "b",
        "key": "k2",
        "method": "MULTIPART",
        "upload_id": "u",
        "part_bytes": 5,
        "parts": [{"number": 1, "url": "https://r2/b1"}],
    }
    assert parse_uploads({"uploads": [put, parts]}, ["a", "b"]) == [
        PutUpload("k", "https://r2/a", {"content-type": "x/y"}),
        MultipartUpload("k2", "u", 5, ((1, "https://r2/b1"),)),
    ]
    for wrong in ([parts, put], [put], [put, {**parts, "method": "POST"}]):
        with pytest.raises(ShapeError):
            parse_uploads({"uploads": list(wrong)}, ["a", "b"])


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://x.example/a", True),
        ("http://127.0.0.1:8787", True),
        ("http://[::1]:8787", True),
        ("http://localhost", True),
        ("http://127.0.0.1.example", False),
        ("http://10.0.0.1", False),
        ("https://", False),
        ("http://[", False),
        ("file:///etc/passwd", False),
    ],
)
def test_tokens_and_files_travel_over_https_or_loopback(url: str, trusted: bool) -> None:
    assert is_trusted_url(url) is trusted


def test_a_receipt_is_never_empty_and_has_no_error_field() -> None:
    assert Receipt(JOB, 1, "failed", "timeout", 5).to_wire() == {
        "job": JOB,
        "attempt": 1,
        "outcome": "failed",
        "code": "timeout",
        "execution_ms": 5,
    }
    assert "error" not in Receipt(None, None, "refused", "invalid_ticket").to_wire()


def test_a_problem_is_told_by_its_code() -> None:
    assert problem_code({"code": "job_over"}, 410) == "job_over"
    assert problem_code("<html>", 502) == "http_502"
    assert missing_names({"missing": ["a", 1]}) == ["a"]


def test_deep_nesting_is_bad_json_and_no_crash() -> None:
    with pytest.raises(ShapeError):
        decode("[" * 100_000)
