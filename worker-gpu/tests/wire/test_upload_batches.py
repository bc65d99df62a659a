"""Batches of files for `uploads` calls, within the limits of one call (docs/reference/worker-contract.md)."""

from pathlib import Path

import pytest

from worker_gpu.outputs.files import LocalFile
from worker_gpu.outputs.kinds import TEXT
from worker_gpu.outputs.upload import NamedFile, batches_of
from worker_gpu.wire.contract import MAX_UPLOADS_PER_CALL, MAX_URLS_PER_CALL, PART_BYTES, SINGLE_PUT_BYTES

LARGE = PART_BYTES * 250


def files(sizes: list[int]) -> list[NamedFile]:
    """Files of these sizes that need not exist."""
    return [NamedFile(str(number), LocalFile(Path("x"), size, "0" * 64, TEXT)) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([], []),
        ([1] * MAX_UPLOADS_PER_CALL, [MAX_UPLOADS_PER_CALL]),
        ([1] * (MAX_UPLOADS_PER_CALL + 1), [MAX_UPLOADS_PER_CALL, 1]),
        ([LARGE] * 4, [4]),
        ([LARGE] * 4 + [1], [4, 1]),
        ([1, PART_BYTES * MAX_URLS_PER_CALL, SINGLE_PUT_BYTES], [1, 1, 1]),
        ([PART_BYTES * 5_000, PART_BYTES * 5_000], [1, 1]),
    ],
)
def test_batch_requests_at_most_max_urls_per_call(sizes: list[int], counts: list[int]) -> None:
    named = files(sizes)
    batches = batches_of(named)
    assert [len(batch) for batch in batches] == counts
    assert [file for batch in batches for file in batch] == named
