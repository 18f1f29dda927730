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
        values = _Loader(path.read_text(encoding="utf-8")).get_single_data()
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


class _Loader(yaml.SafeLoader):
    """Reads plain values; a key that stands twice in one mapping is an error, where YAML's loader takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in found:
                    raise yaml.YAMLError(
                        f'"{key.value}" stands twice, again in line {key.start_mark.line + 1}; keep one'
                    )
                found.add(key.value)
        return super().construct_mapping(node, deep)


def write_yaml(values: Any, path: Path) -> None:
    """Write plain values as YAML, keys in their order."""
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
