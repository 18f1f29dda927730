"""What `learning_rates.py` found: `summary.json` and `tables.txt`, from its rows alone."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rates import CHOOSE, STUDY, Row, chosen_rate

LEVEL = 0.95


def metric_of(task: str) -> Any:
    """The primary metric of a task."""
    from semtune.records import TaskOptions
    from semtune.registry import TASKS

    return TASKS.get(task)(TaskOptions()).metrics[0]


def write(out: Path, rows: Sequence[Row], grid: Mapping[str, Sequence[float]], task: str) -> None:
    """Write both files."""
    found = summary(rows, grid, metric_of(task))
    (out / "summary.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (out / "tables.txt").write_text(tables(found), encoding="utf-8")


def summary(rows: Sequence[Row], grid: Mapping[str, Sequence[float]], metric: Any) -> dict[str, Any]:
    """Per method: its rates with their scores, the chosen one, and the study's figures."""
    methods = [_of_method(method, rates, rows, metric) for method, rates in grid.items()]
    failures = [
        {**{key: row[key] for key in ("section", "method", "rate", "seed", "fold")}, "error": row["error"]}
        for row in rows
        if "error" in row
    ]
    return {"metric": metric.name, "level": LEVEL, "methods": methods, "failures": failures}


def _of_method(method: str, rates: Sequence[float], rows: Sequence[Row], metric: Any) -> dict[str, Any]:
    own = [row for row in rows if row["method"] == method]
    chosen = chosen_rate(own, method, metric.rank)
    default = default_rate(method)
    compared = []
    for rate in rates:
        runs = [row for row in own if row["section"] == CHOOSE and row["rate"] == rate]
        scores = [row["score"] for row in runs if "error" not in row]
        figures = {"rate": rate, "failed": len(runs) - len(scores), **spread(scores)}
        figures["over_default"] = None if rate == default else over(own, rate, default, metric)
        compared.append({**figures, "wall_seconds": sum(row["wall_seconds"] for row in runs if "wall_seconds" in row)})
    study = [row for row in own if row["section"] == STUDY and row["rate"] == chosen and "error" not in row]
    return {
        "method": method,
        "default_rate": default,
        "chosen_rate": chosen,
        "at_the_edge": chosen is not None and chosen in (min(rates), max(rates)),
        "rates": compared,
        "study": _study_figures(study, metric) if study else None,
    }


def over(rows: Sequence[Row], rate: float, other: float | None, metric: Any) -> dict[str, Any] | None:
    """How much better `rate` scored than `other` on the pairs of seed and fold that both have; None: on none."""
    scores: dict[float, dict[tuple[int, str], float]] = {rate: {}}
    for row in rows:
        if row["section"] == CHOOSE and "error" not in row:
            scores.setdefault(row["rate"], {})[row["seed"], row["fold"]] = metric.rank(row["score"])
    theirs = {} if other is None else scores.get(other, {})
    differences = [score - theirs[pair] for pair, score in scores[rate].items() if pair in theirs]
    if not differences:
        return None
    better = sum(difference > 0 for difference in differences)
    return {"mean": statistics.fmean(differences), "better": better, "n": len(differences)}


def default_rate(method: str) -> float | None:
    """The method's own; None: it has no preset of the name."""
    from semtune.registry import METHODS

    preset = METHODS.get(method).presets.get("default")
    return None if preset is None else float(preset.learning_rate)


def _study_figures(rows: Sequence[Row], metric: Any) -> dict[str, Any]:
    def over_runs(name: str) -> float | None:
        values = [row[name] for row in rows if row.get(name) is not None]
        return statistics.fmean(values) if values else None

    def highest(name: str) -> int | None:
        values = [max(row[name].values()) for row in rows if row.get(name)]
        return max(values) if values else None

    scores = {
        split: {name: spread([row["scores"][split][name] for row in rows]) for name in rows[0]["scores"][split]}
        for split in rows[0]["scores"]
    }
    means = (
        "trainable_parameters", "total_parameters", "load_seconds", "train_seconds", "predict_seconds",
        "seconds_per_iteration", "predicted_seconds_per_iteration", "tokens_per_second",
    )  # fmt: skip
    return {
        "scores": scores,
        "primary": scores["test"][metric.name] if "test" in scores else None,
        **{name: over_runs(name) for name in means},
        "peak_bytes": highest("peak_bytes"),
        "predicted_peak_bytes": highest("predicted_peak_bytes"),
    }


def spread(scores: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation, and half the width of Student's interval of the mean; None where undefined."""
    n = len(scores)
    sd = statistics.stdev(scores) if n > 1 else None
    half = None
    if sd is not None:
        from scipy.stats import t

        half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
    return {"n": n, "mean": statistics.fmean(scores) if n else None, "sd": sd, "half_interval": half}


def tables(found: Mapping[str, Any]) -> str:
    """Both tables and the failures as plain text."""
    lines = [f"Learning rates: {found['metric']} on the folds' dev parts, mean ± sd (runs); * chosen", ""]
    for entry in found["methods"]:
        lines.append(f"{entry['method']} (default {_number(entry['default_rate'], 'g')})")
        for rate in entry["rates"]:
            mark = "*" if rate["rate"] == entry["chosen_rate"] else " "
            failed = f"; {rate['failed']} failed" if rate["failed"] else ""
            score = f"{_number(rate['mean'], '.4f')} ± {_number(rate['sd'], '.4f')} ({rate['n']}{failed})"
            line = f"  {mark} {rate['rate']:<8g} {score}  {rate['wall_seconds']:>4.0f} s"
            if rate["over_default"]:
                line += "  {mean:+.4f} over the default, better in {better} of {n}".format(**rate["over_default"])
            lines.append(line)
        if entry["at_the_edge"]:
            lines.append("    the chosen rate is at the edge of the grid")
    lines += ["", f"Study: {found['metric']} on test, mean ± half of the {found['level']:.0%} interval over seeds", ""]
    lines.append(
        f"{'method':<14}{'rate':>9}{'runs':>5}{'test':>18}{'trained':>12}{'train s':>9}{'peak GB':>9}{'planned GB':>12}"
    )
    lines += [_study_line(entry) for entry in found["methods"] if entry["study"]]
    if found["failures"]:
        lines += ["", "Failed", ""]
        lines += [
            f"{f['section']} {f['method']} {f['rate']:g} seed {f['seed']} fold {f['fold']}: {f['error']}"
            for f in found["failures"]
        ]
    return "\n".join(lines) + "\n"


def _study_line(entry: Mapping[str, Any]) -> str:
    study = entry["study"]
    score = study["primary"] or {"mean": None, "half_interval": None, "n": 0}
    test = f"{_number(score['mean'], '.4f')} ± {_number(score['half_interval'], '.4f')}"
    peaks = [None if study[name] is None else study[name] / 1e9 for name in ("peak_bytes", "predicted_peak_bytes")]
    trained = _number(study["trainable_parameters"], ",.0f")
    return (
        f"{entry['method']:<14}{entry['chosen_rate']:>9g}{score['n']:>5}{test:>18}{trained:>12}"
        f"{_number(study['train_seconds'], '.1f'):>9}{_number(peaks[0], '.2f'):>9}{_number(peaks[1], '.2f'):>12}"
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
