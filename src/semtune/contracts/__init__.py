"""The Protocols between packages: what a task, prompt, method, readout, strategy, approach and launcher must offer.

Standard library only at run time; the torch names are for the type checker.
"""

from semtune.contracts.approach import Approach, FitFigures, FitWatch, TaskContext
from semtune.contracts.generator import Constraint, Generator, StrategyGenerator
from semtune.contracts.launcher import Launcher
from semtune.contracts.method import Method
from semtune.contracts.model import LoadedModel, TokenizedExample, Tokenizer, WeightStream
from semtune.contracts.prompt import AnswerGrammar, Parsed, Prompt, PromptParts
from semtune.contracts.readout import Readout, ReadoutSettings
from semtune.contracts.strategy import Strategy
from semtune.contracts.task import AnswerKind, Task

__all__ = [
    "AnswerGrammar",
    "AnswerKind",
    "Approach",
    "Constraint",
    "FitFigures",
    "FitWatch",
    "Generator",
    "Launcher",
    "LoadedModel",
    "Method",
    "Parsed",
    "Prompt",
    "PromptParts",
    "Readout",
    "ReadoutSettings",
    "Strategy",
    "StrategyGenerator",
    "Task",
    "TaskContext",
    "TokenizedExample",
    "Tokenizer",
    "WeightStream",
]
