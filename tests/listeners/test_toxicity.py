"""The listener, packed, unpacked and loaded as a worker loads it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from byop.bundle.archive import pack, unpack
from byop.bundle.loading import LoadedModel, load_inference
from byop.bundle.manifest import read_manifest
from byop.sdk.exceptions import InferenceDataValidationError
from byop.tables.arrays import from_arrays

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1] / "listeners" / "toxicity"
TEXTS: list[str] = json.loads((HERE / "toxicity_texts.json").read_text())
EXPECTED: list[float] = json.loads((HERE / "toxicity_expected.json").read_text())["scores"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("toxicity")
    unpack(pack(PROJECT, folder / "toxicity.zip").path, folder / "unpacked")
    return load_inference(folder / "unpacked")


def predict(model: LoadedModel, **columns: list[str] | list[str | None]) -> dict[str, Any]:
    given: dict[str, npt.NDArray[Any]] = {
        name: np.array(values, dtype=object) for name, values in columns.items()
    }
    answer = model.predict(given)
    assert isinstance(answer, dict)
    return answer


def test_scores_are_the_originals_before_they_are_rounded(model: LoadedModel) -> None:
    inference: Any = getattr(model.predict, "__self__", None)
    linear = inference.model
    assert len(TEXTS) == len(EXPECTED) >= 200
    together = linear.score(TEXTS)
    assert together.dtype == np.float64
    np.testing.assert_allclose(together, EXPECTED, rtol=0, atol=1e-9)
    alone = [linear.score([text])[0] for text in TEXTS]
    np.testing.assert_allclose(alone, EXPECTED, rtol=0, atol=1e-9)


def test_answer_is_float32_and_fits_the_declared_outputs(model: LoadedModel) -> None:
    answer = predict(model, text=["Hello"] * len(TEXTS), generated_text=list(TEXTS))
    manifest = read_manifest((PROJECT / "model.toml").read_text())
    assert manifest.outputs is not None
    table = from_arrays(answer, manifest.outputs).to_pydict()
    assert list(table) == ["generated_text", "profanity", "toxicity"]
    assert table["generated_text"] == TEXTS
    assert table["toxicity"] == table["profanity"]
    assert answer["profanity"].dtype == np.float32
    np.testing.assert_array_equal(answer["profanity"], np.array(EXPECTED, np.float32))
    assert all(0 <= score <= 1 for score in table["profanity"])


def test_insult_scores_high_and_politeness_low(model: LoadedModel) -> None:
    answer = predict(model, generated_text=["You stupid idiot.", "Thank you for asking."])
    insult, polite = answer["toxicity"]
    assert insult > 0.9
    assert polite < 0.1


def test_prompt_does_not_change_the_score(model: LoadedModel) -> None:
    alone = predict(model, generated_text=["Hello"])
    beside = predict(model, generated_text=["Hello"], text=["You stupid idiot."])
    assert list(beside) == list(alone) == ["generated_text", "profanity", "toxicity"]
    assert beside["toxicity"] == alone["toxicity"]


def test_null_answer_is_not_scored(model: LoadedModel) -> None:
    answer = predict(model, generated_text=["Hello", None, "You idiot"])
    assert answer["generated_text"].tolist() == ["Hello", None, "You idiot"]
    assert np.isnan(answer["profanity"]).tolist() == [False, True, False]
    assert answer["profanity"][2] > 0.9


def test_no_rows_give_no_scores(model: LoadedModel) -> None:
    answer = predict(model, generated_text=[])
    assert answer["profanity"].shape == (0,)


def test_missing_answer_column_is_named(model: LoadedModel) -> None:
    with pytest.raises(InferenceDataValidationError, match="'generated_text', got text"):
        predict(model, text=["Hello"])


def test_prompts_of_another_length_are_refused(model: LoadedModel) -> None:
    with pytest.raises(InferenceDataValidationError, match="2 rows of 'text' and 1 of"):
        predict(model, text=["a", "b"], generated_text=["c"])


def test_weights_are_small_and_hold_no_pickle() -> None:
    weights = PROJECT / "weights.npz"
    assert weights.stat().st_size < 2**20
    with np.load(weights, allow_pickle=False) as arrays:
        assert {name: arrays[name].dtype.kind for name in arrays} == {
            "words": "u",
            "idf": "f",
            "weights": "f",
            "biases": "f",
        }
    assert "MIT License" in (PROJECT / "LICENSE-weights.txt").read_text()
