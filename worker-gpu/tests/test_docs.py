"""What docs/worker.md says is shown by a test is shown by a test that is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parents[1] / "docs" / "worker.md").read_text()
KNOWN_ISSUES = PAGE.split("## worker-comfyui's known issues")[1]
ROWS = [row for row in KNOWN_ISSUES.splitlines() if row.startswith("| ") and not row.startswith("| there ")]


def test_every_known_issue_has_its_test() -> None:
    assert len(ROWS) >= 15
    for row in ROWS:
        shown = row.rstrip(" |").rpartition(" | ")[2]
        named = re.findall(r"`([\w/]+\.py|[\w/]+/)`(?:: ((?:`\w+`(?:, )?)+))?", shown)
        assert named, row
        for place, names in named:
            path = TESTS / place
            assert path.exists(), f"{place} in: {row}"
            for name in re.findall(r"`(\w+)`", names):
                assert re.search(rf"def test_\w*{name}", path.read_text()), f"{place}: {name}"
