"""Nodes that make, load and save videos. PyAV is imported when the first of them runs: it is slow to load."""

from fractions import Fraction
from typing import Literal

from local_comfyui.folders import next_save_target
from local_comfyui.nodes.files import complaint_about, digest_of, named_file
from local_comfyui.nodes.media import Video
from local_comfyui.nodes.registry import Call, Result, Theme
from local_comfyui.nodes.saves import metadata_entries, save_target, saved

NODES = Theme()

WEBM_CODECS: dict[str, Literal["libvpx-vp9", "libsvtav1"]] = {"vp9": "libvpx-vp9", "av1": "libsvtav1"}


@NODES.node("CreateVideo")
def create_video(call: Call) -> Result:
    """Pictures at a frame rate, with sound if connected."""
    rate = Fraction(call.number("fps")).limit_denominator(1000)
    return Result((Video(call.image("images"), rate, call.optional_audio("audio")),))


@NODES.node("LoadVideo", checked="file", check=complaint_about("file"), fingerprint=digest_of("file"))
def load_video(call: Call) -> Result:
    """A video file of the input folder; it is decoded only when its pictures are asked for."""
    return Result((Video(None, Fraction(0), None, named_file(call, "file")),))


@NODES.node("GetVideoComponents")
def get_video_components(call: Call) -> Result:
    """Pictures, sound and frame rate."""
    from local_comfyui import video_files

    video = video_files.decoded(call.video("video"))
    return Result((video.frames, video.audio, float(video.frame_rate)))


@NODES.node("SaveVideo")
def save_video(call: Call) -> Result:
    """An H.264 MP4 in the output folder."""
    from local_comfyui import video_files

    video = video_files.decoded(call.video("video"))
    height, width = video_files.pictures(video).shape[1:3]
    prefix, around = call.text("filename_prefix"), call.around
    target = next_save_target(around.folders.output, prefix, around.now(), width, height)
    name = target.name(0, "mp4")
    video_files.write_mp4(target.folder / name, video, dict(metadata_entries(around)))
    return Result(ui={"images": [saved(target, name, "output")], "animated": [True]})


@NODES.node("SaveWEBM")
def save_webm(call: Call) -> Result:
    """A VP9 or AV1 WebM in the output folder."""
    from local_comfyui import video_files

    images = call.image("images")
    target = save_target(call, call.text("filename_prefix"), images)
    name = target.name(0, "webm")
    rate = Fraction(round(call.number("fps") * 1000), 1000)
    codec = WEBM_CODECS[call.text("codec")]
    metadata = dict(metadata_entries(call.around))
    video_files.write_webm(target.folder / name, images, rate, codec, call.number("crf"), metadata)
    return Result(ui={"images": [saved(target, name, "output")], "animated": [True]})
