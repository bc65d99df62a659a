"""`options.metadata: false` removes the workflow from a file and changes nothing else of it."""

import json
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from outputs.media_files import MARKER, WORKFLOW, WRITERS
from worker_gpu.outputs.strip_metadata.strip import StripResult, strip

IMAGES = [name for name in WRITERS if name.endswith((".png", ".webp"))]
VIDEOS = [name for name in WRITERS if name.startswith("video")]
AUDIO = [name for name in WRITERS if name.startswith("audio")]
NOT_SUPPORTED = {
    "image.jpg": b"\xff\xd8\xff\xe1",
    "image.gif": b"GIF89a",
    "image.avif": b"\0\0\0\x20ftypavif",
    "image.tiff": b"II*\0",
    "image.exr": b"\x76\x2f\x31\x01\x02\0\0\0",
    "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><metadata>",
    "video.mov": b"\0\0\0\x14ftypqt  ",
    "video.mkv": b"\x1a\x45\xdf\xa3....matroska",
    "audio.wav": b"RIFF\0\0\0\0WAVE",
    "audio.m4a": b"\0\0\0\x20ftypM4A ",
    "vorbis.ogg": b"OggS....vorbis",
    "mesh.glb": b"glTF",
    "cloud.ply": b"ply\ncomment ",
    "noise.latent": b"\x40\0\0\0\0\0\0\0{",
    "model.safetensors": b"\x40\0\0\0\0\0\0\0{",
    "archive.zip": b"PK\x03\x04",
    "unknown.bin": b"\0\1\2\3",
}


def written(folder: Path, name: str) -> tuple[Path, bytes]:
    """A file with the workflow in it, and its content."""
    path = folder / name
    WRITERS[name](path)
    return path, path.read_bytes()


def pixels(path: Path) -> list[tuple[bytes, object]]:
    """Pixels and duration of each frame of an image."""
    with Image.open(path) as image:
        frames: list[tuple[bytes, object]] = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append((image.convert("RGBA").tobytes(), image.info.get("duration")))
        return frames


def decoded(path: Path) -> list[tuple[int | None, bytes]]:
    """Time and content of each frame of a video or of audio."""
    with av.open(str(path)) as container:
        stream = (container.streams.video or container.streams.audio)[0]
        return [
            (frame.pts, frame.to_ndarray().tobytes())
            for frame in container.decode(stream)
            if isinstance(frame, av.VideoFrame | av.AudioFrame)
        ]


def tags(path: Path) -> str:
    """The tags that a player shows of a file."""
    with av.open(str(path)) as container:
        return json.dumps([dict(container.metadata), *(dict(stream.metadata) for stream in container.streams)])


@pytest.mark.parametrize("name", WRITERS)
def test_strip_removes_the_workflow_from_every_supported_type(tmp_path: Path, name: str) -> None:
    path, before = written(tmp_path, name)
    assert MARKER.encode() in before
    assert strip(path, name) is StripResult.REMOVED
    assert MARKER.encode() not in path.read_bytes()
    assert [found.name for found in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", IMAGES)
def test_strip_keeps_the_pixels_of_an_image(tmp_path: Path, name: str) -> None:
    path, _ = written(tmp_path, name)
    before = pixels(path)
    strip(path, name)
    assert pixels(path) == before
    with Image.open(path) as image:
        image.load()
        assert MARKER not in str(image.info) + str(dict(image.getexif()))


@pytest.mark.parametrize("name", VIDEOS + AUDIO)
def test_strip_keeps_every_frame_of_video_and_audio(tmp_path: Path, name: str) -> None:
    path, _ = written(tmp_path, name)
    before = decoded(path)
    strip(path, name)
    assert len(before) > 1
    assert decoded(path) == before
    assert MARKER not in tags(path)


@pytest.mark.parametrize("name", VIDEOS)
def test_strip_keeps_the_length_of_a_video(tmp_path: Path, name: str) -> None:
    """Its index holds offsets."""
    path, before = written(tmp_path, name)
    strip(path, name)
    assert len(path.read_bytes()) == len(before)


@pytest.mark.parametrize("name", WRITERS)
def test_strip_changes_nothing_when_it_runs_again(tmp_path: Path, name: str) -> None:
    path, _ = written(tmp_path, name)
    strip(path, name)
    before = path.read_bytes()
    strip(path, name)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_strip_never_loses_a_damaged_file(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """No content of a file fails the job."""
    _, whole = written(tmp_path, name) if not (tmp_path / name).exists() else (None, (tmp_path / "whole").read_bytes())
    (tmp_path / "whole").write_bytes(whole)
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if damaged:
            damaged[data.draw(st.integers(0, min(len(damaged), 400) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(damaged)
    result = strip(path, name)
    assert path.is_file()
    if result is not StripResult.REMOVED:
        assert path.read_bytes() == damaged


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.endswith((".webp", ".webm", ".mp3"))])
def test_strip_reports_a_file_that_ends_in_its_header_as_damaged(tmp_path: Path, name: str) -> None:
    """WebP, WebM and MP3 are read up to their end."""
    path, whole = written(tmp_path, name)
    path.write_bytes(whole[:60])
    assert strip(path, name) is StripResult.DAMAGED
    assert path.read_bytes() == whole[:60]


def test_strip_reports_a_webm_file_that_ends_in_its_tags_as_damaged(tmp_path: Path) -> None:
    path, whole = written(tmp_path, "video.webm")
    cut = whole[: whole.index(MARKER.encode()) + 100]
    path.write_bytes(cut)
    assert strip(path, path.name) is StripResult.DAMAGED
    assert path.read_bytes() == cut


@pytest.mark.parametrize("name", NOT_SUPPORTED)
def test_strip_leaves_a_file_of_another_type_and_says_so(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, NOT_SUPPORTED[name] + WORKFLOW.encode()
    path.write_bytes(content)
    assert strip(path, name) is StripResult.NOT_SUPPORTED
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["note.txt", "data.json", "table.csv"])
def test_strip_finds_no_metadata_in_a_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("a text")
    assert strip(path, name) is StripResult.NONE_FOUND
