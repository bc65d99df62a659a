"""What is inside saved files: frames, timing, size, and the embedded prompt and workflow."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from local_comfyui.json_types import JsonObject, as_object
from local_comfyui.nodes.media import Audio
from local_comfyui.nodes.registry import Result, Value
from tests.conftest import Start
from tests.nodes import array, noise, only, run, surroundings

PROMPT: JsonObject = {"1": {"class_type": "EmptyImage", "inputs": {}}}
WORKFLOW: JsonObject = {"workflow": {"id": "w", "title": "Übung"}}


def path_of(folder: Path, result: Result) -> Path:
    (item,) = result.ui["images"]
    file = as_object(item)
    return folder / str(file["type"]) / str(file["subfolder"]) / str(file["filename"])


def ramp(count: int = 3, height: int = 32, width: int = 48) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """Frames of one grey each, brighter from frame to frame."""
    return np.stack([np.full((height, width, 3), 0.2 + 0.2 * index, np.float32) for index in range(count)])


def test_a_png_has_cut_off_bytes_and_the_prompt_and_workflow(tmp_path: Path) -> None:
    image = noise(1, 5, 6, 3)
    result = run(
        "SaveImage", surroundings(tmp_path, prompt=PROMPT, extra=WORKFLOW), images=image, filename_prefix="a/b"
    )
    with Image.open(path_of(tmp_path, result)) as saved:
        assert isinstance(saved, PngImageFile)
        np.testing.assert_array_equal(np.asarray(saved), (image[0] * np.float32(255)).astype(np.uint8))
        assert json.loads(saved.text["prompt"]) == PROMPT
        assert json.loads(saved.text["workflow"]) == WORKFLOW["workflow"]


def test_values_outside_0_to_1_are_clipped(tmp_path: Path) -> None:
    image = np.array([[[[-0.5, 0.5, 1.5]]]], np.float32)
    result = run("SaveImage", surroundings(tmp_path), images=image, filename_prefix="t")
    with Image.open(path_of(tmp_path, result)) as saved:
        assert saved.getpixel((0, 0)) == (0, 127, 255)


@pytest.mark.asyncio
@pytest.mark.parametrize("flags", [[], ["--disable-metadata"]])
async def test_metadata_is_embedded_unless_disabled(start: Start, flags: list[str]) -> None:
    server = await start(*flags)
    graph: JsonObject = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "t"}},
    }
    await server.run(graph, extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}})
    with Image.open(server.engine.folders.output / "t_00001_.png") as saved:
        assert isinstance(saved, PngImageFile)
        expected = {} if flags else {"prompt": json.dumps(graph), "workflow": '{"id": "w"}'}
        assert saved.text == expected


def test_previews_and_masks_go_to_temp_under_a_random_name(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    first = path_of(tmp_path, run("PreviewImage", around, images=noise(1, 4, 4, 3)))
    second = path_of(tmp_path, run("MaskPreview", around, mask=noise(1, 4, 4)))
    assert first.parent == second.parent == tmp_path / "temp"
    assert first.name != second.name
    with Image.open(second) as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize(("count", "animated"), [(3, True), (1, False)])
def test_an_animated_webp_has_every_frame_its_time_and_its_prompt(tmp_path: Path, count: int, animated: bool) -> None:
    inputs = {
        "images": ramp(count),
        "filename_prefix": "w",
        "fps": 8.0,
        "lossless": True,
        "quality": 80,
        "method": "fastest",
    }
    result = run("SaveAnimatedWEBP", surroundings(tmp_path, prompt=PROMPT, extra=WORKFLOW), **inputs)
    assert result.ui["animated"] == [animated]
    with Image.open(path_of(tmp_path, result)) as saved:
        assert getattr(saved, "n_frames", 1) == count
        exif = saved.getexif()
        assert exif[0x0110] == "prompt:" + json.dumps(PROMPT)
        assert exif[0x010F] == "workflow:" + json.dumps(WORKFLOW["workflow"])
        for index in range(count):
            saved.seek(index)
            np.testing.assert_allclose(np.asarray(saved.convert("RGB")), int((0.2 + 0.2 * index) * 255), atol=1)
            if animated:
                saved.load()
                assert saved.info["duration"] == 125


def test_an_animated_png_has_every_frame_and_its_prompt(tmp_path: Path) -> None:
    inputs = {"images": ramp(), "filename_prefix": "p", "fps": 4.0, "compress_level": 9}
    result = run("SaveAnimatedPNG", surroundings(tmp_path, prompt=PROMPT), **inputs)
    path = path_of(tmp_path, result)
    with Image.open(path) as saved:
        assert (getattr(saved, "n_frames", 1), saved.size) == (3, (48, 32))
        assert saved.info["duration"] == 250
    assert b"comfprompt\0" + json.dumps(PROMPT).encode() in path.read_bytes()


def saved_video(tmp_path: Path) -> Path:
    around = surroundings(tmp_path, prompt=PROMPT, extra=WORKFLOW)
    (video,) = run("CreateVideo", around, images=ramp(5), fps=8.0).outputs
    return path_of(
        tmp_path, run("SaveVideo", around, video=video, filename_prefix="video/v", format="auto", codec="auto")
    )


def test_an_mp4_is_h264_with_rate_size_frames_and_prompt(tmp_path: Path) -> None:
    with av.open(str(saved_video(tmp_path))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate, stream.width, stream.height) == ("h264", 8, 48, 32)
        assert json.loads(container.metadata["prompt"]) == PROMPT
        assert json.loads(container.metadata["workflow"]) == WORKFLOW["workflow"]
        assert len(list(container.decode(stream))) == 5


def test_a_video_file_is_loaded_into_its_parts(tmp_path: Path) -> None:
    saved_video(tmp_path).rename(tmp_path / "input" / "v.mp4")
    around = surroundings(tmp_path)
    (video,) = run("LoadVideo", around, file="v.mp4").outputs
    frames, sound, rate = run("GetVideoComponents", around, video=video).outputs
    np.testing.assert_allclose(array(frames)[:, 16, 24, 0], [0.2, 0.4, 0.6, 0.8, 1.0], atol=0.03)
    assert (sound, rate) == (None, 8.0)
    result = run("SaveVideo", around, video=video, filename_prefix="again", format="mp4", codec="h264")
    with av.open(str(path_of(tmp_path, result))) as container:
        assert container.streams.video[0].frames == 5


@pytest.mark.parametrize(("codec", "name"), [("vp9", "libvpx-vp9"), ("av1", "libdav1d")])
def test_a_webm_has_the_codec_asked_for(tmp_path: Path, codec: str, name: str) -> None:
    inputs = {"images": ramp(4, 64, 64), "filename_prefix": "w", "codec": codec, "fps": 12.5, "crf": 32.0}
    result = run("SaveWEBM", surroundings(tmp_path, prompt=PROMPT), **inputs)
    with av.open(str(path_of(tmp_path, result))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in (name, codec, f"lib{codec}")
        assert stream.average_rate == 12.5
        assert len(list(container.decode(stream))) == 4


def test_every_frame_of_an_animation_is_loaded_with_its_transparency(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (6, 4), (index * 50, 0, 0, 255 - index * 51)) for index in range(3)]
    around = surroundings(tmp_path)
    frames[0].save(tmp_path / "input" / "a.webp", save_all=True, append_images=frames[1:], lossless=True, exact=True)
    result = run("LoadImage", around, image="a.webp")
    images, masks = array(result.outputs[0]), array(result.outputs[1])
    np.testing.assert_allclose(images[:, 0, 0, 0], [0, 50 / 255, 100 / 255], atol=1e-6)
    np.testing.assert_allclose(masks[:, 0, 0], [0, 0.2, 0.4], atol=1e-6)


def test_a_picture_without_transparency_has_a_small_empty_mask(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    Image.new("RGB", (6, 4), (1, 2, 3)).save(tmp_path / "input" / "a.png")
    mask = array(run("LoadImage", around, image="a.png").outputs[1])
    np.testing.assert_array_equal(mask, np.zeros((1, 64, 64)))


def test_a_turned_photo_is_set_upright(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "input" / "a.jpg", exif=exif)
    assert array(run("LoadImage", around, image="a.jpg").outputs[0]).shape == (1, 6, 4, 3)


@pytest.mark.parametrize(
    ("channel", "expected"), [("red", 200 / 255), ("green", 10 / 255), ("blue", 20 / 255), ("alpha", 1 - 77 / 255)]
)
def test_one_channel_of_a_file_is_a_mask(tmp_path: Path, channel: str, expected: float) -> None:
    around = surroundings(tmp_path)
    Image.new("RGBA", (6, 4), (200, 10, 20, 77)).save(tmp_path / "input" / "a.png")
    mask = only(run("LoadImageMask", around, image="a.png", channel=channel))
    np.testing.assert_allclose(mask, np.full((1, 4, 6), expected), atol=1e-6)


@pytest.mark.parametrize(
    ("node", "more", "extension", "codecs", "rate"),
    [
        ("SaveAudio", {}, "flac", ("flac",), 44100),
        ("SaveAudioMP3", {"quality": "V0"}, "mp3", ("mp3", "mp3float"), 44100),
        ("SaveAudioMP3", {"quality": "128k"}, "mp3", ("mp3", "mp3float"), 44100),
        ("SaveAudioOpus", {"quality": "96k"}, "opus", ("opus", "libopus"), 48000),
    ],
)
def test_sound_is_saved_in_its_format(
    tmp_path: Path, node: str, more: dict[str, Value], extension: str, codecs: tuple[str, ...], rate: int
) -> None:
    tone = np.sin(np.arange(22050, dtype=np.float32) * np.float32(0.06))
    audio = Audio(np.stack([tone, tone * np.float32(0.5)])[np.newaxis], 44100)
    result = run(node, surroundings(tmp_path), audio=audio, filename_prefix="audio/a", **more)
    (item,) = result.ui["audio"]
    assert item == {"filename": f"a_00001.{extension}", "subfolder": "audio", "type": "output"}
    with av.open(str(tmp_path / "output" / "audio" / f"a_00001.{extension}")) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name in codecs
        assert (stream.rate, stream.layout.name) == (rate, "stereo")
        assert container.duration is not None and abs(container.duration / 1e6 - 0.5) < 0.06


def test_saved_sound_is_loaded_with_its_samples(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    tone = np.sin(np.arange(8000, dtype=np.float32) * np.float32(0.1)) * np.float32(0.5)
    run("SaveAudio", around, audio=Audio(tone[np.newaxis, np.newaxis], 8000), filename_prefix="a")
    (tmp_path / "output" / "a_00001.flac").rename(tmp_path / "input" / "a.flac")
    (loaded,) = run("LoadAudio", around, audio="a.flac").outputs
    assert isinstance(loaded, Audio) and loaded.sample_rate == 8000
    np.testing.assert_allclose(loaded.waveform[0, 0], tone, atol=1e-3)


def test_sound_goes_into_a_video_and_out_again(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    (audio,) = run("EmptyAudio", duration=1.0, sample_rate=44100, channels=2).outputs
    (video,) = run("CreateVideo", images=ramp(8), fps=8.0, audio=audio).outputs
    result = run("SaveVideo", around, video=video, filename_prefix="v", format="auto", codec="auto")
    path_of(tmp_path, result).rename(tmp_path / "input" / "v.mp4")
    (loaded,) = run("LoadVideo", around, file="v.mp4").outputs
    _, sound, _ = run("GetVideoComponents", around, video=loaded).outputs
    assert isinstance(sound, Audio)
    assert sound.waveform.shape[1] == 2 and abs(sound.waveform.shape[2] / sound.sample_rate - 1.0) < 0.1


def test_previewed_sound_is_temporary(tmp_path: Path) -> None:
    (audio,) = run("EmptyAudio", duration=0.1, sample_rate=8000, channels=1).outputs
    (item,) = run("PreviewAudio", surroundings(tmp_path), audio=audio).ui["audio"]
    file = as_object(item)
    assert file["type"] == "temp" and (tmp_path / "temp" / str(file["filename"])).is_file()


def test_text_is_saved_and_reported(tmp_path: Path) -> None:
    around = surroundings(tmp_path)
    for number in (1, 2):
        result = run("SaveText", around, text="Grüße", filename_prefix="t/a", format="md")
        name = f"a_{number:05}.md"
        assert result.ui == {"text": ["Grüße"], "files": [{"filename": name, "subfolder": "t", "type": "output"}]}
        assert (tmp_path / "output" / "t" / name).read_text(encoding="utf-8") == "Grüße"


def test_a_3d_file_is_reported_as_a_plain_string() -> None:
    assert run("Preview3D", model_file="3d/x.glb").ui == {"result": ["3d/x.glb", None, None]}
