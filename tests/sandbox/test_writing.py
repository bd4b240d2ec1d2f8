import pytest

from byop.sandbox.writing import (
    count_tokens,
    cut_at_stops,
    cut_at_tokens,
    digest_of,
    pieces,
    write_answer,
)


@pytest.mark.parametrize("prompt", ["", "   ", "{braces} {0}", "What? Why!", "word " * 500, "日本"])
def test_any_prompt_gets_a_readable_answer(prompt: str) -> None:
    answer = write_answer(prompt)
    assert 20 < len(answer) < 300
    assert answer == write_answer(prompt)


def test_choices_of_one_prompt_vary() -> None:
    assert len({write_answer("Hello", choice) for choice in range(8)}) > 1


def test_digest_depends_on_borders_between_parts() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("a") == digest_of("a")


def test_pieces_join_to_the_text() -> None:
    text = "  One, two\n three. "
    assert "".join(pieces(text)) == text
    assert pieces("") == []


def test_tokens_are_words_and_signs() -> None:
    assert count_tokens("One, two!") == 4
    assert cut_at_tokens("One, two!", 3) == "One, two"
    assert cut_at_tokens("One, two!", 9) == "One, two!"


def test_first_stop_sequence_wins() -> None:
    assert cut_at_stops("a b c", ("c", "b")) == "a "
    assert cut_at_stops("a b c", ()) == "a b c"
