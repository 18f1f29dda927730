"""The command line: one file per subcommand, heavy imports inside the command, errors as one sentence and status 2."""

from __future__ import annotations

import json
import os
import sys

from semtune.errors import SemtuneError
from semtune.plugins import load_plugins
from semtune.runtime.parent import end_with_parent
from semtune.runtime.processor import limit_libraries

BAD_INPUT, INTERRUPTED, NOT_OK = 2, 130, 1


def main() -> None:
    """Run the command in sys.argv. Bad input: one sentence on standard error, status 2, no traceback.

    With --json the sentence stands on standard output too, as {"error": …}.
    """
    try:
        limit_libraries(os.environ)
        end_with_parent()
        load_plugins()  # before the commands are made: their help and lists name what plugins register
        from semtune.cli.app import app

        status = app(standalone_mode=False) or 0
    except SemtuneError as error:
        status = _complain(str(error))
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        status = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = NOT_OK
    except Exception as error:
        if not _is_usage_error(error):
            raise
        status = _complain(_usage_message(error))
    sys.exit(status)


def _complain(message: str) -> int:
    print(f"semtune: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": message}))
    return BAD_INPUT


def _is_usage_error(error: Exception) -> bool:
    """Whether the command-line parser itself complains (its classes live in click or in typer's own copy of it)."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _usage_message(error: Exception) -> str:
    message = str(error.format_message())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    hint = f" See `{context.command_path} --help`." if context is not None else ""
    return message.rstrip(".") + "." + hint
