"""Primitives and text nodes."""

import pytest

from local_comfyui.nodes.registry import Value
from tests.nodes import noise, run


@pytest.mark.parametrize(
    ("kind", "value"), [("Int", 7), ("Float", 1.5), ("String", "x"), ("StringMultiline", "a\nb"), ("Boolean", False)]
)
def test_a_primitive_gives_its_value(kind: str, value: Value) -> None:
    assert run(f"Primitive{kind}", value=value).outputs == (value,)


CASES: list[tuple[str, dict[str, Value], Value]] = [
    ("StringConcatenate", {"string_a": "a", "string_b": "b", "delimiter": "-"}, "a-b"),
    ("StringSubstring", {"string": "hello", "start": 1, "end": 3}, "el"),
    ("StringSubstring", {"string": "hello", "start": -3, "end": 99}, "llo"),
    ("StringLength", {"string": "hé"}, 2),
    ("CaseConverter", {"string": "ab cD", "mode": "UPPERCASE"}, "AB CD"),
    ("CaseConverter", {"string": "ab cD", "mode": "lowercase"}, "ab cd"),
    ("CaseConverter", {"string": "ab cD", "mode": "Capitalize"}, "Ab cd"),
    ("CaseConverter", {"string": "ab cD", "mode": "Title Case"}, "Ab Cd"),
    ("StringTrim", {"string": " a ", "mode": "Both"}, "a"),
    ("StringTrim", {"string": " a ", "mode": "Left"}, "a "),
    ("StringTrim", {"string": " a ", "mode": "Right"}, " a"),
    ("StringReplace", {"string": "aXbX", "find": "X", "replace": "."}, "a.b."),
    ("StringContains", {"string": "Hello", "substring": "hell", "case_sensitive": True}, False),
    ("StringContains", {"string": "Hello", "substring": "hell", "case_sensitive": False}, True),
    ("StringCompare", {"string_a": "Hello", "string_b": "He", "mode": "Starts With", "case_sensitive": True}, True),
    ("StringCompare", {"string_a": "Hello", "string_b": "LO", "mode": "Ends With", "case_sensitive": False}, True),
    ("StringCompare", {"string_a": "Hello", "string_b": "hello", "mode": "Equal", "case_sensitive": True}, False),
]


@pytest.mark.parametrize(("name", "inputs", "expected"), CASES)
def test_text(name: str, inputs: dict[str, Value], expected: Value) -> None:
    assert run(name, **inputs).outputs == (expected,)


FLAGS: dict[str, Value] = {"case_insensitive": True, "multiline": False, "dotall": False}


@pytest.mark.parametrize(
    ("pattern", "flags", "expected"),
    [("B.", {}, True), ("B.", {"case_insensitive": False}, False), ("c$", {}, False), ("c$", {"multiline": True}, True),
     ("c.d", {}, False), ("c.d", {"dotall": True}, True), ("(", {}, False)],
)  # fmt: skip
def test_regex_match(pattern: str, flags: dict[str, Value], expected: bool) -> None:
    assert run("RegexMatch", string="abc\nd", regex_pattern=pattern, **{**FLAGS, **flags}).outputs == (expected,)


@pytest.mark.parametrize(
    ("mode", "pattern", "group", "expected"),
    [
        ("First Match", r"[a-z]\d", 1, "a1"),
        ("All Matches", r"[a-z]\d", 1, "a1\nb2"),
        ("All Matches", r"([a-z])(\d)", 1, "a\nb"),
        ("First Group", r"([a-z])(\d)", 2, "1"),
        ("All Groups", r"([a-z])(\d)", 2, "1\n2"),
        ("All Groups", r"([a-z])(\d)", 3, ""),
        ("First Match", "x", 1, ""),
        ("First Match", "(", 1, ""),
    ],
)
def test_regex_extract(mode: str, pattern: str, group: int, expected: str) -> None:
    result = run("RegexExtract", string="a1 b2", regex_pattern=pattern, mode=mode, group_index=group, **FLAGS)
    assert result.outputs == (expected,)


def test_regex_replace_counts() -> None:
    swapped = {"string": "a1 b2", "regex_pattern": r"([a-z])(\d)", "replace": r"\2\1"}
    assert run("RegexReplace", **swapped).outputs == ("1a 2b",)
    assert run("RegexReplace", **swapped, count=1).outputs == ("1a b2",)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("text", "text"), (3, "3"), (1.5, "1.5"), (True, "True"), (None, "None"), ([1, "a"], '[\n    1,\n    "a"\n]')],
)
def test_preview_any_shows_a_value_as_text(value: Value, shown: str) -> None:
    assert run("PreviewAny", source=value).ui == {"text": [shown]}


def test_preview_any_shows_a_picture_as_pytorch_prints_it() -> None:
    shown = run("PreviewAny", source=noise(1, 1, 1, 3) * 0 + 0.5).ui["text"][0]
    assert shown == "tensor([[[[0.5000, 0.5000, 0.5000]]]])"
