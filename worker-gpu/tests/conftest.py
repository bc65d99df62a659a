"""Every test ends within a time, whatever it waits for."""

import faulthandler
from collections.abc import Generator

import pytest

TEST_LIMIT_S = 60
"""A test that hangs ends the run with every stack shown; single waits are bounded much lower (fakes/notice.py)."""


@pytest.fixture(autouse=True)
def bounded() -> Generator[None]:
    faulthandler.dump_traceback_later(TEST_LIMIT_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
