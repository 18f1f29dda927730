"""The scikit-learn classifier: scikit-learn's own checks, and the tools of scikit-learn that users put it into."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from sklearn.utils import estimator_checks
from sklearn.utils.validation import validate_data

from semtune.errors import OptionError, UnknownNameError
from semtune.sklearn import TunedTextClassifier

from .conftest import REVIEWS

TEXTS = [f"{text}, {number}" for number in range(6) for text, _ in REVIEWS]
MOODS = [mood for _ in range(6) for _, mood in REVIEWS]
SETS = [["warm", "kind"], ["cold"], [], ["cold", "kind"]] * 6
ONE_THREAD = {"threads": 1}


@pytest.fixture
def classifier(tiny_model: Path) -> TunedTextClassifier:
    """One that learns the four repeated texts in a second."""
    return TunedTextClassifier(
        str(tiny_model), epochs=3, batch_size=2, learning_rate=0.02, rank=4, precision="fp32", options=ONE_THREAD,
        random_state=0,
    )  # fmt: skip


def test_classes_come_back_as_they_went_in(classifier: TunedTextClassifier) -> None:
    for y in (MOODS, np.array(MOODS) == "good", [7 if mood == "good" else -1 for mood in MOODS]):
        fitted = classifier.fit(TEXTS, y)
        assert fitted is classifier
        np.testing.assert_array_equal(fitted.classes_, np.unique(y))
        assert fitted.predict(TEXTS[:4]).dtype == np.asarray(y).dtype
        assert fitted.score(pd.Series(TEXTS), y) > 0.9
        probabilities = fitted.predict_proba(TEXTS[:4])
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(TEXTS[:4]))


def test_classes_of_pandas_own_types_stay_what_they_are(classifier: TunedTextClassifier) -> None:
    good = np.array(MOODS) == "good"
    for y, kind in [(pd.Series(good, dtype="boolean"), bool), (pd.Series(good.astype(int), dtype="Int64"), np.int64)]:
        fitted = classifier.set_params(epochs=1).fit(TEXTS, y)
        assert fitted.classes_.dtype == kind


@pytest.mark.parametrize("kind", ["matrix", "lists"])
def test_several_labels_a_text(classifier: TunedTextClassifier, kind: str) -> None:
    binarizer = MultiLabelBinarizer()
    matrix = binarizer.fit_transform(SETS)
    names = list(binarizer.classes_)
    # Two texts of a tenth choose the first epoch by chance; here all texts choose it.
    fitted = classifier.set_params(label_names=names if kind == "matrix" else None, validation_fraction=0.0, epochs=6)
    fitted.set_params(learning_rate=0.005)
    fitted.fit(TEXTS, matrix if kind == "matrix" else SETS)
    assert fitted.multilabel_
    assert list(fitted.run_.labels) == names
    assert list(fitted.classes_) == ([0, 1, 2] if kind == "matrix" else names)
    predicted = fitted.predict(TEXTS)
    assert predicted.shape == fitted.predict_proba(TEXTS).shape == matrix.shape
    assert set(np.unique(predicted)) <= {0, 1}
    assert (predicted == matrix).mean() > 0.9
    assert fitted.score(TEXTS, matrix if kind == "matrix" else SETS) == (predicted == matrix).all(axis=1).mean()


def test_parameters_clone_and_reach_the_run(classifier: TunedTextClassifier, tmp_path: Path) -> None:
    copy = clone(classifier.set_params(method="dora", targets=("q_proj",), out_dir=tmp_path / "runs", epochs=1))
    assert copy.get_params() == classifier.get_params()
    copy.fit(TEXTS, MOODS)
    spec = copy.run_.spec
    options = spec.method_options
    assert (spec.method, options["rank"], options["targets"]) == ("dora", 4, ("q_proj",))
    assert (spec.threads, spec.epochs) == (1, 1)
    first = copy.run_.folder
    copy.fit(TEXTS, MOODS)
    assert {first, copy.run_.folder} == set((tmp_path / "runs").iterdir()), "each fit has a folder of its own"
    assert copy.run_.spec.seed == spec.seed


def test_validation_texts(classifier: TunedTextClassifier) -> None:
    def sizes(fraction: float) -> tuple[int, int]:
        run = classifier.set_params(epochs=1, validation_fraction=fraction).fit(TEXTS, MOODS).run_
        assert "test" not in run.scores
        return len((run.folder / "predictions-dev.json").read_text().split('"id"')) - 1, len(run.result.notes)

    assert sizes(0.25)[0] == 6
    assert sizes(0.0)[0] == len(TEXTS)
    with pytest.raises(OptionError, match="validation_fraction must be at least 0 and below 1, not 2"):
        sizes(2)


def test_a_pickle_predicts_without_the_run_folder(classifier: TunedTextClassifier) -> None:
    fitted = classifier.fit(TEXTS, MOODS)
    expected = fitted.predict_proba(TEXTS)
    content = pickle.dumps(fitted)
    folder = fitted.run_.folder
    del fitted
    classifier.__dict__.pop("run_")
    assert not folder.exists()
    np.testing.assert_array_equal(pickle.loads(content).predict_proba(TEXTS), expected)


def test_within_a_pipeline_a_search_and_a_cross_validation(classifier: TunedTextClassifier) -> None:
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    pipeline = make_pipeline(lower, classifier)
    scores = cross_val_score(pipeline, [text.upper() for text in TEXTS], MOODS, cv=2)
    assert scores.mean() > 0.6, "twelve texts a fold"
    search = GridSearchCV(pipeline, {"tunedtextclassifier__rank": [1, 2]}, cv=2).fit(TEXTS, MOODS)
    assert search.best_params_["tunedtextclassifier__rank"] in (1, 2)
    assert search.score(TEXTS, MOODS) > 0.6
    ranked = cross_val_score(classifier, np.array(TEXTS), np.array(MOODS), cv=2, scoring="roc_auc")
    assert ranked.shape == (2,)


def test_a_generating_readout(classifier: TunedTextClassifier) -> None:
    options = {**ONE_THREAD, "max_new_tokens": 2}
    fitted = classifier.set_params(readout="generate", epochs=1, options=options).fit(TEXTS, ["good", *MOODS[1:]])
    assert set(fitted.predict(TEXTS[:3])) <= {"good", "bad"}
    with pytest.raises(OptionError, match="no probabilities"):
        fitted.predict_proba(TEXTS[:3])


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        ("a text", ["a"], "a string was passed"),
        ([["a", "b"], ["c", "d"]], ["a", "b"], "one text a sample"),
        (["a", " "], ["a", "b"], r"X\[1\] must be a text"),
        (["a", "\u200b"], ["a", "b"], r"X\[1\] must be a text"),
        (["a", None], ["a", "b"], r"X\[1\] must be a text"),
        ([], [], "0 sample"),
        (["a", "b"], ["a"], "inconsistent numbers of samples"),
        (["a", "b"], None, "y cannot be None|requires y to be passed"),
        (["a", "b"], ["a", "a"], "only one class"),
        (["a", "b"], [0.5, 1.7], "continuous"),
        (["a", "b"], ["a b", "a  b"], "name of its own"),
        (["a", "b"], ["a", None], r"y\[1\] is missing \(None\)"),
        (["a", "b"], pd.Series(["a", None]), r"y\[1\] is missing"),
        (["a", "b"], pd.Series(["a", None]).tolist(), r"y\[1\] is missing"),
        (["a", "b"], ["a", float("nan")], r"y\[1\] is missing \(nan\)"),
        (["a", "b"], [np.nan, "b"], r"y\[0\] is missing"),
        (["a", "b"], np.array(["a", np.nan], dtype=object)[:, None], r"y\[1\] is missing"),
        (["a", "b"], pd.Series([1, None], dtype="Int64"), r"y\[1\] is missing"),
        (["a", "b"], pd.Series(["a", pd.NA], dtype="string"), r"y\[1\] is missing"),
        (["a", "b"], pd.Series(["a", None], dtype="category"), r"y\[1\] is missing"),
        (["a", "b"], pd.DataFrame({"y": ["a", None]}), r"y\[1\] is missing"),
        (["a", "b"], np.array(["2020-01-01", "NaT"], dtype="datetime64[ns]"), r"y\[1\] is missing"),
        (["a", "b"], [1.0, np.nan], r"y\[1\] is missing"),
        (["a", "b"], ["a", 1], r'y\[1\] is 1, a number, but y\[0\] is "a", text'),
        (["a", "b"], [True, 2], r"y\[1\] is 2, a number, but y\[0\] is True"),
        (["a", "b"], [b"a", b"b"], "of the kind bytes"),
        (["a", "b"], np.array([1, 2], dtype="timedelta64[s]"), "of the kind timedelta64"),
        (["a", "b"], [{"a": 1}, {"b": 1}], "of the kind dict"),
        (["a", "b"], {"a": 1, "b": 2}, "but it is of the kind dict"),
        (["a", "b"], {"a", "b"}, "but it is of the kind set"),
        (["a", "b"], "ab", "but it is of the kind str"),
        (["a", "b"], 5, "but it is of the kind int"),
        (["a", "b"], iter("ab"), "but it is of the kind str_"),
        (["a", "b"], [[1, 0], "a"], r'y\[1\] is "a", but other texts have lists'),
        (["a", "b"], [[1, 0], None], r"y\[1\] is missing, but other texts have lists"),
        (["a", "b"], [["joy", "fun"], "sad"], r'y\[1\] is "sad", but other texts have lists'),
        (["a", "b"], ["sad", ["joy", "fun"]], r'y\[0\] is "sad", but other texts have lists'),
        (["a", "b"], [["joy"], None], r"y\[1\] is missing, but other texts have lists"),
        (["a", "b"], [["joy"], np.nan], r"y\[1\] is missing, but other texts have lists"),
        (["a", "b"], [["joy"], [None]], r"y\[1\] is missing \(None\)"),
        (["a", "b"], [["joy", 1], ["sad"]], r'y\[0\] is 1, a number, but y\[0\] is "joy"'),
        (["a", "b"], [["joy"], [["sad"]]], "a label is text, a number or a date"),
        (["a", "b"], [["0", "1"], ["1", "0"]], "a number for each label of a list that stands"),
        (["a", "b"], [[], []], "no label at all"),
        (["a", "b"], np.array([[1, -1, -1], [-1, 1, 1]]), r"y is a matrix of -1 and 1, .*\(y > 0\)"),
        (["a", "b"], [[1, -1], [-1, 1]], "y is a matrix of -1 and 1"),
        (["a", "b"], pd.DataFrame({"x": [1, -1], "z": [-1, 1]}), "y is a matrix of -1 and 1"),
        (["a", "b"], csr_matrix([[2, 0], [0, 2]]), "y is a matrix of 0 and 2"),
        (["a", "b"], np.array([[1.0, np.nan], [0.0, 1.0]]), "NaN"),
        (["a", "b"], pd.DataFrame({"x": [1, None], "z": [0, 1]}), "missing"),
    ],
)
def test_bad_input(classifier: TunedTextClassifier, X: Any, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classifier.fit(X, y)


@pytest.mark.parametrize("y", [MOODS, SETS], ids=["one", "lists"])
def test_names_of_columns_do_not_rename_classes(classifier: TunedTextClassifier, y: Any) -> None:
    names = ["good", "bad"] if y is MOODS else ["warm", "kind", "cold"]
    with pytest.raises(ValueError, match="label_names names the columns of an indicator matrix, but y has"):
        classifier.set_params(label_names=names).fit(TEXTS, y)


def _indicators(names: Any) -> pd.DataFrame:
    return pd.DataFrame(MultiLabelBinarizer().fit_transform(SETS), columns=names)


@pytest.mark.parametrize("given", [None, ["cold", "so kind", "warm"]])
def test_columns_of_a_frame_keep_their_names(classifier: TunedTextClassifier, given: Any) -> None:
    y = _indicators(["cold", "so  kind", "warm"])
    fitted = classifier.set_params(epochs=1, label_names=given).fit(TEXTS, y)
    assert list(fitted.run_.labels) == ["cold", "so kind", "warm"]
    assert list(fitted.classes_) == [0, 1, 2]
    assert fitted.predict(TEXTS).shape == y.shape
    assert fitted.score(TEXTS, y) == fitted.score(TEXTS, y.to_numpy()) == fitted.score(TEXTS, _indicators([5, 6, 7]))
    for names in (["warm", "so kind", "cold"], ["cold", "so kind", "hot"]):
        with pytest.raises(ValueError, match=r"y has the columns .* but the estimator was fitted on"):
            fitted.score(TEXTS, _indicators(names))


@pytest.mark.parametrize("columns", [[4, 5, 6], [0, 1, "x"], [("a", "b"), ("a", "c"), ("d", "e")]])
def test_other_columns_have_numbers_or_the_names_given(classifier: TunedTextClassifier, columns: Any) -> None:
    y = _indicators(columns if not isinstance(columns[0], tuple) else pd.MultiIndex.from_tuples(columns))
    fitted = classifier.set_params(epochs=1).fit(TEXTS, y)
    assert list(fitted.run_.labels) == ["0", "1", "2"] == [str(number) for number in fitted.classes_]
    assert fitted.score(TEXTS, _indicators(["a", "b", "c"])) == fitted.score(TEXTS, y)
    named = clone(classifier).set_params(label_names=["a", "b", "c"]).fit(TEXTS, y)
    assert list(named.run_.labels) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["warm", "kind", "cold"],
            r'\["cold", "kind", "warm"\], which label_names calls \["warm", .* in another order',
        ),
        (["cold", "kind", "Warm"], "columns' own names are used, or rename the columns"),
        ({"cold", "kind", "warm"}, "label_names must be a list, in the order of y's columns, not of the kind set"),
        ("ckw", "not of the kind str"),
    ],
)
def test_names_do_not_replace_those_of_a_frame(classifier: TunedTextClassifier, names: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classifier.set_params(label_names=names).fit(TEXTS, _indicators(["cold", "kind", "warm"]))


def test_a_score_on_a_frame_is_held_against_lists_of_labels(classifier: TunedTextClassifier) -> None:
    fitted = classifier.set_params(epochs=1).fit(TEXTS, SETS)
    y = _indicators(["cold", "kind", "warm"])
    assert fitted.score(TEXTS, y) == fitted.score(TEXTS, SETS)
    with pytest.raises(ValueError, match="in another order; give these, in this order"):
        fitted.score(TEXTS, y[["warm", "cold", "kind"]])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_fraction", "X and y are the data"), ("out", "as out_dir sets it"), ("progress", "as verbose sets it"),
        ("dev", "as validation_fraction sets it"), ("dev_fraction", "as validation_fraction sets it"),
        ("seed", "as random_state sets it"), ("labels", "as y and label_names sets it"), ("test", "X and y are the"),
        ("label_separator", "X and y are the data"), ("task_options", "X and y are the data"),
        ("epochs", "is the parameter epochs="), ("model", "is the parameter model="),
    ],
)  # fmt: skip
def test_options_do_not_replace_parameters(classifier: TunedTextClassifier, name: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        classifier.set_params(options={name: 1}).fit(TEXTS, MOODS)


def test_classes_that_may_not_be_meant_are_named(classifier: TunedTextClassifier) -> None:
    classifier.set_params(epochs=1)
    with pytest.warns(UserWarning, match='y has the class "nan", which is learnt like any other'):
        classifier.fit(TEXTS, np.array([*MOODS[1:], np.nan]))
    with pytest.warns(UserWarning, match='class "cold;kind" looks like several labels joined by ";"'):
        classifier.fit(TEXTS, ["cold", "kind", "cold;kind"] * 8)
    with pytest.warns(UserWarning, match=r'"Don\'t know" \(8\) and "Don’t know" \(8\)'):
        classifier.fit(TEXTS, ["Don't know", "Don’t know", "kind"] * 8)


def test_a_score_reads_y_as_fitting_does(classifier: TunedTextClassifier) -> None:
    fitted = classifier.set_params(epochs=1).fit(TEXTS, SETS)
    matrix = fitted.predict(TEXTS)
    own = [[fitted.classes_[i] for i in np.flatnonzero(row)] for row in matrix]
    assert fitted.score(TEXTS, matrix) == fitted.score(TEXTS, own) == fitted.score(TEXTS, csr_matrix(matrix)) == 1
    assert fitted.score(TEXTS, [[*row, "unseen"] for row in own[:12]] + own[12:]) == 0.5
    weights = np.repeat([1.0, 3.0], 12)
    assert fitted.score(TEXTS, [[*row, "unseen"] for row in own[:12]] + own[12:], weights) == 0.75
    for y, said in [
        (np.where(matrix, 1, -1), "matrix of -1"),
        (matrix[:, :2], "2 columns, but the estimator was fitted on 3 classes"),
        ([["joy"]] * 24, "none of the classes"),
        ([*SETS[1:], "cold"], "other texts have lists"),
        (MOODS, "one class a text"),
    ]:
        with pytest.raises(ValueError, match=said):
            fitted.score(TEXTS, y)
    one = classifier.set_params(epochs=1).fit(TEXTS, MOODS)
    for y, said in [(SETS, "sets of classes"), ([*MOODS[1:], None], "missing"), ([*MOODS[1:], 3], "of one kind")]:
        with pytest.raises(ValueError, match=said):
            one.score(TEXTS, y)


def test_mistakes(classifier: TunedTextClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFittedError):
        classifier.predict(TEXTS)
    with pytest.raises(ValueError, match="2 names for 3 columns"):
        clone(classifier).set_params(label_names=["a", "b"]).fit(TEXTS, MultiLabelBinarizer().fit_transform(SETS))
    for missing in (None, np.nan):
        with pytest.raises(ValueError, match=r"label_names\[1\] is missing"):
            clone(classifier).set_params(label_names=["a", missing, "c"]).fit(
                TEXTS, MultiLabelBinarizer().fit_transform(SETS)
            )
    with pytest.raises(UnknownNameError, match='did you mean "patience"'):
        clone(classifier).set_params(options={"patienc": 2}).fit(TEXTS, MOODS)

    def interrupt(self: Any, event: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("semtune.progress.NoProgress.on_step", interrupt)
    with pytest.warns(RuntimeWarning, match="interrupted"), pytest.raises(KeyboardInterrupt):
        classifier.fit(TEXTS, MOODS)


class NumbersAsTexts(TunedTextClassifier):
    """The classifier as scikit-learn's checks can call it: each row of their numbers is written out as a text.

    The checks make rows of numbers and leave out whatever does not accept them, so without this only the handful for
    all estimators would run. What is checked of X (its number of columns, NaN) is done here as any estimator does it.
    """

    def _as_texts(self, X: Any, *, fitting: bool) -> list[str]:
        return [" ".join(f"{value:.3g}" for value in row) for row in validate_data(self, X, reset=fitting)]

    def fit(self, X: Any, y: Any) -> NumbersAsTexts:
        if y is None:
            return super().fit(["any"], y)
        super().fit(self._as_texts(X, fitting=True), y)
        return self

    def predict(self, X: Any) -> Any:
        estimator_checks.check_is_fitted(self)
        return super().predict(self._as_texts(X, fitting=False))

    def predict_proba(self, X: Any) -> Any:
        estimator_checks.check_is_fitted(self)
        return super().predict_proba(self._as_texts(X, fitting=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = False
        tags.input_tags.two_d_array = True
        tags.classifier_tags.poor_score = True
        return tags


EXPECTED_TO_FAIL: dict[str, str] = {}
"""scikit-learn's checks that a classifier of texts cannot pass, with the reason."""


def tiny(**changes: Any) -> NumbersAsTexts:
    """Its model is filled in by the test, as fixtures do not reach parameters."""
    options = {
        "epochs": 1,
        "rank": 1,
        "precision": "fp32",
        "max_length": 64,
        "batch_size": 32,
        "options": ONE_THREAD,
    } | changes
    return NumbersAsTexts("tiny", validation_fraction=0.0, random_state=0, **options)


@pytest.mark.slow
@estimator_checks.parametrize_with_checks([tiny()], expected_failed_checks=lambda _: EXPECTED_TO_FAIL)
def test_scikit_learns_own_checks(estimator: Any, check: Any, tiny_model: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator.set_params(model=str(tiny_model)))
