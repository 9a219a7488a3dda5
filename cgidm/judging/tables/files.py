"""Tables that were measured for a base and ship: one file holds a list of them, one for each base."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ...errors import UserError
from ...resources import resource_root

Table = TypeVar("Table", bound=BaseModel)


def read_tables(kind: type[Table], file: str, damaged: str, folder: Path | None) -> list[Table]:
    """Read the tables of a file; none if there is no file.

    Args:
        kind: what a table is.
        file: its name.
        damaged: the code of the error.
        folder: where it lies; by default, where everything that ships lies.

    Raises:
        UserError: of the code `damaged`, if the file cannot be read as such tables.
    """
    path = (folder or resource_root()) / file
    if not path.exists():
        return []
    try:
        return [kind.model_validate(table) for table in json.loads(path.read_text())]
    except (ValueError, ValidationError) as error:
        raise UserError(damaged, file=file, problem=str(error).splitlines()[0]) from None
