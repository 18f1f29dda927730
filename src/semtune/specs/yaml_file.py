"""YAML files of plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from semtune.errors import OptionError
from semtune.runtime.files import write_text


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that is a mapping of plain values. Raises OptionError."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise OptionError(f"There is no file {path}; check the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} cannot be read as UTF-8 text ({error}).") from error
    except yaml.constructor.ConstructorError as error:
        raise OptionError(
            f"{path} asks to construct an object ({error.problem}); only plain values are read, remove the tag."
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a value with the form of a date that is no date
        raise OptionError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise OptionError(f"{path} must be a mapping such as `task: practice`, one key a line.")
    return values


def write_yaml(values: Any, path: Path) -> None:
    """Write plain values as YAML, keys in their order."""
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
