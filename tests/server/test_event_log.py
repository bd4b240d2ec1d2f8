import json
import subprocess
import sys

PROGRAM = """
import logging, structlog
from byop.server.event_log import configure_logging
configure_logging("INFO")
log = structlog.get_logger("x")
log.debug("below the level")
log.info("deployed", api_key="canary-1", OPENAI_TOKEN="canary-2", path="/p")
def handle(prompt):
    raise ValueError("broken")
try:
    handle("canary-3")
except ValueError:
    log.exception("failed")
logging.getLogger("uvicorn.error").warning("from %s", "uvicorn")
"""


def _events() -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_one_json_object_from_the_level_on() -> None:
    assert [event["event"] for event in _events()] == ["deployed", "failed", "from uvicorn"]


def test_secret_fields_and_local_variables_never_show() -> None:
    deployed, failed, _ = _events()
    assert (deployed["api_key"], deployed["OPENAI_TOKEN"]) == ("***", "***")
    assert deployed["path"] == "/p"
    assert "ValueError: broken" in failed["exception"]
    assert "canary" not in json.dumps([deployed, failed]).replace('handle("canary-3")', "")
