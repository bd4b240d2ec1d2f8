"""What looks like a credential, whoever's it is, and its removal from a text.

The second line of defence: known values are masked by name (``byop.engine.masking``); this finds
those that nobody named, such as the part of a key that a provider's error message quotes.
Standard library only: workers import this.
"""

import re

_MASK = "***"

_MARKS = re.compile(
    r"sk-|AKIA|ASIA|AIza|ya29\.|eyJ|gh[pousr]_|github_pat_|hf_|xox[abeoprs]-|PRIVATE KEY|://|[?&]\w+="
    r"|bearer|basic|key|password|passwd|secret|token|credential",
    re.IGNORECASE,
)
"""A text without one of these holds nothing to remove: most need one quick look."""

_PRIVATE_KEY = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"[\s\S]*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)"
)
_TOKENS = (
    r"\bsk-(?=[\w-]{0,99}[\d*])[\w*-]{4,}"  # OpenAI, Anthropic; also with stars in the middle
    r"|\bA(?:KIA|SIA)[0-9A-Z]{12,}"  # AWS
    r"|\bAIza[\w-]{20,}"  # Google
    r"|\bya29\.[\w.-]+"  # Google access tokens
    r"|\beyJ[\w-]{8,}(?:\.[\w-]+){0,4}"  # JWT
    r"|\b(?:gh[pousr]_|github_pat_)\w{20,}"  # GitHub
    r"|\bhf_\w{20,}"  # Hugging Face
    r"|\bxox[abeoprs]-[\w-]{10,}"  # Slack
)
_NAMED = (
    r"(?i:\b(?P<scheme>(?:bearer|basic)\s{1,9})"
    r"(?=[^\s\"']{0,99}(?:[\d*=]|(?-i:[a-z][A-Z])))[\w.~+/=*-]{8,}"
    r"|(?P<name>(?:\bkey|api[-_ ]?key|password|passwd|secret|token|credential)"
    r"(?: provided)?[\"']?\s{0,9}[:=]\s{0,9}[\"']?)(?=[^\s\"']{0,99}[\d*])[\w.~+/=*-]{6,}"
    r"|(?P<query>[?&](?:key|sig|code|api[-_]key|\w*token|\w*secret|password)=)[^&\s\"'<>]+)"
)
_USERINFO = r"(?P<user>://[^\s:/@\"']*:)[^\s/@\"']+(?=@)"
_CREDENTIAL = re.compile(f"{_PRIVATE_KEY}|{_TOKENS}|{_NAMED}|{_USERINFO}")


def scrub_credentials(text: str) -> str:
    """Return ``text`` with ``***`` in place of what looks like a key, a token or a password.

    What introduces it (``Bearer``, ``api_key=``) stays.
    """
    if _MARKS.search(text) is None:
        return text
    return _CREDENTIAL.sub(_replacement, text)


def _replacement(found: re.Match[str]) -> str:
    kept = (found[name] for name in ("scheme", "name", "query", "user"))
    return "".join(part for part in kept if part) + _MASK
