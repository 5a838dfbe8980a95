"""Rows of a table that is made over hours: each is on disk, whole, when it is finished, and none is made twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bige_opensim.io.documents import DocumentError, read_json
from bige_opensim.io.whole_files import write_whole


class OtherRowError(ValueError):
    """A row in the folder that was made with other settings, or is none."""


@dataclass(frozen=True)
class FinishedRows:
    """A folder with a file for every finished row, which knows the settings that the row was made with."""

    folder: Path

    def row(self, key: str, settings: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The row of this name: as it was finished, or else made and kept.

        `key` is a file name; settings and row are what JSON holds (numbers that are not finite are null).

        Raises
        ------
        OtherRowError
            The row there was made with other settings.

        """
        path, asked = self.folder / f"{key}.json", json.loads(json.dumps(settings))
        if path.is_file():
            return self._finished(path, asked)
        made = json.loads(json.dumps(_plain(make())))
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"settings": asked, "row": made}, indent=1, ensure_ascii=False))
        return dict(made)

    def _finished(self, path: Path, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            content = read_json(path)
            settings, row = dict(content["settings"]), dict(content["row"])
        except (DocumentError, KeyError, TypeError, ValueError) as error:
            raise OtherRowError(f"{path}: not a finished row ({error}); remove it to have it made again.") from None
        wrong = [k for k in {**settings, **asked} if settings.get(k) != asked.get(k)]
        if wrong:
            what = "; ".join(f"{k} was {settings.get(k)}, now {asked.get(k)}" for k in wrong)
            raise OtherRowError(f"{path}: made with other settings ({what}); name another folder, or remove the file.")
        return row


def _plain(value: Any) -> Any:
    """The same with null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
