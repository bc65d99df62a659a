"""The one error type of model files: a stable code, and a message that says what to do."""

from typing import Literal

ModelCode = Literal[
    "manifest_missing",
    "manifest_invalid",
    "model_unknown",
    "model_missing",
    "model_denied",
    "model_corrupt",
    "model_replaced",
    "disk_full",
    "disk_failed",
    "store_unreachable",
    "store_denied",
    "folder_busy",
    "bad_setting",
]
"""docs/guides/models.md, section "Errors", explains each code."""

RETRYABLE: frozenset[ModelCode] = frozenset({"store_unreachable", "model_replaced", "disk_full", "folder_busy"})
"""Codes for which the same request can succeed later without a change of settings or files."""


class ModelError(Exception):
    """A model file, or the whole manifest, is unavailable. `path` names the file if it is about one, and `page` is a
    web page that explains how to get access. Contains no credentials."""

    def __init__(self, code: ModelCode, message: str, path: str | None = None, page: str | None = None) -> None:
        self.code: ModelCode = code
        self.message = message
        self.path = path
        self.page = page
        super().__init__(f"{code}: {message}")

    @property
    def retryable(self) -> bool:
        """Whether a later attempt can succeed."""
        return self.code in RETRYABLE


class Stopped(Exception):  # noqa: N818 -- a signal to stop, not an error
    """The worker is stopping or the download was canceled: leave everything as it is."""
