"""The shared model on a vocabulary that can be reckoned by hand."""

from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from byop.bundle.entry_modules import load_module_at

SHARED = Path(__file__).resolve().parents[2] / "listeners" / "shared" / "linear_text.py"


@pytest.fixture(scope="module")
def model_type() -> Any:  # noqa: ANN401 - the project's module has no stubs
    return load_module_at(SHARED).LinearTextModel


def test_score_is_the_mean_of_the_folds(model_type: Any) -> None:  # noqa: ANN401 - as above
    idf = np.array([1.0, 2.0])
    weights = np.array([[3.0, 0.0], [0.0, -1.0]])
    model = model_type(["good", "bad"], idf, weights, np.array([0.5, 0.25]))
    # "good" twice and "bad" once: (2 * 1, 1 * 2), divided by the length sqrt(8)
    first = 3.0 * 2 / sqrt(8) + 0.5
    second = -1.0 * 2 / sqrt(8) + 0.25
    expected = (1 / (1 + exp(-first)) + 1 / (1 + exp(-second))) / 2
    assert model.score(["Good, BAD; unknown good!"])[0] == pytest.approx(expected, abs=1e-15)


def test_huge_weights_do_not_overflow(model_type: Any) -> None:  # noqa: ANN401 - as above
    weights = np.array([[1e6], [-1e6]])
    model = model_type(["up", "down"], np.ones(2), weights, np.zeros(1))
    assert model.score(["up", "down", ""]).tolist() == [1.0, 0.0, 0.5]


def test_many_texts_score_as_each_alone(model_type: Any) -> None:  # noqa: ANN401 - as above
    model = model_type(["up", "down"], np.ones(2), np.array([[1.0], [-1.0]]), np.zeros(1))
    texts = ["up", "", "down up", "up up down"] * 300
    alone = [model.score([text])[0] for text in texts]
    np.testing.assert_array_equal(model.score(texts), alone)


def test_arrays_that_do_not_fit_together_are_refused(model_type: Any) -> None:  # noqa: ANN401 - as above
    with pytest.raises(ValueError, match="do not fit together"):
        model_type(["one"], np.ones(2), np.ones((1, 1)), np.ones(1))
