"""Texts that two splits share: what a result and a study record of them, and the sentence about them."""

from __future__ import annotations

from dataclasses import dataclass

from semtune.records.quantities import Count


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many texts of `split` are also in `other`."""

    split: str
    other: str
    examples: Count
    """Texts of `split`."""
    exact: Count
    """Those that are the same text in `other`, case, white space and punctuation aside."""
    near: Count
    """Those beside them that differ little from a text in `other`."""
    whole: bool = False
    """Whether `other` has no other texts either: the two splits are the same one."""
    instance: tuple[str, str] | None = None
    """Ids of one such text in `split` and in `other`."""

    @property
    def share(self) -> float:
        """The shared texts' share of `split`, 0 to 1."""
        return (self.exact + self.near) / self.examples

    def sentence(self) -> str:
        """What a reader of the scores must know, without a final stop."""
        count = self.exact + self.near
        if self.whole and self.exact == self.examples:
            text = f"the {self.split} split has the same {self.examples} texts as the {self.other} split"
        else:
            kinds = [f"{self.exact} the same"] * bool(self.exact) + [f"{self.near} nearly the same"] * bool(self.near)
            verb = "is" if count == 1 else "are"
            text = f"{count} of {self.examples} {self.split} texts {verb} also in {self.other} ({', '.join(kinds)}"
            text += f"; {self.instance[0]} is {self.instance[1]})" if self.instance else ")"
        return f"{text}: {self._meaning()}"

    def _meaning(self) -> str:
        if self.split == "dev":
            return "the epoch is chosen, and dev is scored, on texts that were trained on"
        learnt = "trained on" if self.other == "train" else "used to choose the epoch"
        return f"the test score is in part one of texts that were {learnt}"
