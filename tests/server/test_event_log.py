import base64
import json
import subprocess
import sys

from byop.server.event_log import Redaction

PROGRAM = """
import asyncio, gc, logging, sys, threading, warnings
import structlog
from byop.server.event_log import configure_logging
configure_logging("INFO", mask=lambda text: text.replace("canary-own", "***"))
log = structlog.get_logger("x")
"""

EVENTS = """
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

OTHERS = """
logging.getLogger("uvicorn.error").error("with canary-own and %s", "Bearer abcdef0123456789")
logging.getLogger("uvicorn.error").error("cannot be formatted: %d", "canary-own")
warnings.warn("deprecated: canary-own")
async def fail():
    raise ValueError("canary-own in a task")
async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(main())
def in_thread():
    raise ValueError("canary-own in a thread")
thread = threading.Thread(target=in_thread)
thread.start()
thread.join()
class Finalized:
    def __del__(self):
        raise ValueError("canary-own in a finalizer")
Finalized()
own = "canary-own in a variable"
raise ValueError("at the end: canary-" + "own")
"""


def _events(program: str, code: int = 0) -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_one_json_object_from_the_level_on() -> None:
    assert [event["event"] for event in _events(EVENTS)] == ["deployed", "failed", "from uvicorn"]


def test_secret_fields_and_local_variables_never_show() -> None:
    deployed, failed, _ = _events(EVENTS)
    assert (deployed["api_key"], deployed["OPENAI_TOKEN"]) == ("***", "***")
    assert deployed["path"] == "/p"
    assert "ValueError: broken" in failed["exception"]
    assert "canary" not in json.dumps([deployed, failed]).replace('handle("canary-3")', "")


def test_whatever_speaks_on_stderr_goes_through_the_same_chain() -> None:
    events = _events(OTHERS, code=1)
    text = json.dumps(events)
    assert "canary-own" not in text
    assert "abcdef0123456789" not in text
    for expected in (
        "with *** and Bearer ***",
        "deprecated: ***",
        "Task exception was never retrieved",
        "*** in a task",
        "*** in a thread",
        "*** in a finalizer",
        "at the end: ***",
    ):
        assert expected in text


def test_nested_fields_and_objects_are_redacted() -> None:
    class Holder:
        def __repr__(self) -> str:
            return "Holder(sk-0123456789)"

    basic = base64.b64encode(b"user:pass").decode()
    event = Redaction(str)(
        None,
        "info",
        {
            "headers": {"Authorization": "Bearer x", "x-other": f"Basic {basic}"},
            "items": [Holder(), ("sk-0123456789", 1, None, True, 2.5)],
            "sk-0123456789": "field",
            "count": 3,
        },
    )
    assert event["headers"] == {"Authorization": "***", "x-other": "Basic ***"}
    assert event["items"] == ["Holder(***)", ["***", 1, None, True, 2.5]]
    assert event["count"] == 3


def test_endless_nesting_is_cut_off() -> None:
    endless: dict[str, object] = {}
    endless["more"] = endless
    assert "more" in json.dumps(Redaction(str)(None, "info", {"endless": endless}))
