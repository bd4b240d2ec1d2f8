import os
from pathlib import Path

from byop.sdk import CustomInferenceConfig


def test_model_path_joins_in_both_ways(tmp_path: Path) -> None:
    config = CustomInferenceConfig(model_path=tmp_path)
    assert config.model_path / "a.bin" == tmp_path / "a.bin"
    assert os.path.join(config.model_path, "a.bin") == str(tmp_path / "a.bin")  # noqa: PTH118


def test_matching_files_are_the_top_level_modules(tmp_path: Path) -> None:
    (tmp_path / "nested").mkdir()
    for name in ("b.py", "a.py", "weights.bin", "nested/c.py"):
        (tmp_path / name).touch()
    config = CustomInferenceConfig(model_path=tmp_path)
    assert config.matching_files == [tmp_path / "a.py", tmp_path / "b.py"]
