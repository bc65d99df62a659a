"""Why models are not there: one error type with a stable code and a message a person can act on."""

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
"""docs/guides/models.md, "Errors", says what each means and what to do about it."""

RETRYABLE: frozenset[ModelCode] = frozenset({"store_unreachable", "model_replaced", "disk_full", "folder_busy"})
"""Where the same wish may be granted later without anybody changing a setting or a file."""


class ModelError(Exception):
    """A model, or all of them, cannot be had. `path` names the model where one is meant, `page` a page on the web that
    says how to get it. Carries no credentials."""

    def __init__(self, code: ModelCode, message: str, path: str | None = None, page: str | None = None) -> None:
        self.code: ModelCode = code
        self.message = message
        self.path = path
        self.page = page
        super().__init__(f"{code}: {message}")

    @property
    def retryable(self) -> bool:
        """Whether trying again later may help."""
        return self.code in RETRYABLE


class Stopped(Exception):  # noqa: N818 -- an order, not a fault
    """The worker is to stop, or nobody wants this any more: leave everything as it is."""
