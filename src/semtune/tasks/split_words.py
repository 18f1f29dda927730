"""Words that name a split: train, Validation, "Test set", and their like in other languages."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

from semtune.tasks.characters import visible
from semtune.tasks.split_files import SPLIT_OF_NAME

_TRAIN_WORDS = frozenset({"derivation", "discovery"})
"""Words of medical studies for the rows that a model is made from."""
_OTHER_WORDS = frozenset({"eval", "evaluation", "holdout", "heldout", "blind", "private", "public", "oof"})
"""Words for rows kept from training that do not say which split they are."""
_IN_OTHER_LANGUAGES = {
    "train": "entrenamiento entreno apprentissage entraînement treino treinamento addestramento allenamento lernen "
    "trainieren trening uczenie обучение обучающая тренировочная 训练 訓練 学習",
    "dev": "validación desarrollo développement validierung entwicklung validação desenvolvimento validazione "
    "convalida walidacja валидация валидационная 验证 驗證 検証",
    "test": "prueba pruebas essai teste testes testen prova collaudo тест тестовая 测试 測試 テスト",
}
"""Spanish, French, Portuguese, Italian, German, Polish, Russian, Chinese and Japanese words by split."""
_ADJECTIVES = re.compile(r"^(public|private|hidden|blind|final|official|internal|external)(?=[a-z])")
_WORD_ENDS = re.compile(
    r"[\s_-]*(?:set|split|data|sample|samples|rows|cohort|s?(?:daten|datensatz|menge)|集|データ)$"
    r"|^(?:conjunto|jeu|ensemble|insieme|set|datos|dados|dati|données|base|échantillon)\s+(?:de|di|do|da|d['’])\s*"
)


def plain_word(cell: Any) -> str:
    """A cell's visible characters in lower case; "" for None."""
    return "" if cell is None else visible(str(cell)).casefold()


def _bare(word: str) -> str:
    """A word without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


_SPLIT_OF_WORD = SPLIT_OF_NAME | {
    _bare(word): split for split, words in _IN_OTHER_LANGUAGES.items() for word in words.split()
}
DEVELOPMENT_WORDS = frozenset(
    map(_bare, ("dev", "development", "desarrollo", "développement", "entwicklung", "desenvolvimento"))
)
"""Words for dev that are none for validation: a column that has both means two splits."""


def word_forms(word: str) -> tuple[str, str]:
    """A word without accents, with and without "set" behind it."""
    return _bare(word), _bare(_WORD_ENDS.sub("", word))


def split_of(word: str) -> str | None:
    """The split that a word names, with or without "set" behind it."""
    return next(filter(None, map(_SPLIT_OF_WORD.get, word_forms(word))), None)


def split_hints(word: str) -> set[str]:
    """The splits, or "other", that parts of a word hint at though it is none's name: eval, test1, PrivateTest."""
    if word in _TRAIN_WORDS:
        return {"train"}
    if len(re.findall(r"[^\W\d_]+\S*", word)) > 1:  # words of a phrase, such as "test driver", mean something else
        return set()
    parts = [part for part in re.split(r"[\W\d_]+", _ADJECTIVES.sub(r"\1 ", word)) if part]
    named = {_SPLIT_OF_WORD.get(_bare(part)) or ("other" if part in _OTHER_WORDS else "") for part in parts}
    return named - {""}


@functools.lru_cache(maxsize=65536)
def named_split(word: str) -> str | None:
    """The split whose name a word is."""
    return split_of(plain_word(word))
