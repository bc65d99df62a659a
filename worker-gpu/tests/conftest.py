"""Every test ends within a time, whatever it waits for."""

import faulthandler
from collections.abc import Generator

import pytest
from hypothesis import settings

TEST_LIMIT_S = 60
"""A test that hangs ends the run with every stack shown; single waits are shorter (fakes/notification.py)."""

# The same cases each time: a failure is one of this change, not of chance. No deadline: machines differ.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def bounded() -> Generator[None]:
    faulthandler.dump_traceback_later(TEST_LIMIT_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
