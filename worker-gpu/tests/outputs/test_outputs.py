"""Discovery, types and names of outputs."""

import string
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker_gpu.json_readers import Json, JsonObject
from worker_gpu.outputs.history_outputs import (
    FileRef,
    ImageRef,
    ListedOutput,
    OutputRef,
    PathRef,
    TextRef,
    list_outputs,
)
from worker_gpu.outputs.kinds import kind_of
from worker_gpu.outputs.names import Names
from worker_gpu.outputs.output_paths import candidate_files

names = st.text(alphabet=string.ascii_letters + string.digits + "_-.", min_size=1, max_size=12)
folders = st.sampled_from(["output", "temp", "input"])


def walked(output: JsonObject) -> list[OutputRef]:
    """The outputs that node 2 lists with `output`."""
    return [listed.ref for listed in list_outputs("2", output)]


@st.composite
def outputs_with_files(draw: st.DrawFn) -> tuple[JsonObject, set[ListedOutput]]:
    """A generated node output, and the files in it with their keys."""
    put: set[ListedOutput] = set()

    def file(key: str) -> JsonObject:
        name, below, folder = draw(names), draw(st.sampled_from(["", "a", "a/b"])), draw(folders)
        if folder != "input":
            put.add(ListedOutput("2", key, FileRef(name, below, folder)))
        return {
            "filename": name,
            "subfolder": below,
            "type": folder,
            "extra": draw(st.integers() | st.text(max_size=4)),
        }

    def value(key: str, depth: int) -> Json:
        kind = draw(st.sampled_from(["file", "noise", "list", "object"] if depth < 3 else ["file", "noise"]))
        if kind == "file":
            return file(key)
        if kind == "list":
            return [value(key, depth + 1) for _ in range(draw(st.integers(0, 3)))]
        if kind == "object":
            return {f"k{n}": value(key, depth + 1) for n in range(draw(st.integers(0, 3)))}
        return draw(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False))

    return {f"key{n}": value(f"key{n}", 0) for n in range(draw(st.integers(0, 4)))}, put


@given(made=outputs_with_files())
def test_every_file_is_found_once_for_each_key_that_lists_it(made: tuple[JsonObject, set[ListedOutput]]) -> None:
    output, put = made
    found = list_outputs("2", output)
    assert set(found) == put
    assert len(found) == len(put)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["filename", "subfolder", "type", "text", "result", "x"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(output=st.dictionaries(st.text(max_size=6), json_values, max_size=4))
@example(output={"images": [{"filename": "/"}]})
def test_list_outputs_accepts_any_json(output: JsonObject) -> None:
    for found in walked(output):
        match found:
            case TextRef() | ImageRef():
                pass
            case PathRef():
                assert found.path
            case FileRef():
                assert found.filename


def test_list_outputs_counts_texts_by_node() -> None:
    assert walked({"text": ["a", "b"], "other": ["c"]}) == [TextRef("a", 0), TextRef("b", 1)]


def test_string_is_a_path_only_if_it_looks_like_one() -> None:
    found = walked({"result": ["3d/name_00001_.ply", "just words", {"camera": "x.ply"}, None, "https://a/b.png"]})
    assert found == [PathRef("3d/name_00001_.ply"), PathRef("x.ply")]
    assert walked({"result": ["a\n.png", "a\ud83d.png", "a" * 300 + ".png", ".png/" * 300 + "a.png", ""]}) == []


def test_string_can_be_a_path_under_any_key() -> None:
    found = walked({"video_path": ["v.mp4"], "model_file": ["sub\\a.glb"], "mesh": "output/a.glb"})
    assert found == [PathRef("v.mp4"), PathRef("sub\\a.glb"), PathRef("output/a.glb")]


def test_annotation_of_a_path_names_its_folder() -> None:
    found = walked({"result": ["a.glb [temp]", "b.glb [output]", "c.glb [input]", "d.glb[temp]", "e.glb [other]"]})
    assert found == [PathRef("a.glb", "temp"), PathRef("b.glb", "output"), PathRef("d.glb", "temp")]


def test_numbers_and_booleans_are_texts_under_text_keys() -> None:
    found = walked({"text": [42, "s", None], "value": [3.14, True], "animated": [True], "width": [512]})
    assert found == [TextRef("42", 0), TextRef("s", 1), TextRef("3.14", 2), TextRef("true", 3)]


def test_listed_file_with_an_absolute_path_is_required() -> None:
    assert walked({"gifs": [{"filename": "/data/output/a.mp4", "type": "output"}]}) == [
        PathRef("/data/output/a.mp4", "output", required=True)
    ]
    assert walked({"gifs": [{"filename": "a.mp4", "subfolder": "C:\\out", "type": "temp"}]}) == [
        PathRef("C:\\out/a.mp4", "temp", required=True)
    ]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (PathRef("3d/a.ply"), ["output:3d/a.ply", "temp:3d/a.ply"]),
        (PathRef("temp/bg.png"), ["temp:bg.png", "output:temp/bg.png", "temp:temp/bg.png"]),
        (PathRef("output/a.glb"), ["output:output/a.glb", "temp:output/a.glb", "output:a.glb"]),
        (PathRef("a.glb", "temp"), ["temp:a.glb"]),
        (PathRef("x/../a.glb", "output"), ["output:a.glb"]),
        (PathRef("../a.glb"), []),
        (PathRef("x/../../a.glb", "output"), []),
        (PathRef("/srv/ComfyUI/output/video/v.mp4"), ["output:video/v.mp4"]),
        (PathRef("C:/ComfyUI/temp/v.mp4"), ["temp:v.mp4"]),
        (
            PathRef("C:\\ComfyUI\\temp\\v.mp4"),
            ["temp:v.mp4", "output:C:\\ComfyUI\\temp\\v.mp4", "temp:C:\\ComfyUI\\temp\\v.mp4"],
        ),
        (PathRef("x\\a.png", "output"), ["output:x/a.png", "output:x\\a.png"]),
        (PathRef("..\\a.png", "output"), ["output:..\\a.png"]),
        (PathRef("/srv/temp/ComfyUI/output/v.mp4"), ["output:v.mp4"]),
        (PathRef("/etc/output/../passwd.txt"), []),
        (PathRef("/etc/passwd.txt"), []),
    ],
)
def test_path_refers_only_to_files_in_comfyuis_folders(path: PathRef, meant: list[str]) -> None:
    assert [f"{file.folder}:{file.path}" for file in candidate_files(path, ())] == meant


def test_absolute_path_refers_to_files_below_our_folders(tmp_path: Path) -> None:
    output, temp = tmp_path / "output", tmp_path / "temp"
    (output / "job.1").mkdir(parents=True)
    temp.mkdir()
    (output / "job.1" / "a.glb").write_bytes(b"glTF")
    (tmp_path / "other").symlink_to(output)
    roots = [("output", output), ("temp", temp)]

    def meant(path: Path) -> list[FileRef]:
        return candidate_files(PathRef(path.as_posix()), roots)

    assert meant(output / "job.1" / "a.glb") == [FileRef("a.glb", "job.1", "output")]
    assert meant(tmp_path / "other" / "job.1" / "a.glb") == [FileRef("a.glb", "job.1", "output")]
    assert meant(temp / "b.png") == [FileRef("b.png", "", "temp")]
    assert meant(output / ".." / "secret.png") == []
    assert meant(Path("/srv/output/a.glb")) == []


def test_backslash_in_a_listed_file_matches_as_character_and_separator(tmp_path: Path) -> None:
    (ref,) = walked({"images": [{"filename": "a\\b.png", "subfolder": "x", "type": "output"}]})
    assert isinstance(ref, PathRef)
    assert ref == PathRef("x/a\\b.png", "output", required=True)
    slashed, as_it_is = FileRef("b.png", "x/a", "output"), FileRef("a\\b.png", "x", "output")
    assert candidate_files(ref, ()) == [slashed, as_it_is]
    assert candidate_files(ref, [("output", tmp_path)]) == [as_it_is, slashed]


@pytest.mark.parametrize(
    ("head", "name", "kind", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "a.bin", "image", "image/png"),
        (b"\xff\xd8\xff\xe0", "a.png", "image", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBP", "a", "image", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", "a", "audio", "audio/wav"),
        (b"\0\0\0\x20ftypisom", "a.png", "video", "video/mp4"),
        (b"\0\0\0\x20ftypavif", "a", "image", "image/avif"),
        (b"\0\0\0\x20ftypM4A ", "a", "audio", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3....webm", "a", "video", "video/webm"),
        (b"\x1a\x45\xdf\xa3....matroska", "a", "video", "video/x-matroska"),
        (b"OggS....vorbis", "a", "audio", "audio/ogg"),
        (b"OggS....theora", "a", "video", "video/ogg"),
        (b"fLaC", "a", "audio", "audio/flac"),
        (b"glTF", "a", "3d", "model/gltf-binary"),
        (b"ply\n", "a", "3d", "application/octet-stream"),
        (b"  <svg xmlns=", "a", "image", "image/svg+xml"),
        (b"<?xml version='1.0'?><svg", "a.txt", "image", "image/svg+xml"),
        (b"\x40\0\0\0\0\0\0\0{", "a.latent", "latent", "application/octet-stream"),
        (b"\x1f\x8b", "a.spz", "3d", "application/octet-stream"),
        (b"{}", "a.json", "text", "application/json"),
        (b"hello", "a.txt", "text", "text/plain; charset=utf-8"),
        (b"hello", "a", "file", "application/octet-stream"),
        (b"", "a.unknown", "file", "application/octet-stream"),
    ],
)
def test_kind_is_decided_by_content_then_by_extension(head: bytes, name: str, kind: str, content_type: str) -> None:
    found = kind_of(head, name)
    assert (found.type, found.content_type) == (kind, content_type)


BITMAP = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"


@pytest.mark.parametrize(
    ("head", "name", "content_type"),
    [
        (BITMAP, "a.bin", "image/bmp"),
        (b"BMW is a car, and this is a note", "a.txt", "text/plain; charset=utf-8"),
        (b"BMW is a car, and this is a note", "a", "application/octet-stream"),
        (b'BM\0\0\0\0\0\0{"latent_tensor": {}}', "x.latent", "application/octet-stream"),
        (b'II*\0\0\0\0\0{"latent_tensor": {}}', "x.safetensors", "application/octet-stream"),
        (b"ID3\x04\x00\x00\x00\x00\x02\x01TIT2", "a", "audio/mpeg"),
        (b"ID3 tags explained", "n.md", "text/markdown; charset=utf-8"),
        (b"ID3 tags explained", "n", "application/octet-stream"),
        (b"\xff\xfb\x90\x00", "a", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "a.mp3", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "cloud.splat", "application/octet-stream"),
        (b"\xff\xd8\xff\x00\x00", "cloud.splat", "application/octet-stream"),
        (b"The ftyp box of a film", "a.txt", "text/plain; charset=utf-8"),
        (b"glTF is a format", "a.md", "text/markdown; charset=utf-8"),
        (b"GIF89a is old, \xc3\xa9", "a.txt", "text/plain; charset=utf-8"),
        (b"ply\n,1,2", "a.csv", "text/csv; charset=utf-8"),
        (b"GIF89a\x10\x00\x10\x00\xf7", "a.txt", "image/gif"),
        (b"\xff\xd8\xff\xe0", "a.json", "image/jpeg"),
    ],
)
def test_a_signature_in_a_text_does_not_change_its_kind(head: bytes, name: str, content_type: str) -> None:
    assert kind_of(head, name).content_type == content_type


@pytest.mark.parametrize("cut", range(1, 4))
def test_text_cut_within_a_character_is_a_text(cut: int) -> None:
    assert kind_of(b"glTF " + "😀".encode()[:cut], "a.txt").type == "text"


def test_name_is_the_path_below_the_folder_of_the_job() -> None:
    given_names = Names("job.1")
    assert given_names.of_file(FileRef("a.png", "job.1/sub", "output"), temp=False) == "sub/a.png"
    assert given_names.of_file(FileRef("a.png", "job.1", "temp"), temp=True) == "temp/a.png"
    assert given_names.of_file(FileRef("b.png", "", "output"), temp=False) == "b.png"
    assert given_names.of_text("2", TextRef("x", 0)) == "2.txt"
    assert given_names.of_text("2", TextRef("y", 1)) == "2_2.txt"


refs = st.builds(
    FileRef,
    filename=st.text(min_size=1, max_size=300),
    subfolder=st.sampled_from(["", "job.1", "job.1/x", "x", "../x"]),
    folder=st.sampled_from(["output", "temp"]),
)


@given(found=st.lists(refs | st.builds(TextRef, st.text(), st.integers(0, 3)), max_size=12))
def test_names_are_safe_unique_and_stable(found: list[FileRef | TextRef]) -> None:
    given_names = Names("job.1")

    def name_of(ref: FileRef | TextRef) -> str:
        if isinstance(ref, TextRef):
            return given_names.of_text("2", ref)
        return given_names.of_file(ref, temp=ref.folder == "temp")

    def what(ref: FileRef | TextRef) -> tuple[object, ...]:
        return ("text", ref.index) if isinstance(ref, TextRef) else (ref.folder, ref.path)

    owners: dict[str, tuple[object, ...]] = {}
    for ref in found:
        name = name_of(ref)
        assert owners.setdefault(name, what(ref)) == what(ref)
        assert name_of(ref) == name
        assert 0 < len(name.encode()) <= 255
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert not any(ord(c) < 32 or c in "\\\u0085\u2028\u2029\u202e\u2066" for c in name)
