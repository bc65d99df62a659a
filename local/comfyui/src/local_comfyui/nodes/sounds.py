"""Nodes that make, load and save sound. PyAV loads slowly, so only nodes with files import it."""

import numpy as np

from local_comfyui.folders import next_save_target
from local_comfyui.json_types import Json
from local_comfyui.nodes.files import complaint_about, digest_of, named_file
from local_comfyui.nodes.media import Audio
from local_comfyui.nodes.registry import Call, Result, Theme
from local_comfyui.nodes.saves import metadata_entries, random_temp_prefix, saved

NODES = Theme()

KILO = 1000

MP3_V0 = 1
"""The encoder's quality scale for what people call V0."""


@NODES.node("EmptyAudio")
def empty_audio(call: Call) -> Result:
    """Silence of a length in seconds."""
    rate = call.integer("sample_rate")
    shape = (1, call.integer("channels"), round(call.number("duration") * rate))
    return Result((Audio(np.zeros(shape, np.float32), rate),))


@NODES.node("LoadAudio", checked="audio", check=complaint_about("audio"), fingerprint=digest_of("audio"))
def load_audio(call: Call) -> Result:
    """The sound of a file of the input folder."""
    from local_comfyui.audio_files import load_sound

    return Result((load_sound(named_file(call, "audio")),))


def _save(call: Call, codec: str, extension: str, *, temp: bool = False) -> Result:
    from local_comfyui.audio_files import Format, write_sound

    audio, around = call.audio("audio"), call.around
    quality = call.text("quality") if "quality" in call.inputs else ""
    bit_rate = int(quality.removesuffix("k")) * KILO if quality.endswith("k") else None
    form = Format(extension, codec, bit_rate, MP3_V0 if quality == "V0" else None)
    prefix = random_temp_prefix(call) if temp else call.text("filename_prefix")
    target = next_save_target(around.folders.temp if temp else around.folders.output, prefix, around.now())
    metadata = dict(metadata_entries(around))
    reported: list[Json] = []
    for index, waveform in enumerate(audio.waveform):
        name = target.short_name(index, extension)
        write_sound(target.folder / name, Audio(waveform[np.newaxis], audio.sample_rate), form, metadata)
        reported.append(saved(target, name, "temp" if temp else "output"))
    return Result((audio,), ui={"audio": reported})


@NODES.node("SaveAudio")
def save_audio(call: Call) -> Result:
    """FLAC in the output folder."""
    return _save(call, "flac", "flac")


@NODES.node("SaveAudioMP3")
def save_audio_mp3(call: Call) -> Result:
    """MP3 in the output folder."""
    return _save(call, "libmp3lame", "mp3")


@NODES.node("SaveAudioOpus")
def save_audio_opus(call: Call) -> Result:
    """Opus in the output folder."""
    return _save(call, "libopus", "opus")


@NODES.node("PreviewAudio")
def preview_audio(call: Call) -> Result:
    """FLAC in the temp folder, under a random name."""
    return _save(call, "flac", "flac", temp=True)
