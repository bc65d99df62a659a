"""What the documents say is shown by a test is shown by a test that is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
DOCS = TESTS.parents[1] / "docs"
REAL = "real/test_real_comfyui.py"


def rows(page: str, after: str) -> list[str]:
    """Rows of the tables that follow the text `after`, without their heads."""
    lines = (DOCS / page).read_text().split(after)[1].splitlines()
    return [line for line, above in zip(lines[1:], lines, strict=False) if line.startswith("| ") and above[:1] == "|"]


def check(place: str, names: list[str], row: str) -> None:
    """Raises `AssertionError` unless there is a test of each name in the file `place`."""
    path = TESTS / (REAL if place == "real/" else place)
    assert path.exists(), f"{place} in: {row}"
    for name in names:
        assert re.search(rf"def test_\w*{name}", path.read_text()), f"{place}: {name}"


def test_every_known_issue_has_its_test() -> None:
    known = rows("guides/direct-jobs.md", "## worker-comfyui's known issues")
    assert len(known) >= 15
    for row in known:
        shown = row.rstrip(" |").rpartition(" | ")[2]
        named = re.findall(r"`([\w/]+\.py|[\w/]+/)`(?:: ((?:`\w+`(?:, )?)+))?", shown)
        assert named, row
        for place, names in named:
            if names or place.endswith(".py"):
                check(place, re.findall(r"`(\w+)`", names), row)


def test_everything_that_outlives_a_job_has_its_test() -> None:
    kept = rows("reference/isolation.md", "| what | what becomes of it | shown by |")
    assert len(kept) >= 20
    for row in kept:
        shown = row.rstrip(" |").rpartition(" | ")[2]
        words = re.findall(r"`([\w/.]+)`", shown)
        places = [word for word in words if word.endswith((".py", "/"))]
        assert places, row
        for place in places:
            assert (TESTS / place).exists(), f"{place} in: {row}"
        for name in (word for word in words if word not in places):
            found = [place for place in places if re.search(rf"def test_\w*{name}", text_of(place))]
            assert found, f"{name} in: {row}"


def text_of(place: str) -> str:
    """The text of a file of tests, or of all in a folder."""
    path = TESTS / place
    return path.read_text() if path.is_file() else "\n".join(file.read_text() for file in path.glob("test_*.py"))
