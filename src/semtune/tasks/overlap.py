"""Texts that stand in two splits, the same or nearly so: testing on what was trained on measures nothing.

Two texts are the same where their normal forms are: compatibility characters unified (NFKC), case, punctuation and
white space dropped. They are nearly the same where the Jaccard similarity of their normal forms' character 5-grams is
at least 0.8. Candidates are found by MinHash (Broder 1997) with 16 bands of 4 rows, which finds 99.98% of the pairs at
that similarity; each is then compared exactly. Time and memory grow with the number of texts, not of pairs. Of a long
text the first 1,000 characters count.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from semtune.errors import DataError
from semtune.records import Example, Overlap

SIMILARITY = 0.8
GRAM = 5
CHARACTERS = 1000
BANDS, ROWS = 16, 4
CANDIDATES = 50
"""Texts that are compared with one text, and texts that are listed under one band, at most."""
REFUSED_SHARE = 0.1
"""A test split with a larger share of texts from another split is refused unless that is allowed."""
_DROPPED = frozenset("PZC")
"""First letters of the Unicode categories that no normal form has: punctuation, separators, control characters."""
_DRAW = np.random.default_rng(20210606)
_FACTORS = _DRAW.integers(1, 2**63, size=BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
_OFFSETS = _DRAW.integers(0, 2**63, size=BANDS * ROWS, dtype=np.uint64)
_PLACES = _DRAW.integers(1, 2**63, size=GRAM, dtype=np.uint64) | np.uint64(1)
"""Random numbers of the hash functions, the same in every process."""


def normal_form(text: str) -> str:
    """The text without case, punctuation and repeated white space; as it is where nothing else is in it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(" " if unicodedata.category(c)[0] in _DROPPED else c for c in folded)
    return " ".join(kept.split()) or " ".join(folded.split())


class NearDuplicates:
    """Which of some texts are the same as another one, or nearly: the definition above, every pair compared exactly."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._forms = [normal_form(text) for text in texts]
        self._grams: dict[int, npt.NDArray[np.uint64]] = {}

    def of(self, text: str) -> Callable[[int], bool]:
        """A function that says of the index of a text whether it is (nearly) the same as `text`."""
        form = normal_form(text)
        grams = _grams(form)

        def duplicate(index: int) -> bool:
            if index not in self._grams:
                self._grams[index] = _grams(self._forms[index])
            return self._forms[index] == form or _jaccard(grams, self._grams[index]) >= SIMILARITY

        return duplicate


def overlaps(splits: Mapping[str, Sequence[Example]]) -> tuple[Overlap, ...]:
    """The shared texts of test and train, test and dev, dev and train; pairs without any are left out."""
    forms = {split: [normal_form(e.text) for e in examples] for split, examples in splits.items()}
    found = []
    for split, other in (("test", "train"), ("test", "dev"), ("dev", "train")):
        if splits.get(split) and splits.get(other):
            found.append(_overlap(split, other, splits, forms))
    return tuple(overlap for overlap in found if overlap.exact + overlap.near)


def check_overlaps(found: Iterable[Overlap], splits: Mapping[str, Sequence[Example]], made: Collection[str]) -> None:
    """Refuse a labelled test split of which much is in another split.

    Args:
        made: splits that semtune split off the training rows itself, which are never refused.

    Raises DataError.
    """
    labelled = all(e.target is not None for e in splits.get("test", ()))
    for overlap in found:
        if overlap.split == "test" and overlap.split not in made and labelled and overlap.share > REFUSED_SHARE:
            raise DataError(
                f"The splits overlap: {overlap.sentence()}; take these texts out of one of the splits, or go on with "
                "--allow-overlap."
            )


def _overlap(
    split: str, other: str, splits: Mapping[str, Sequence[Example]], forms: Mapping[str, Sequence[str]]
) -> Overlap:
    ids = {form: e.id for form, e in zip(reversed(forms[other]), reversed(splits[other]), strict=True)}
    exact = [index for index, form in enumerate(forms[split]) if form in ids]
    rest = sorted(set(range(len(forms[split]))) - set(exact))
    near = _near([forms[split][index] for index in rest], list(ids))
    pairs = [(splits[split][i].id, ids[forms[split][i]]) for i in exact]
    pairs += [(splits[split][rest[i]].id, ids[form]) for i, form in near.items()]
    whole = set(forms[split]) == set(ids)
    return Overlap(split, other, len(forms[split]), len(exact), len(near), whole, pairs[0] if pairs else None)


def _near(texts: Sequence[str], others: Sequence[str]) -> dict[int, str]:
    """Index of a text -> one of `others` that is nearly the same. No text is among `others`."""
    index: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, other in enumerate(others if texts else ()):
        for band in _bands(_grams(other)):
            if len(index[band]) < CANDIDATES:
                index[band].append(number)
    near: dict[int, str] = {}
    for number, text in enumerate(texts):
        grams = _grams(text)
        candidates = dict.fromkeys(candidate for band in _bands(grams) for candidate in index.get(band, ()))
        for candidate in list(candidates)[:CANDIDATES]:
            if _jaccard(grams, _grams(others[candidate])) >= SIMILARITY:
                near[number] = others[candidate]
                break
    return near


def _grams(text: str) -> npt.NDArray[np.uint64]:
    """Hashes of the text's different character 5-grams, sorted; of the whole text where it is shorter. (grams,)"""
    codes = np.frombuffer(text[:CHARACTERS].encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    codes = np.concatenate([codes, np.zeros(max(0, GRAM - len(codes)), dtype=np.uint64)])
    count = len(codes) - GRAM + 1
    return np.unique(sum(codes[i : i + count] * place for i, place in enumerate(_PLACES)))


def _bands(grams: npt.NDArray[np.uint64]) -> Iterator[tuple[int, bytes]]:
    """The text's MinHash signature in bands, each with its number: texts that share one are candidates."""
    hashes = (grams[:, None] * _FACTORS + _OFFSETS) >> np.uint64(32)  # (grams, bands * rows), modulo 2^64
    signature = hashes.min(axis=0).astype(np.uint32).reshape(BANDS, ROWS)
    return ((number, row.tobytes()) for number, row in enumerate(signature))


def _jaccard(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
