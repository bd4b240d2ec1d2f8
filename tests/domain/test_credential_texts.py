import pytest

from byop.domain.credential_texts import scrub_credentials

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("Incorrect API key provided: sk-ab***. Find", "Incorrect API key provided: *** Find"),
        ("key sk-proj-0123456789abcdef!", "key ***!"),
        ("Authorization: Bearer abc123def456", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwYXNz=", "authorization: basic ***"),
        ("AKIAIOSFODNN7EXAMPLE is disabled", "*** is disabled"),
        ("used AIzaSyA-0123456789abcdefghij", "used ***"),
        ("token ya29.a0Af_x-Y expired", "token *** expired"),
        (f"got {JWT}, and", "got ***, and"),
        ("ghp_0123456789abcdefghij0123", "***"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY----- end", "*** end"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE cut", "***"),
        ("GET https://host/v1?key=abc&n=1", "GET https://host/v1?key=***&n=1"),
        ("postgresql://user:pa55word@host/db", "postgresql://user:***@host/db"),
        ('{"api_key": "0123abcd4567"}', '{"api_key": "***"}'),
        ("password=hunter22", "password=***"),
    ],
)
def test_credential_is_removed_and_what_introduces_it_stays(text: str, scrubbed: str) -> None:
    assert scrub_credentials(text) == scrubbed


@pytest.mark.parametrize(
    "text",
    [
        "the column 'text' is missing",
        "send 'Bearer <access token>'",
        "Basic authentication is needed",
        "the token has expired",
        "max_tokens=100000, tokens: 123456",
        "KeyError: 'generated_text'",
        "https://host:8080/v1/models?limit=10",
        "sk-learn is no provider",
        "OPENAI_API_KEY is not set: give it in sidekick_env at deployment",
    ],
)
def test_plain_text_stays(text: str) -> None:
    assert scrub_credentials(text) == text


@pytest.mark.parametrize(
    "text",
    ["a", "token: ", "eyJ", "://a:", "sk-", "-----BEGIN PRIVATE KEY-----", "key?key=", "Bearer "],
)
def test_repeated_beginnings_take_no_quadratic_time(text: str) -> None:
    # A quadratic pattern would take minutes here.
    assert scrub_credentials(text * 40_000) is not None
