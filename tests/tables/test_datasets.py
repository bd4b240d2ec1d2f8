import pytest

from byop.errors import InvalidPayloadError
from byop.tables.datasets import DatasetSelection


def chosen(*dataset: str, exclude: tuple[str, ...] = (), separator: str | None = ".") -> set[str]:
    selection = DatasetSelection.parse(dataset, exclude, separator)
    parts = {"time", "check_failures"}
    fields = {"in.a", "in.b", "out.x", "out.y", "anomaly.count", "metadata.elapsed"}
    found = {part for part in parts if selection.has(part)}
    return found | {name for name in fields if selection.has(*name.split(".", 1))}


FLAT = {"time", "in.a", "in.b", "out.x", "out.y", "anomaly.count"}


def test_star_is_time_in_out_and_anomaly() -> None:
    assert chosen() == chosen("*") == FLAT


def test_star_without_separator_shows_failures_and_metadata_too() -> None:
    everything = FLAT | {"check_failures", "metadata.elapsed"}
    assert chosen(separator=None) == chosen("*", separator="") == everything


def test_metadata_is_added_beside_star() -> None:
    assert chosen("*", "metadata") == FLAT | {"metadata.elapsed"}
    assert chosen("*", "metadata.elapsed") == FLAT | {"metadata.elapsed"}
    assert chosen("*", "meta") == FLAT | {"metadata.elapsed"}
    assert chosen("metadata.elapsed") == chosen("meta.elapsed") == {"metadata.elapsed"}
    assert chosen("metadata.partition") == set()


def test_parts_and_single_fields_are_selected() -> None:
    assert chosen("out") == {"out.x", "out.y"}
    assert chosen("time", "in.a", "out.y") == {"time", "in.a", "out.y"}


def test_exclusion_wins() -> None:
    assert chosen("*", exclude=("in", "out.y")) == {"time", "out.x", "anomaly.count"}
    assert chosen("*", "metadata", exclude=("metadata",)) == FLAT
    assert chosen("out.x", exclude=("out",)) == set()


def test_a_field_with_dots_is_one_field() -> None:
    selection = DatasetSelection.parse(["out.a.b"], [], ".")
    assert selection.has("out", "a.b")
    assert not selection.has("out", "a")


def test_an_unknown_dataset_is_refused() -> None:
    for dataset, exclude in ((["output"], []), (["*"], ["inputs"]), ([""], [])):
        with pytest.raises(InvalidPayloadError, match="is unknown: use"):
            DatasetSelection.parse(dataset, exclude, ".")
