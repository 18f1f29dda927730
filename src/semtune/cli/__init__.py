"""The command line: one file per subcommand, heavy imports inside the command, errors as one sentence and status 2."""

from __future__ import annotations

import os
import signal
import sys

from semtune.runtime.interrupts import interrupt_between_imports, is_interruption, raise_pending

BAD_INPUT, INTERRUPTED, NOT_OK = 2, 130, 1


def main() -> None:
    """Run the command in sys.argv. Bad input: one sentence on standard error, status 2, no traceback.

    With --json the sentence stands on standard output too, as {"error": …}. Everything that takes time to import is
    imported below, where an interruption is handled.
    """
    try:
        interrupt_between_imports()
        from semtune.runtime.streams import output_failure, prepare_streams

        prepare_streams()
        status = _run()
        failure = output_failure()
    except KeyboardInterrupt:
        status, failure = _interrupted(), None
    if failure is not None:
        status = _unprinted(failure)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the work is done: an interruption from here on ends the process
    sys.exit(status)


def _run() -> int:
    """The command's exit status."""
    from semtune.errors import SemtuneError
    from semtune.plugins import load_plugins
    from semtune.runtime.files import check_working_folder
    from semtune.runtime.parent import end_with_parent
    from semtune.runtime.processor import let_idle_threads_sleep, limit_libraries

    try:
        limit_libraries(os.environ)
        let_idle_threads_sleep(os.environ)
        end_with_parent()
        check_working_folder()
        load_plugins()  # before the commands are made: their help and lists name what plugins register
        from semtune.cli.app import app
        from semtune.cli.terms import asked

        raise_pending()
        status = asked(app)
        return _interrupted() if status == INTERRUPTED else status  # typer turns KeyboardInterrupt into the status
    except SemtuneError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if is_interruption(error):
            return _interrupted()
        if not _is_usage_error(error):
            raise
        return _complain(_usage_message(error))


def _complain(message: str) -> int:
    from semtune.errors import with_stop
    from semtune.runtime.streams import json_line, printable

    message = with_stop(message)
    print(f"semtune: {printable(message)}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json_line({"error": message}))
    return BAD_INPUT


def _interrupted() -> int:
    print("interrupted; what was finished is kept", file=sys.stderr)
    return INTERRUPTED


def _unprinted(error: OSError) -> int:
    """Standard output cannot be written. Nothing is said where its reader went away, as of `semtune … | head`."""
    if not isinstance(error, BrokenPipeError):
        reason = error.strerror or type(error).__name__
        print(f"semtune: standard output cannot be written ({reason}); files are complete.", file=sys.stderr)
    return NOT_OK


def _is_usage_error(error: Exception) -> bool:
    """Whether the command-line parser itself complains (its classes live in click or in typer's own copy of it)."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _usage_message(error: Exception) -> str:
    message = str(error.format_message())  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    hint = f" See `{context.command_path} --help`." if context is not None else ""
    return message.rstrip(".") + "." + hint
