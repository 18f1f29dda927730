"""The Protocols between packages: what a task, prompt, method, readout, strategy, approach and launcher must offer.

Standard library only at run time; the torch names are for the type checker.
"""

from semtune.contracts.answer import Answer
from semtune.contracts.approach import Approach, Baseline, FitFigures, FitWatch, ScoreFunction, TaskContext
from semtune.contracts.architecture import Architecture, Batch, Cache, CacheSegment
from semtune.contracts.embedder import Embedder
from semtune.contracts.generation import Constraint, Generator, StrategyGenerator
from semtune.contracts.identity import ModelIdentity
from semtune.contracts.launcher import Launcher
from semtune.contracts.linear import LinearLayer, Quantization, StoredQuantization
from semtune.contracts.method import Method, freezes_linears, trains_readout_alone
from semtune.contracts.model import NO_MAX_LENGTH, LoadedModel, TokenizedExample, Tokenizer, WeightStream
from semtune.contracts.prompt import AnswerGrammar, Parsed, Prompt, PromptParts
from semtune.contracts.readout import ChooseThreshold, LabelCheck, Readout, ReadoutSettings
from semtune.contracts.source import Located, ModelSource, SourceOptions
from semtune.contracts.strategy import IndexingStrategy, ReadingStrategy, Strategy, ThresholdStrategy, uses_model
from semtune.contracts.task import Task

__all__ = [
    "NO_MAX_LENGTH",
    "Answer",
    "AnswerGrammar",
    "Approach",
    "Architecture",
    "Baseline",
    "Batch",
    "Cache",
    "CacheSegment",
    "ChooseThreshold",
    "Constraint",
    "Embedder",
    "FitFigures",
    "FitWatch",
    "Generator",
    "IndexingStrategy",
    "LabelCheck",
    "Launcher",
    "LinearLayer",
    "LoadedModel",
    "Located",
    "Method",
    "ModelIdentity",
    "ModelSource",
    "Parsed",
    "Prompt",
    "PromptParts",
    "Quantization",
    "ReadingStrategy",
    "Readout",
    "ReadoutSettings",
    "ScoreFunction",
    "SourceOptions",
    "StoredQuantization",
    "Strategy",
    "StrategyGenerator",
    "Task",
    "TaskContext",
    "ThresholdStrategy",
    "TokenizedExample",
    "Tokenizer",
    "WeightStream",
    "freezes_linears",
    "trains_readout_alone",
    "uses_model",
]
