"""The Protocols between packages: what a task, prompt, method, readout, model source and approach must offer.

Standard library only at run time; the torch names are for the type checker.
"""

from semtune.contracts.approach import Approach
from semtune.contracts.linear import LinearLayer, Quantization
from semtune.contracts.method import Method
from semtune.contracts.model import LoadedModel, TokenizedExample, Tokenizer, WeightStream
from semtune.contracts.prompt import AnswerGrammar, Parsed, Prompt, PromptParts
from semtune.contracts.readout import Readout, ReadoutSettings
from semtune.contracts.source import Located, ModelSource, SourceOptions
from semtune.contracts.task import AnswerKind, Task

__all__ = [
    "AnswerGrammar",
    "AnswerKind",
    "Approach",
    "LinearLayer",
    "LoadedModel",
    "Located",
    "Method",
    "ModelSource",
    "Parsed",
    "Prompt",
    "PromptParts",
    "Quantization",
    "Readout",
    "ReadoutSettings",
    "SourceOptions",
    "Task",
    "TokenizedExample",
    "Tokenizer",
    "WeightStream",
]
