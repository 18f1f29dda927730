"""Metrics, the scores of a split, and published results to compare them with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

from semtune.errors import DataError
from semtune.records.checking import ADVICE, check_value
from semtune.records.declare import Bounds
from semtune.records.plain import FlatRecord
from semtune.records.quantities import Count, Share


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that a task scores predictions by."""

    name: str
    """Key in records, e.g. "micro_f1"."""
    title: str
    """Name in tables, figures and messages, e.g. "micro-F1"."""
    higher_is_better: bool = True
    short: str = ""
    """Heading in a narrow table; empty: `title`."""
    definition: str = ""
    """How it is computed, where conventions differ: what follows "macro-F1 is". Empty: as its name says."""
    at_least: float | None = None
    """The lowest value that it can have; None: no bound is known."""
    at_most: float | None = None
    """The highest value that it can have; None: no bound is known."""

    def better(self, one: float, other: float) -> bool:
        """Whether the value `one` is better than the value `other`."""
        return one > other if self.higher_is_better else one < other

    @property
    def hint(self) -> Any:
        """The type hint of its values. NaN is none of them where there is a bound."""
        unbounded = self.at_least is None and self.at_most is None
        return float if unbounded else Annotated[float, Bounds(self.at_least, self.at_most)]

    def rank(self, value: float) -> float:
        """A number that is the higher the better `value` is."""
        return value if self.higher_is_better else -value


@dataclass(frozen=True, slots=True)
class LabelScore:
    """Precision, recall and F1 of one label; `support` counts its gold examples."""

    precision: Share
    recall: Share
    f1: Share
    support: Count


@dataclass(frozen=True, slots=True)
class Scores(FlatRecord):
    """The scores of a split. In JSON each metric is a key of its own beside `primary` and the other fields."""

    json_fields: ClassVar[Mapping[str, Any]] = {
        "primary": str,
        "parse_failures": Share,
        "per_label": Mapping[str, LabelScore],
        "examples": Count,
        "definitions": Mapping[str, str] | None,
        "intervals": Mapping[str, tuple[float, float]] | None,
    }
    json_required: ClassVar[tuple[str, ...]] = ("parse_failures", "examples")
    json_others: ClassVar[Any] = float
    primary: str
    """Name of the metric that selects models and ranks them."""
    values: Mapping[str, float]
    """By metric name."""
    parse_failures: float = 0.0
    """Share (0 to 1) of completions that did not parse."""
    per_label: Mapping[str, LabelScore] = field(default_factory=dict)
    examples: int = 0
    definitions: Mapping[str, str] = field(default_factory=dict)
    """Metric -> `Metric.definition` of those that have one; empty in records written before there were definitions."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Metric -> the ends of its 95% bootstrap interval over the texts; empty where none was computed."""

    def __post_init__(self) -> None:
        """Raises ValueError: the primary metric is missing, or a metric is called like another field."""
        if self.primary not in self.values:
            raise ValueError(f"the scores lack their primary metric {self.primary}")
        taken = _OTHER_KEYS.intersection(self.values)
        if taken:
            raise ValueError(f"no metric may be called {', '.join(sorted(taken))}")

    @property
    def value(self) -> float:
        """The primary metric's value."""
        return self.values[self.primary]

    def plain(self) -> Mapping[str, Any]:
        """The JSON form."""
        return {
            "primary": self.primary,
            **self.values,
            "parse_failures": self.parse_failures,
            "per_label": {label: asdict(score) for label, score in self.per_label.items()},
            "examples": self.examples,
            **({"definitions": dict(self.definitions)} if self.definitions else {}),
            **({"intervals": {name: list(ends) for name, ends in self.intervals.items()}} if self.intervals else {}),
        }

    def definition(self, metric: str) -> str:
        """How `metric` was computed; for records without definitions, as the version that wrote them did."""
        return self.definitions.get(metric, _OLD_DEFINITIONS.get(metric, "") if not self.definitions else "")


ZERO_DIVISION_ONE = (
    "the mean F1 of all labels of the task, where a label that is neither gold nor predicted counts as 1 (the rule of "
    "SemEval-2021 Task 6's scorer)"
)
"""The definition of macro-F1 that one shared task has, and that records without definitions were computed by."""
_OLD_DEFINITIONS = {"macro_f1": ZERO_DIVISION_ONE}
_OTHER_KEYS = frozenset(Scores.json_fields)
_METRICS_OF_OLD_RECORDS = (
    Metric("micro_f1", "micro-F1", short="micro", at_least=0, at_most=1),
    Metric("macro_f1", "macro-F1", short="macro", definition=ZERO_DIVISION_ONE, at_least=0, at_most=1),
)
"""Records written before scores named their primary metric hold these two, the first being the primary one."""
_OLD_BOUNDS = {metric.name: (metric.at_least, metric.at_most) for metric in _METRICS_OF_OLD_RECORDS}
"""Of the metrics that records without bounds have under these names."""


def scores_from(value: Mapping[str, Any]) -> Scores:
    """Scores from their JSON form, also the one without "primary". Raises KeyError, TypeError, ValueError."""
    if "primary" in value:
        primary, names = str(value["primary"]), [str(key) for key in value if key not in _OTHER_KEYS]
    else:
        primary, names = _METRICS_OF_OLD_RECORDS[0].name, [metric.name for metric in _METRICS_OF_OLD_RECORDS]
    return Scores(
        primary=primary,
        values={name: float(value[name]) for name in names},
        parse_failures=float(value["parse_failures"]),
        per_label={label: _label_score(score) for label, score in value.get("per_label", {}).items()},
        examples=int(value["examples"]),
        definitions={str(name): str(text) for name, text in (value.get("definitions") or {}).items()},
        intervals={str(name): (float(a), float(b)) for name, (a, b) in (value.get("intervals") or {}).items()},
    )


def checked_scores(plain: Any, where: str, metrics: Iterable[Metric] = ()) -> dict[str, Scores]:
    """Scores by split from their JSON form, within the bounds of `metrics`; `where` is named in messages.

    Raises DataError.
    """
    check_value(Mapping[str, Scores] | None, plain, where, "scores")
    found = {}
    for split, value in (plain or {}).items():
        path = f"scores.{split}"
        for metric in metrics:
            if metric.name in value:
                check_value(metric.hint, value[metric.name], where, f"{path}.{metric.name}")
        try:
            found[split] = scores_from(value)
        except KeyError as error:
            raise DataError(f"{where} is broken (there is no '{path}.{error.args[0]}'); {ADVICE}.") from error
        except ValueError as error:
            raise DataError(f'{where} is broken ("{path}": {error}); {ADVICE}.') from error
    return found


def _label_score(value: Mapping[str, Any]) -> LabelScore:
    return LabelScore(value["precision"], value["recall"], value["f1"], value["support"])


def metrics_from(values: Iterable[Mapping[str, Any]] | None) -> tuple[Metric, ...]:
    """Metrics from their JSON form, the primary one first; None or none: those of records that do not name them.

    Raises KeyError, TypeError.
    """
    found = tuple(
        Metric(
            str(v["name"]),
            str(v["title"]),
            bool(v.get("higher_is_better", True)),
            str(v.get("short", "")),
            str(v["definition"]) if "definition" in v else _OLD_DEFINITIONS.get(str(v["name"]), ""),
            *_bounds(v),
        )
        for v in values or ()
    )
    return found or _METRICS_OF_OLD_RECORDS


def _bounds(value: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The bounds in a metric's JSON form; those of records without any are known by the metric's name."""
    if "at_least" in value or "at_most" in value:
        return value.get("at_least"), value.get("at_most")
    return _OLD_BOUNDS.get(str(value["name"]), (None, None))


@dataclass(frozen=True, slots=True)
class LeaderboardEntry(FlatRecord):
    """One published result of a shared task, on its test split. In JSON each metric is a key beside "team"."""

    json_fields: ClassVar[Mapping[str, Any]] = {"team": str}
    json_required: ClassVar[tuple[str, ...]] = ("team",)
    json_others: ClassVar[Any] = float
    team: str
    scores: Mapping[str, float]
    """By metric name."""

    def plain(self) -> Mapping[str, Any]:
        """The JSON form."""
        return {"team": self.team, **self.scores}


def leaderboard_entry_from(value: Mapping[str, Any]) -> LeaderboardEntry:
    """A LeaderboardEntry from its JSON form. Raises KeyError, TypeError, ValueError."""
    return LeaderboardEntry(str(value["team"]), {str(k): float(v) for k, v in value.items() if k != "team"})
