"""Compares two files of the same name: `measure.py A B` prints one JSON object.

Pictures: form, mode, size, embedded texts by name, number of frames and their times, largest difference of any channel (0 to 255). Videos: the same over the
decoded frames, and codec and rate.
"""

import json
import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageSequence


def picture(path: Path) -> tuple[dict[str, object], list[np.ndarray]]:
    with Image.open(path) as image:
        frames = [np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
        facts: dict[str, object] = {"format": image.format, "mode": image.mode, "size": list(image.size)}
        facts["texts"] = sorted(name for name, value in image.info.items() if isinstance(value, str))
        facts["frame_ms"] = [frame.info.get("duration") for frame in ImageSequence.Iterator(image)]
    return facts | {"frames": len(frames)}, frames


def video(path: Path) -> tuple[dict[str, object], list[np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        facts: dict[str, object] = {
            "codec": stream.codec_context.name,
            "pixels": stream.codec_context.pix_fmt,
            "size": [stream.width, stream.height],
            "rate": str(stream.average_rate),
        }
    return facts | {"frames": len(frames)}, frames


def main() -> None:
    first, second = (Path(argument) for argument in sys.argv[1:3])
    read = video if first.suffix in (".mp4", ".webm") else picture
    (one, frames_one), (two, frames_two) = read(first), read(second)
    same_shape = [frame.shape for frame in frames_one] == [frame.shape for frame in frames_two]
    differences = [
        np.abs(a.astype(np.int16) - b.astype(np.int16)) for a, b in zip(frames_one, frames_two, strict=False)
    ]
    most = max((int(difference.max()) for difference in differences), default=0) if same_shape else None
    print(json.dumps({"facts": [one, two], "most": most}))


main()
