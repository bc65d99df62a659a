"""An output file is read once: the code that hashes it keeps its content up to a limit."""

import base64
import hashlib
from pathlib import Path

import pytest

from direct.harness import direct_harness, entries
from direct.test_answers import SAVE, listing
from fakes.comfy import PNG
from worker_gpu.direct.response import InlineFiles
from worker_gpu.outputs import collect
from worker_gpu.outputs.files import IN_MEMORY_BYTES, measure
from worker_gpu.outputs.upload import NamedFile
from worker_gpu.wire.contract import Output

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    ("size", "held"), [(0, False), (1, True), (IN_MEMORY_BYTES, True), (IN_MEMORY_BYTES + 1, False)]
)
async def test_measure_holds_the_content_of_a_file_up_to_a_limit(tmp_path: Path, size: int, held: bool) -> None:
    content = b"\x89PNG\r\n\x1a\n".ljust(size, b"x")[:size]
    (tmp_path / "a.png").write_bytes(content)
    file = measure(tmp_path / "a.png", "a.png")
    assert (file.size_bytes, file.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert file.content == (content if held else None)


async def test_response_reads_each_file_once(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.png", InlineFiles()
    path.write_bytes(PNG)
    file = measure(path, "a.png")
    path.unlink()
    await kept.put([NamedFile("a.png", file)], lambda _named, _key: None)
    assert base64.b64decode(kept.data(output_of(file.sha256))) == PNG


def output_of(sha256: str) -> Output:
    """The output `a.png`."""
    return Output("a.png", "2", "SaveImage", "image", "image/png", len(PNG), sha256, "", False, None)


async def test_files_over_the_memory_limit_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_HELD_BYTES", 2 * len(PNG))
    files = {f"{number}.png": PNG + bytes([number]) for number in range(4)}
    async with direct_harness(tmp_path, listing(files)) as harness:
        answer = await harness.run({"workflow": SAVE})
        given = {str(entry["filename"]): base64.b64decode(str(entry["data"])) for entry in entries(answer, "images")}
        assert given == files
