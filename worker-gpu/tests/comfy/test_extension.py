"""The worker's package for the inside of ComfyUI, without ComfyUI: what it keeps, notes and restores. How it takes hold
of ComfyUI is shown by `tests/real`."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from worker_gpu.comfyui_extension.comfy_edge.cache_keys import CacheKeys, choices_of
from worker_gpu.comfyui_extension.comfy_edge.request import read_request
from worker_gpu.comfyui_extension.comfy_edge.run import folders_of, process_state
from worker_gpu.comfyui_extension.comfy_edge.sent_images import SentImages
from worker_gpu.comfyui_extension.comfy_edge.written_files import Root, WrittenFiles
from worker_gpu.job.folders import ComfyFolders, Folders
from worker_gpu.json_readers import Json, JsonObject


class Loader:
    """A node whose inputs are choices."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[Any, ...]]]:  # noqa: N802 -- ComfyUI's name
        return {
            "required": {
                "model": (["a.safetensors"],),
                "kind": ("COMBO", {"options": ["x"]}),
                "image": (["a.png"], {"image_upload": True}),
                "place": ("COMBO", {"remote": {"route": "/x"}}),
                "text": ("STRING", {}),
            },
            "optional": {"strength": ("FLOAT", {}), "mode": (["fast"],)},
        }


class JudgesItself(Loader):
    """A node with its own validation, so ComfyUI does not check its choices."""

    @classmethod
    def VALIDATE_INPUTS(cls, model: str) -> bool:  # noqa: N802 -- ComfyUI's name
        return bool(model)


class Saver(Loader):
    """An output node."""

    OUTPUT_NODE = True


class Broken:
    """A custom node that raises."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 -- ComfyUI's name
        raise RuntimeError


def addition(
    inputs: JsonObject,
    definition: type = Loader,
    files: dict[str, str] | None = None,
    keys: CacheKeys | None = None,
) -> list[str] | None:
    node: dict[str, Json] = {"class_type": definition.__name__, "inputs": inputs}
    return (keys or CacheKeys()).addition(node, definition, "run-7", "scope-1", files or {})


def test_choices_exclude_inputs_whose_value_a_prompt_brings() -> None:
    assert choices_of(Loader) == {"model", "kind", "mode"}
    assert choices_of(JudgesItself) == choices_of(Broken) == frozenset()


@pytest.mark.parametrize(
    ("inputs", "shared"),
    [
        ({"model": "a.safetensors", "kind": "x", "mode": "fast", "strength": 0.5, "seed": 3, "on": True}, True),
        ({"model": ["4", 0], "text": ["5", 1]}, True),
        ({"model": "a.safetensors", "text": ""}, False),
        ({"image": "me.png"}, False),
        ({"place": "anywhere"}, False),
        ({"list": [1, 2, 3]}, False),
        ({"object": {"a": 1}}, False),
        ({"unknown": "text"}, False),
    ],
)
def test_result_without_text_or_file_is_shared_by_all_scopes(inputs: JsonObject, shared: bool) -> None:
    assert addition(inputs) == (None if shared else ["scope", "scope-1"])


def test_class_with_its_own_validation_shares_nothing() -> None:
    assert addition({"model": "../anything"}, JudgesItself) == ["scope", "scope-1"]


def test_output_node_runs_in_every_execution() -> None:
    assert addition({"model": ["4", 0]}, Saver) == ["run", "run-7"]


def test_class_that_wrote_a_file_runs_in_every_execution() -> None:
    keys = CacheKeys()
    assert addition({"text": "a"}, keys=keys) == ["scope", "scope-1"]
    keys.on_file_written("Loader")
    assert addition({"text": "a"}, keys=keys) == ["run", "run-7"]


def test_class_that_reads_a_folder_runs_in_every_job_unless_it_names_a_file() -> None:
    keys = CacheKeys()
    keys.on_folder_read("Loader")
    assert addition({"kind": "x"}, keys=keys) == ["run", "run-7"]
    assert addition({"image": ["4", 0]}, keys=keys) == ["run", "run-7"]
    assert addition({"image": "me.png"}, files={"me.png": "sha"}, keys=keys) == ["scope", "scope-1", "sha"]


@pytest.mark.parametrize(
    ("value", "digests"),
    [
        ("me.png", ["1"]),
        ("me.png [input]", ["1"]),
        ("sub/a.png", ["2"]),
        ("sub", ["2", "3"]),
        ("sub/", ["2", "3"]),
        ("sub\\a.png", ["2"]),
        ("su", []),
        ("", []),
        (["me.png", {"deep": "sub/a.png"}], ["1", "2"]),
    ],
)
def test_cache_key_has_the_content_of_named_input_files(value: Json, digests: list[str]) -> None:
    files = {"me.png": "1", "sub/a.png": "2", "sub/b/c.png": "3"}
    assert addition({"text": value}, files=files) == ["scope", "scope-1", *digests]


def test_files_belong_to_the_node_that_ran_when_they_appeared(tmp_path: Path) -> None:
    output, temp = tmp_path / "output", tmp_path / "temp"
    for folder in (output / "old", temp):
        folder.mkdir(parents=True)
    (output / "old" / "kept.png").write_bytes(b"1")
    (output / "old" / "again.png").write_bytes(b"1")
    written = WrittenFiles((Root("output", str(output)), Root("temp", str(temp))))

    (output / "deep" / "er").mkdir(parents=True)
    (output / "deep" / "er" / "a.png").write_bytes(b"1")
    (output / ".hidden").write_bytes(b"1")
    (output / "link.png").symlink_to(output / "old" / "kept.png")
    assert written.attribute("4") == [str(output / "deep" / "er" / "a.png")]
    (temp / "b.png").write_bytes(b"1")
    (output / "deep" / "gone.png").write_bytes(b"1")
    assert sorted(written.attribute("5")) == [str(output / "deep" / "gone.png"), str(temp / "b.png")]
    assert written.attribute("6") == []
    (output / "old" / "again.png").write_bytes(b"22")
    (output / "deep" / "gone.png").unlink()
    (output / "late.png").write_bytes(b"1")

    assert written.report() == [
        {"type": "output", "path": "deep/er/a.png", "node": "4"},
        {"type": "output", "path": "late.png", "node": ""},
        {"type": "output", "path": "old/again.png", "node": ""},
        {"type": "temp", "path": "b.png", "node": "5"},
    ]


def test_file_replaced_by_one_of_equal_size_and_time_counts_as_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    written = WrittenFiles((Root("output", str(tmp_path)),))
    (tmp_path / "b.png").write_bytes(b"two")
    os.utime(tmp_path / "b.png", ns=(1, 1))
    (tmp_path / "b.png").replace(tmp_path / "a.png")
    assert [file["path"] for file in written.report()] == ["a.png"]


def test_files_are_found_in_a_folder_read_long_before(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for folder in (tmp_path, tmp_path / "deep"):
        os.utime(folder, ns=(1, 1))
    written = WrittenFiles((Root("output", str(tmp_path)),))
    assert written.attribute("1") == []
    (tmp_path / "deep" / "a.png").write_bytes(b"1")
    assert written.attribute("2") == [str(tmp_path / "deep" / "a.png")]


class Paths:
    """ComfyUI's `folder_paths`."""

    def __init__(self) -> None:
        self.folders = {"input": "i", "output": "o", "temp": "t"}

    def get_input_directory(self) -> str:
        return self.folders["input"]

    def get_output_directory(self) -> str:
        return self.folders["output"]

    def get_temp_directory(self) -> str:
        return self.folders["temp"]

    def set_input_directory(self, input_dir: str) -> None:
        self.folders["input"] = input_dir

    def set_output_directory(self, output_dir: str) -> None:
        self.folders["output"] = output_dir

    def set_temp_directory(self, temp_dir: str) -> None:
        self.folders["temp"] = temp_dir


def test_folders_of_a_prompt_are_active_until_it_ends_in_any_way(tmp_path: Path) -> None:
    """The package parses what the worker sends."""
    shared = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp")
    job = ComfyFolders(tmp_path / "jobs", shared).for_scope("scope-1")
    request = read_request({"comfy_edge": job.request()})
    assert request is not None
    paths, before = Paths(), dict(Paths().folders)

    with pytest.raises(ZeroDivisionError), folders_of(request, paths):
        assert set(paths.folders.values()) == {request.input, request.output, request.temp}
        assert all(Path(path).is_relative_to(tmp_path / "jobs") for path in paths.folders.values())
        raise ZeroDivisionError

    assert paths.folders == before
    assert request.scope == "scope-1"
    assert "scope-1" not in request.input


def test_prompt_without_the_field_has_no_request() -> None:
    assert read_request({"client_id": "x"}) is None


def test_process_state_is_restored_after_a_prompt(tmp_path: Path) -> None:
    variables, folder, temporary = dict(os.environ), Path.cwd(), tempfile.gettempdir()

    with process_state(str(tmp_path)):
        os.environ["LEFT"] = "secret"
        os.environ.pop("PATH", None)
        os.chdir("/")
        made = Path(tempfile.mkdtemp())

    assert made.parent == tmp_path
    assert (dict(os.environ), Path.cwd(), tempfile.gettempdir()) == (variables, folder, temporary)


class Picture:
    """The part of a Pillow image that is used."""

    def save(self, path: Path, **options: object) -> None:
        path.write_text(str(options["format"]))


def test_sent_images_are_named_by_node_and_stored_once(tmp_path: Path) -> None:
    images, one = SentImages(str(tmp_path)), Picture()
    images.save("2", "PNG", one)
    images.save("2", "PNG", one)
    images.save("2", "JPEG", Picture())
    images.save("4:1", "TIFF", Picture())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "2.png": "PNG",
        "2_2.jpg": "JPEG",
        "4_1.png": "PNG",
    }
