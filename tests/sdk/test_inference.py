import asyncio
from typing import Any

import numpy as np
import pytest

from byop.sdk import AsyncInference, Inference, InferenceData
from byop.sdk.exceptions import InferenceDataValidationError, ModelNotAssignedError


class Doubling(Inference):
    @property
    def expected_model_types(self) -> set[Any]:
        return {int, str}

    @Inference.model.setter  # type: ignore[attr-defined, untyped-decorator]  # authors write so
    def model(self, model: object) -> None:
        self._raise_error_if_model_is_wrong_type(model)
        self._model = model

    def _predict(self, input_data: InferenceData) -> InferenceData:
        return {"y": input_data["x"] * 2}


class WithoutInit(Doubling):
    def __init__(self) -> None:
        """Leave out ``super().__init__()``, as authors do."""


class WithoutSetter(Inference):
    @property
    def expected_model_types(self) -> set[Any]:
        return {int}

    def _predict(self, input_data: InferenceData) -> InferenceData:
        return input_data


class DoublingLater(AsyncInference):
    @property
    def expected_model_types(self) -> set[Any]:
        return {int}

    async def _predict(self, input_data: InferenceData) -> InferenceData:
        await asyncio.sleep(0)
        return {"y": input_data["x"] * 2}


class TypesAsMethod(Doubling):
    def expected_model_types(self) -> Any:  # type: ignore[override]  # noqa: ANN401
        return {float}


BATCH = {"x": np.array([1, 2])}


def test_model_is_a_property_of_the_class() -> None:
    assert isinstance(vars(Inference.__mro__[1])["model"], property)
    assert Inference.model is AsyncInference.model


def test_setter_of_a_subclass_assigns_the_model() -> None:
    inference = Doubling()
    inference.model = 7
    assert inference.model == 7
    assert inference.predict(BATCH)["y"].tolist() == [2, 4]


def test_model_cannot_be_assigned_without_a_setter() -> None:
    with pytest.raises(AttributeError, match="model"):
        WithoutSetter().model = 7  # type: ignore[misc]


@pytest.mark.parametrize("kind", [Doubling, WithoutInit])
def test_predict_without_a_model_is_refused(kind: type[Doubling]) -> None:
    with pytest.raises(ModelNotAssignedError, match="no model is assigned"):
        kind().predict(BATCH)


def test_model_of_a_wrong_type_is_refused_naming_the_expected_ones() -> None:
    with pytest.raises(TypeError, match=r"the model is a float, expected one of: int, str"):
        Doubling().model = 1.5


def test_expected_model_types_may_be_a_method() -> None:
    inference = TypesAsMethod()
    inference.raise_error_if_model_is_wrong_type(1.5)
    with pytest.raises(TypeError, match="float"):
        inference.raise_error_if_model_is_wrong_type(1)


@pytest.mark.parametrize("prefix", ["", "_"])
def test_checks_are_there_with_and_without_underscore(prefix: str) -> None:
    inference = Doubling()
    with pytest.raises(ModelNotAssignedError):
        getattr(inference, f"{prefix}raise_error_if_model_is_not_assigned")()
    with pytest.raises(TypeError):
        getattr(inference, f"{prefix}raise_error_if_model_is_wrong_type")(1.5)


@pytest.mark.parametrize("data", [[1, 2], {"x": [1, 2]}])
def test_input_that_is_no_dictionary_of_arrays_is_refused(data: Any) -> None:  # noqa: ANN401
    inference = Doubling()
    inference.model = 1
    with pytest.raises(InferenceDataValidationError, match="expected a"):
        inference.predict(data)


async def test_async_inference_is_awaited() -> None:
    inference = DoublingLater()
    with pytest.raises(ModelNotAssignedError):
        await inference.predict(BATCH)
    inference._model = 1
    assert (await inference.predict(BATCH))["y"].tolist() == [2, 4]


def test_inference_without_predict_part_cannot_be_made() -> None:
    class Incomplete(Inference):
        expected_model_types = {int}  # noqa: RUF012

    with pytest.raises(TypeError, match="_predict"):
        Incomplete()  # type: ignore[abstract]
