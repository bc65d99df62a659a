"""`options.metadata: false`: the graph is in no output any more, and nothing else of the output has changed."""

import json
import struct
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from graph_files import GRAPH, MAKERS, NEEDLE
from worker_gpu.outputs.strip_metadata.strip import strip

PICTURES = [name for name in MAKERS if Path(name).suffix in (".png", ".webp", ".jpg", ".gif")]
FILMS = [name for name in MAKERS if name.startswith("film")]
SOUNDS = [name for name in MAKERS if name.startswith("sound")]


def made(folder: Path, name: str) -> tuple[Path, bytes]:
    """A file with the graph in it, and its bytes before anything was done."""
    path = folder / name
    MAKERS[name](path)
    return path, path.read_bytes()


def pictures(path: Path) -> list[tuple[bytes, object]]:
    """What is to be seen, and for how long."""
    with Image.open(path) as image:
        seen: list[tuple[bytes, object]] = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            seen.append((image.convert("RGBA").tobytes(), image.info.get("duration")))
        return seen


def decoded(path: Path) -> list[tuple[int | None, bytes]]:
    """What is to be seen or heard, and when."""
    with av.open(str(path)) as container:
        stream = (container.streams.video or container.streams.audio)[0]
        return [
            (frame.pts, frame.to_ndarray().tobytes())
            for frame in container.decode(stream)
            if isinstance(frame, av.VideoFrame | av.AudioFrame)
        ]


def tags(path: Path) -> str:
    """Everything a player shows of the file's tags."""
    with av.open(str(path)) as container:
        return json.dumps([dict(container.metadata), *(dict(stream.metadata) for stream in container.streams)])


@pytest.mark.parametrize("name", MAKERS)
def test_the_graph_is_gone_from_every_kind_of_file(tmp_path: Path, name: str) -> None:
    path, before = made(tmp_path, name)
    assert NEEDLE.encode() in before
    assert strip(path, name)
    assert NEEDLE.encode() not in path.read_bytes()
    assert [found.name for found in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_look_the_same(tmp_path: Path, name: str) -> None:
    path, _ = made(tmp_path, name)
    before = pictures(path)
    strip(path, name)
    assert pictures(path) == before
    with Image.open(path) as image:
        image.load()
        assert NEEDLE not in str(image.info) + str(dict(image.getexif()))


@pytest.mark.parametrize("name", FILMS + SOUNDS)
def test_films_and_sounds_play_the_same(tmp_path: Path, name: str) -> None:
    path, _ = made(tmp_path, name)
    before = decoded(path)
    strip(path, name)
    assert len(before) > 1
    assert decoded(path) == before
    assert NEEDLE not in tags(path)


def test_films_keep_their_length_so_that_nothing_in_them_moves(tmp_path: Path) -> None:
    for name in FILMS:
        path, before = made(tmp_path, name)
        strip(path, name)
        assert len(path.read_bytes()) == len(before)


def test_headers_keep_everything_else(tmp_path: Path) -> None:
    path, before = made(tmp_path, "mesh.glb")
    strip(path, path.name)
    after = path.read_bytes()
    (length,) = struct.unpack_from("<I", after, 12)
    assert json.loads(after[20 : 20 + length]) == {
        "asset": {"version": "2.0"},
        "nodes": [{"translation": [0.1, -2.5e-7, 3]}],
    }
    assert after[20 + length :] == before[20 + length :]

    path, before = made(tmp_path, "noise.latent")
    strip(path, path.name)
    after = path.read_bytes()
    (length,) = struct.unpack_from("<Q", after)
    assert json.loads(after[8 : 8 + length])["__metadata__"] == {"format": "pt"}
    assert after[8 + length :] == before[8 + length :]

    path, before = made(tmp_path, "light.exr")
    strip(path, path.name)
    assert path.read_bytes() == before.replace(GRAPH.encode(), b" " * len(GRAPH))

    path, _ = made(tmp_path, "drawing.svg")
    strip(path, path.name)
    assert path.read_text() == '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/></svg>'


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_without_a_graph_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    path, _ = made(tmp_path, name)
    strip(path, name)
    before = path.read_bytes()
    strip(path, name)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_broken_file_breaks_nothing(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """It is the client's file, whatever is in it: it is never lost, and never fails the job."""
    _, whole = made(tmp_path, name) if not (tmp_path / name).exists() else (None, (tmp_path / "whole").read_bytes())
    (tmp_path / "whole").write_bytes(whole)
    broken = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if broken:
            broken[data.draw(st.integers(0, min(len(broken), 400) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(broken)
    changed = strip(path, name)
    assert path.is_file()
    if not changed:
        assert path.read_bytes() == broken


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    path.write_bytes(b"ply\ncomment " + GRAPH.encode())
    assert not strip(path, path.name)
