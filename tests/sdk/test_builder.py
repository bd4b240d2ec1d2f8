from pathlib import Path

import pytest

from byop.sdk import CustomInferenceConfig, InferenceBuilder


class Builder(InferenceBuilder):
    @property
    def inference(self) -> object:
        return object

    def create(self, config: CustomInferenceConfig) -> object:  # type: ignore[override]
        return config


def test_custom_config_is_none_until_it_is_set() -> None:
    builder = Builder()
    assert builder.custom_config is None
    config = CustomInferenceConfig(model_path=Path("model"))
    builder.custom_config = config
    assert builder.custom_config is config
    assert Builder().custom_config is None


@pytest.mark.parametrize("missing", ["inference", "create"])
def test_incomplete_builder_cannot_be_made(missing: str) -> None:
    members = {name: vars(Builder)[name] for name in ("inference", "create") if name != missing}
    kind = type("Incomplete", (InferenceBuilder,), members)
    with pytest.raises(TypeError, match=missing):
        kind()
