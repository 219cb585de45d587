"""JSON files that one stage writes and others read, each with one definition for both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from amorlip.common import files
from amorlip.common.errors import AmorlipError, one_line
from amorlip.common.limits import read_file


class JsonFile(BaseModel):
    """What a JSON file holds. Keys that were not set are not written."""

    model_config = ConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        validate_by_name=True,
        validate_by_alias=True,
    )

    def write(self, path: Path) -> None:
        """Write the record whole or not at all. Raises ValueError for NaN and infinities."""
        files.write_json(path, self.model_dump(mode="json", by_alias=True, exclude_unset=True))

    @classmethod
    def read(cls, path: Path, advice: str = "delete the file and run again to make a new one") -> Self:
        """Read what `write` wrote.

        Raises:
            AmorlipError: if the file cannot be read, or has other keys or values; the message ends with `advice`.
        """
        try:
            return cls.model_validate_json(read_file(path))
        except OSError as error:
            raise AmorlipError(f"{path}: {error.strerror}; {advice}") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            reason = one_line(ValueError(f"{key}: {first['msg']}" if key else first["msg"]))
            raise AmorlipError(f"{path}: {reason}; {advice}") from error


class JsonRecord(JsonFile):
    """One JSON object, whose keys a subclass names. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")
