"""One run as an object: what it measured, and its model to predict with."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semtune.errors import DataError, ModelError, OptionError
from semtune.records import Example, Prediction, RunResult, RunSpec
from semtune.runtime.files import expanded

if TYPE_CHECKING:
    import numpy as np

    from semtune.contracts import Approach
    from semtune.progress import NoProgress, RunBar
    from semtune.runs.folder import RunFolder


class Run:
    """A run folder: its spec, its result, and its model, which is loaded at the first prediction.

    A run is pickled with its folder's files (spec, labels, result, adapter), so a pickle can be used on another machine
    as long as the base model can be found there. The texts it was trained on are not in the pickle, nor is trust in the
    base model's code; with `full` tuning the whole model is.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, progress: bool = True, trust_remote_code: bool = False
    ) -> None:
        """`trust_remote_code`: whether code that comes with the base model may run; the folder has no say in it.

        Raises ModelError: `folder` is not a run folder.
        """
        self._folder, self._progress, self._trust = expanded(folder), progress, trust_remote_code
        self._model: Approach | None = None
        if not self._files.spec.exists():
            raise ModelError(f"{folder} is not a run folder; give the folder that semtune.tune(out=…) wrote.")

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._folder

    @property
    def _files(self) -> RunFolder:
        from semtune.runs.folder import RunFolder

        return RunFolder.current(self._folder)

    @property
    def kept(self) -> bool:
        """Whether the run folder contains weights (or another fitted state) to predict with."""
        return self._files.kept() is not None

    @cached_property
    def spec(self) -> RunSpec:
        """Everything needed to run again."""
        from semtune.specs import read_spec

        return read_spec(self._files.spec)

    @cached_property
    def result(self) -> RunResult:
        """The measured scores, times and memory. Raises DataError: the run was killed before it wrote its result."""
        from semtune.runs.folder import read_result

        return read_result(self._files.result)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The label space, in the order of `predict_proba`'s columns."""
        from semtune.runs.folder import read_labels

        return read_labels(self._files).labels

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Each labelled split's metrics by name, e.g. `run.scores["dev"]["micro_f1"]`."""
        return {split: dict(scores.values) for split, scores in self.result.scores.items()}

    def predict(self, texts: str | Iterable[str], *, progress: bool | None = None) -> list[Prediction]:
        """A prediction for each text, in their order; a single string is one text.

        Args:
            progress: show a bar where there are more texts than one batch; None: as given to the constructor.

        Raises:
            DataError: an empty text, or something that is no text.
            ModelError: the run kept no weights, or its base model cannot be found.
        """
        from semtune.runs.cut import cut_texts

        examples = [Example(str(number), text, None) for number, text in enumerate(_checked(texts))]
        show_bar = self._progress if progress is None else progress
        with observer(show_bar and len(examples) > self.spec.predict_batch_size) as watch, caller_state_kept():
            if self._model is None:
                from semtune.runs.load import load_run

                watch.on_phase(f"loading {self._folder.name}", None)
                self._model = load_run(self._folder, trust_remote_code=self._trust)
            watch.on_phase("predicting", len(examples))
            predictions = self._model.predict(examples, watch.on_done) if examples else []
        found = cut_texts(self._model, examples)
        if found is not None:
            warnings.warn(f"{found.sentence('texts')}.", UserWarning, stacklevel=2)
        return predictions

    def predict_proba(self, texts: str | Iterable[str], *, progress: bool | None = None) -> np.ndarray[Any, Any]:
        """Each label's probability, (texts, labels), columns in the order of `labels`.

        Raises:
            OptionError: the run's readout predicts no probabilities. DataError, ModelError: as `predict`.
        """
        import numpy as np

        rows = []
        for prediction in self.predict(texts, progress=progress):
            if prediction.probabilities is None:
                raise OptionError(f"{self._without_probabilities()} or use predict().")
            rows.append([prediction.probabilities[label] for label in self.labels])
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.labels))

    def _without_probabilities(self) -> str:
        """Why there are none, and what gives some."""
        from semtune.registry import APPROACHES

        if "readout" in APPROACHES.get(self.spec.approach).uses:
            return f'The readout "{self.spec.readout}" gives no probabilities; tune with readout="head",'
        return f'A run of the approach "{self.spec.approach}" gave none; tune a model with readout="head",'

    def keep_with(self, folder: Path) -> None:
        """Remove `folder` when this object is gone."""
        weakref.finalize(self, shutil.rmtree, str(folder), ignore_errors=True)

    def __repr__(self) -> str:
        spec = self.spec
        return f"<Run of {spec.method} on {spec.task} with {spec.model}, in {self._folder}>"

    def __getstate__(self) -> dict[str, Any]:
        paths = self._files
        files = [path for path in (paths.spec, paths.labels, paths.result, paths.environment) if path.exists()]
        kept = paths.kept()
        files += [] if kept is None else [path for path in kept.rglob("*") if path.is_file()]
        contents = {path.relative_to(paths.path).as_posix(): path.read_bytes() for path in files}
        return {"files": contents, "progress": self._progress}

    def __setstate__(self, state: dict[str, Any]) -> None:
        folder = temporary_folder()
        for name, content in state["files"].items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._folder, self._progress, self._model = folder, state["progress"], None
        self._trust = False
        self.keep_with(folder)


def temporary_folder() -> Path:
    """A new empty folder; the caller must remove it (`Run.keep_with`)."""
    return Path(tempfile.mkdtemp(prefix="semtune-run-"))


def observer(progress: bool, metric: str = "", wording: Callable[[str], str] = str) -> RunBar | NoProgress:
    """What watches a run, as a context manager; `metric` and `wording` are those of a RunBar."""
    from semtune.progress import NoProgress, RunBar

    return RunBar(metric, wording=wording) if progress else NoProgress()


@contextlib.contextmanager
def caller_state_kept() -> Iterator[None]:
    """Restore random generators and torch's thread count on exit, because a run seeds and sets them."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.set_num_threads(threads)


def _checked(texts: str | Iterable[str]) -> list[str]:
    """The texts as a list. Raises DataError."""
    from semtune.tasks.characters import check_characters, is_blank

    if hasattr(texts, "columns") or isinstance(texts, Mapping):
        raise DataError("Texts are needed, but this is a table; give its column of texts, such as df['text'].")
    if isinstance(texts, (bytes, os.PathLike)) or not isinstance(texts, Iterable):
        raise DataError(f"Texts are needed, but this is of the kind {type(texts).__name__}; give a string or strings.")
    if isinstance(texts, (set, frozenset)):
        raise DataError("Texts are needed in an order, that of the predictions, but this is a set; give a list.")
    try:
        found = [texts] if isinstance(texts, str) else list(texts)
    except TypeError as error:  # an array without dimensions
        raise DataError("Texts are needed in a list, but this is an array of one value; give [text].") from error
    for number, text in enumerate(found, start=1):
        if not isinstance(text, str):
            raise DataError(f"Text {number} is no text but of the kind {type(text).__name__}; give strings.")
        if is_blank(text):
            raise DataError(f"Text {number} is empty; give it some words.")
        check_characters(text, "text", f"Text {number}")
    return [str(text) for text in found]
