"""A command whose options stand at most once on the command line: of two values one would be dropped unsaid."""

from __future__ import annotations

from collections import Counter
from typing import Any

from typer.core import TyperCommand

from semtune.errors import OptionError


class OnceCommand(TyperCommand):
    """typer's command; an option that takes one value and is given twice raises OptionError."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See `click.Command.parse_args`."""
        _, _, in_order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(in_order).items():
            if times > 1 and parameter.param_type_name == "option" and not getattr(parameter, "multiple", False):
                raise OptionError(f"{parameter.opts[0]} is given {times} times; give it once.")
        return super().parse_args(ctx, args)
