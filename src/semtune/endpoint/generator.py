"""`contracts.StrategyGenerator` over a server: every strategy runs on it as on a model in memory.

What differs: the server's tokenizer is not here, so a "token" is four bytes of text (the average of English in the
usual vocabularies) and limits of tokens are estimates. Answers cannot be constrained token by token, so a model is told
the form of the answer, and what it writes is parsed; what does not parse is counted. Log-likelihoods need a server that
echoes log-probabilities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from semtune.contracts import NO_MAX_LENGTH, AnswerGrammar, Constraint, PromptParts
from semtune.endpoint.client import Client
from semtune.endpoint.failures import failure
from semtune.endpoint.protocol import (
    BadReplyError,
    Reply,
    chat_request,
    completion_request,
    loglikelihood_of,
    scoring_request,
)
from semtune.errors import DataError, EndpointError, OptionError
from semtune.models.approximate_tokenizer import BYTES_PER_TOKEN

if TYPE_CHECKING:
    import torch

_SPECIAL = re.compile(r"<(?=\||/?s>|/?\w*(?:turn|bos|eos|pad|unk|sys|image)\w*>)|\[(?=/?INST\])", re.IGNORECASE)
"""Where the name of a special token begins: servers read these names within texts as the tokens themselves."""
_AROUND = " \t*_`\"'“”„‘’"
"""What chat models put around an answer."""
_BULLET = re.compile(r"^(?:[-*•–]|\d+[.)])\s+")


@dataclass(frozen=True, slots=True)
class FreeAnswer:
    """Stands for a grammar where answers cannot be constrained; `contracts.Constraint` by type alone."""

    grammar: AnswerGrammar

    def start(self) -> Any:
        """Raises EndpointError."""
        raise _no_tokens()

    def allowed(self, state: Any) -> Sequence[int]:
        """Raises EndpointError."""
        raise _no_tokens()

    def advance(self, state: Any, token: int) -> Any:
        """Raises EndpointError."""
        raise _no_tokens()


class EndpointGenerator:
    """Asks a server for one example and records each call; one object per thread."""

    def __init__(self, client: Client, example_id: str = "") -> None:
        self._client, self._settings = client, client.settings
        self._example_id = example_id
        self.calls: list[dict[str, Any]] = []
        """The calls so far, in order."""
        self.notes: list[dict[str, Any]] = []
        """What the strategy noted beside its calls."""
        self.max_length = 0
        """The limit of the last prompt, in tokens."""
        self.cut_tokens = 0
        """Estimated tokens of the text that were cut, in the prompt of which most was cut."""

    def encode(self, parts: PromptParts, max_length: int) -> tuple[int, ...]:
        """Pieces of a prompt of about `max_length` tokens at most, as ids; only the text is cut, at its end.

        A name of a special token gets a space behind its first character, so that no server reads it as the token.
        Raises DataError where the rest alone is longer.
        """
        prefix, text, suffix = (_SPECIAL.sub(r"\g<0> ", part) for part in (parts.prefix, parts.text, parts.suffix))
        if max_length != NO_MAX_LENGTH:
            self.max_length = max_length
            room = max_length * BYTES_PER_TOKEN - len((prefix + suffix).encode())
            if room < 0:
                raise DataError(
                    f'The prompt for example "{self._example_id}" has more than about {max_length} tokens even without '
                    "its text; raise the strategy's limit (its options: semtune list strategies --options)."
                )
            whole = text.encode()
            text = whole[:room].decode(errors="ignore")
            self.cut_tokens = max(self.cut_tokens, -(-(len(whole) - len(text.encode())) // BYTES_PER_TOKEN))
        return _ids(prefix + text + suffix)

    def generate(
        self, prompts: Sequence[str | Sequence[int]], max_new_tokens: int, constraint: Constraint | None = None
    ) -> list[str]:
        """The completion of each prompt, all asked at once; with the constraint of a grammar, its answer alone.

        Raises EndpointError.
        """
        grammar = _grammar_of(constraint)
        instruction = None if grammar is None else instruction_of(grammar)
        # Without a constraint a model that is not tuned to the form goes on with another text.
        stop = () if grammar is None else ("\n",)
        seeds = [self._settings.seed] * len(prompts)
        texts = self._complete(prompts, max_new_tokens, 0.0, seeds, instruction=instruction, stop=stop)
        return texts if grammar is None else [answer_of(text, grammar) for text in texts]

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        max_new_tokens: int,
        *,
        temperature: float,
        seeds: Sequence[int],
        stop: str | None = None,
    ) -> list[str]:
        """A random completion of each prompt, all asked at once, up to the first `stop` behind other text, included.

        The server decides whether the same seed gives the same text again; its kept answer does. Raises EndpointError.
        """
        texts = self._complete(prompts, max_new_tokens, temperature, seeds)
        return [text if stop is None else _stopped(text, stop) for text in texts]

    def loglikelihood(
        self,
        prompts: Sequence[str | Sequence[int]],
        completions: Sequence[str | Sequence[int]],
        *,
        end: bool = True,
    ) -> torch.Tensor:
        """log p(completion | prompt) in nats, fp32 (prompts, completions), by one request per pair.

        End-of-sequence is not scored, whatever `end` says, as the protocol cannot ask for it. Raises EndpointError.
        """
        import torch

        if self._settings.api != "completions":
            raise EndpointError(
                "This strategy ranks labels by log-likelihood, which a server's chat interface does not give; use "
                "--endpoint-api completions with a server that echoes log-probabilities, or let answers be generated."
            )
        texts, ends = [_text(prompt) for prompt in prompts], [_text(completion) for completion in completions]
        pairs = [(text, completion) for text in texts for completion in ends]
        replies = self._client.send([scoring_request(self._settings.model, text + c) for text, c in pairs])
        values = []
        for (text, completion), reply in zip(pairs, replies, strict=True):
            try:
                values.append(loglikelihood_of(reply.scores, len(text), len(text + completion)))
            except BadReplyError as error:
                raise failure(error, scoring_request(self._settings.model, ""), self._settings) from error
        count = len(ends)
        for index, text in enumerate(texts):
            row = slice(index * count, (index + 1) * count)
            self._record({"prompt": text, "completions": ends, "loglikelihoods": values[row]}, replies[row])
        return torch.tensor(values, dtype=torch.float32).view(len(texts), count)

    def label_constraint(self, grammar: AnswerGrammar) -> Constraint:
        """What makes `generate` ask for an answer of `grammar`."""
        return FreeAnswer(grammar)

    def note(self, entry: Mapping[str, Any]) -> None:
        """Add to the example's transcript what is no request, such as the thoughts of a search; JSON."""
        self.notes.append(dict(entry))

    def embed(self, texts: Sequence[str]) -> Any:
        """Raises OptionError: a server shows no hidden states."""
        raise OptionError(
            "A server shows no hidden states, so texts cannot be compared by them; choose another way of finding "
            "neighbours, such as bm25, or a model in memory (leave --endpoint out)."
        )

    def _complete(
        self,
        prompts: Sequence[str | Sequence[int]],
        max_new_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        *,
        instruction: str | None = None,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """What the server writes after each prompt; plain completions know no instruction, and chats need no stop."""
        settings, texts = self._settings, [_text(prompt) for prompt in prompts]
        chat = settings.api == "chat"
        requests = [
            chat_request(settings.model, text, instruction, max_new_tokens, seed, temperature)
            if chat
            else completion_request(settings.model, text, stop, max_new_tokens, seed, temperature)
            for text, seed in zip(texts, seeds, strict=True)
        ]
        replies = self._client.send(requests)
        for text, seed, reply in zip(texts, seeds, replies, strict=True):
            call: dict[str, Any] = {"prompt": text, "completion": reply.text}
            call |= {"instruction": instruction} if chat and instruction is not None else {}
            call |= {"temperature": temperature, "seed": seed} if temperature else {}
            self._record(call, [reply])
        return [reply.text for reply in replies]

    def _record(self, call: dict[str, Any], replies: Sequence[Reply]) -> None:
        """Add a call with its tokens (None: not told), its seconds, and whether all of it was kept from before."""
        counts = [[reply.prompt_tokens for reply in replies], [reply.completion_tokens for reply in replies]]
        call["tokens"] = [None if None in side else sum(n for n in side if n is not None) for side in counts]
        call["seconds"] = round(sum(reply.seconds for reply in replies), 6)
        call["requests"], call["kept_requests"] = len(replies), sum(reply.kept for reply in replies)
        call["kept"] = all(reply.kept for reply in replies)
        self.calls.append(call)


def instruction_of(grammar: AnswerGrammar) -> str:
    """What tells a chat model the form of the answer."""
    listed = "\n".join(f"- {item}" for item in grammar.items)
    if grammar.single:
        return f"Answer with exactly one of these labels, spelt as here, and write nothing else:\n{listed}"
    return (
        "Answer with those of these labels that apply, spelt as here, in this order, separated by "
        f'"{grammar.separator}", on one line, and write nothing else. Where none applies, answer "{grammar.none}".\n'
        f"{listed}"
    )


def answer_of(text: str, grammar: AnswerGrammar) -> str:
    """A free answer in the form of `grammar` as far as its layout goes: one line, without bullets, quotes or a stop.

    Words beside the labels stay, so that parsing finds and counts them.
    """
    lines = [_bare(line, grammar) for line in text.splitlines()]
    joined = grammar.separator.join(line for line in lines if line)
    known = any(joined.endswith(item) for item in (*grammar.items, grammar.none))
    return grammar.start + (joined if known else joined.removesuffix(".").strip(_AROUND))


def _bare(line: str, grammar: AnswerGrammar) -> str:
    """A line without what chat models put around an answer; one that is a label stays as it is."""
    line = line.strip()
    return line if line in grammar.items else _BULLET.sub("", line).strip(_AROUND)


def _grammar_of(constraint: Constraint | None) -> AnswerGrammar | None:
    if constraint is None:
        return None
    if not isinstance(constraint, FreeAnswer):
        raise _no_tokens()
    return constraint.grammar


def _no_tokens() -> EndpointError:
    return EndpointError(
        "A server's answers cannot be constrained token by token; choose a strategy whose answers follow a prompt's "
        "grammar, or a model in memory (leave --endpoint out)."
    )


def _stopped(text: str, stop: str) -> str:
    """`text` up to the first `stop` behind something else than white space."""
    at = text.find(stop, len(text) - len(text.lstrip()))
    return text if at < 0 else text[: at + len(stop)]


def _ids(text: str) -> tuple[int, ...]:
    """Pieces of `BYTES_PER_TOKEN` bytes as numbers, behind a byte 1, which keeps zeros at a piece's start."""
    content = text.encode()
    pieces = [content[at : at + BYTES_PER_TOKEN] for at in range(0, len(content), BYTES_PER_TOKEN)]
    return tuple(int.from_bytes(b"\1" + piece, "big") for piece in pieces)


def _text(prompt: str | Sequence[int]) -> str:
    """The text that `_ids` made the ids of, or the ids of several texts behind each other."""
    if isinstance(prompt, str):
        return prompt
    pieces = (number.to_bytes((number.bit_length() + 7) // 8, "big")[1:] for number in prompt)
    return b"".join(pieces).decode(errors="replace")
