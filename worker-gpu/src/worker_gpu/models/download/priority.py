"""The order in which files are downloaded."""

from enum import IntEnum

from worker_gpu.models.manifest.manifest import ModelFile


class Urgency(IntEnum):
    """Who waits for a file. Smaller goes first."""

    JOB = 0
    BOOT = 1
    BACKGROUND = 2


def rank(file: ModelFile, urgency: Urgency) -> tuple[int, int, int, str]:
    """The sort key of a file: urgency, the manifest's priority (higher first), size (largest first, so that no large
    file starts last), then the path."""
    return (urgency, -file.priority, -file.size, file.path)
