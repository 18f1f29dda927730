"""The subcommands, in the order in which a user meets them."""

from __future__ import annotations

import typer

from semtune.cli.doctor import doctor
from semtune.cli.evaluate import evaluate
from semtune.cli.list import list_names
from semtune.cli.merge import merge
from semtune.cli.once import OnceCommand
from semtune.cli.plan import plan
from semtune.cli.predict import predict
from semtune.cli.report import report
from semtune.cli.study import study
from semtune.cli.terms import with_terms
from semtune.cli.tune import tune

app = typer.Typer(
    name="semtune",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which way of fine-tuning a language model fits your computer, how fast is it, and how good is the result?",
)
for command in (
    with_terms(plan),
    with_terms(tune),
    with_terms(predict),
    evaluate,
    with_terms(merge),
    with_terms(study),
    report,
):
    app.command(cls=OnceCommand)(command)
app.command("list", cls=OnceCommand)(list_names)
app.command(cls=OnceCommand)(doctor)
