"""Every parser of outside bytes gives a value or a typed error: no crash, no hang, no flood.

A few seconds each here. Longer: ``make fuzz FUZZ_SECONDS=150``.
"""

from tests.fakes.hostile_zips import zips
from tests.fuzz.fuzzing import ParserProcess, fuzz
from tests.fuzz.inputs import arrow_bodies, frame_bytes, json_bodies


def test_arrow_bodies_are_read_or_refused(parser: ParserProcess, fuzz_seconds: float) -> None:
    fuzz(parser, arrow_bodies(), examples=500, seconds=fuzz_seconds)
    assert len(parser.outcomes) > 1


def test_json_bodies_are_read_or_refused(parser: ParserProcess, fuzz_seconds: float) -> None:
    fuzz(parser, json_bodies(), examples=400, seconds=fuzz_seconds)
    assert len(parser.outcomes) > 1


def test_zip_files_are_read_or_refused(parser: ParserProcess, fuzz_seconds: float) -> None:
    fuzz(parser, zips(), examples=200, seconds=fuzz_seconds)
    assert len(parser.outcomes) > 1


def test_frames_are_read_or_refused(parser: ParserProcess, fuzz_seconds: float) -> None:
    fuzz(parser, frame_bytes(), examples=400, seconds=fuzz_seconds)
    assert len(parser.outcomes) > 1
