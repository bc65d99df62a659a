"""Nodes on text."""

import re

from local_comfyui.nodes.registry import Call, Result, Theme

NODES = Theme()


@NODES.node("StringConcatenate")
def string_concatenate(call: Call) -> Result:
    """Two texts with a delimiter between."""
    return Result((call.text("string_a") + call.text("delimiter") + call.text("string_b"),))


@NODES.node("StringSubstring")
def string_substring(call: Call) -> Result:
    """From start to end, counted as Python does."""
    return Result((call.text("string")[call.integer("start") : call.integer("end")],))


@NODES.node("StringLength")
def string_length(call: Call) -> Result:
    """Number of characters."""
    return Result((len(call.text("string")),))


@NODES.node("CaseConverter")
def case_converter(call: Call) -> Result:
    """Upper, lower, capitalised or title case."""
    convert = {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
    return Result((convert[call.text("mode")](call.text("string")),))


@NODES.node("StringTrim")
def string_trim(call: Call) -> Result:
    """Without white space at one end or both."""
    trim = {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}
    return Result((trim[call.text("mode")](call.text("string")),))


@NODES.node("StringReplace")
def string_replace(call: Call) -> Result:
    """Every occurrence of a text replaced."""
    return Result((call.text("string").replace(call.text("find"), call.text("replace")),))


def _cased(call: Call, *names: str) -> list[str]:
    texts = [call.text(name) for name in names]
    return texts if call.flag("case_sensitive", True) else [text.lower() for text in texts]


@NODES.node("StringContains")
def string_contains(call: Call) -> Result:
    """Whether one text occurs in another."""
    whole, part = _cased(call, "string", "substring")
    return Result((part in whole,))


@NODES.node("StringCompare")
def string_compare(call: Call) -> Result:
    """Whether two texts are equal, or one begins or ends with the other."""
    first, second = _cased(call, "string_a", "string_b")
    compare = {"Starts With": first.startswith, "Ends With": first.endswith, "Equal": first.__eq__}
    return Result((compare[call.text("mode")](second),))


def _flags(call: Call) -> re.RegexFlag:
    flags = re.RegexFlag(0)
    for name, flag, default in (
        ("case_insensitive", re.IGNORECASE, True),
        ("multiline", re.MULTILINE, False),
        ("dotall", re.DOTALL, False),
    ):
        if call.flag(name, default):
            flags |= flag
    return flags


def _matches(call: Call) -> list[re.Match[str]]:
    """Every match; none when the pattern is not a regular expression, which these nodes do not report."""
    try:
        return list(re.finditer(call.text("regex_pattern"), call.text("string"), _flags(call)))
    except re.error:
        return []


@NODES.node("RegexMatch")
def regex_match(call: Call) -> Result:
    """Whether the pattern occurs."""
    return Result((len(_matches(call)) > 0,))


@NODES.node("RegexExtract")
def regex_extract(call: Call) -> Result:
    """First or all matches or groups, one a line."""
    matches, mode, group = _matches(call), call.text("mode"), call.integer("group_index")
    if mode.startswith("First"):
        matches = matches[:1]
    if mode == "All Matches":  # Python's findall: the first group where there is one
        found = [match.group(1) or "" if match.re.groups else match.group(0) for match in matches]
    elif mode == "First Match":
        found = [match.group(0) for match in matches]
    else:
        wanted = [match for match in matches if match.re.groups and match.re.groups >= group]
        found = [text for match in wanted if (text := match.group(group)) is not None]
    return Result(("\n".join(found),))


@NODES.node("RegexReplace")
def regex_replace(call: Call) -> Result:
    """Matches replaced; count 0 replaces all. Raises `re.error` for a pattern that is none."""
    pattern = re.compile(call.text("regex_pattern"), _flags(call))
    return Result((pattern.sub(call.text("replace"), call.text("string"), count=int(call.number("count", 0))),))
