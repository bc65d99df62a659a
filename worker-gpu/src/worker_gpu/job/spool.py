"""A job's own folder for files on their way in or out. Most jobs need none, so it is made when it is first used."""

import shutil
from pathlib import Path


class Spool:
    """The folder at `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_made = False

    def file(self, name: str) -> Path:
        """Where to put a file called `name`. Raises `OSError`."""
        if not self._is_made:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._is_made = True
        return self._folder / name

    def remove(self) -> None:
        """Delete it and all that is in it, if it was made. Blocks."""
        if self._is_made:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._is_made = False
