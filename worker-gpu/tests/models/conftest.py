"""Fixtures of the test servers."""

from collections.abc import Generator

import pytest

from models.faulty_store import FaultyStore, faulty_store


@pytest.fixture
def store() -> Generator[FaultyStore]:
    with faulty_store() as running:
        yield running
