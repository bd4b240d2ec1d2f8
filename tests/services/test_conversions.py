from time import monotonic

from structlog.testing import capture_logs

from byop.domain.models import ModelStatus
from byop.errors import ServerStoppingError
from tests.services.conftest import World


def test_conversion_that_a_stop_breaks_off_is_taken_up_again(world: World) -> None:
    world.environments.problem = ServerStoppingError()
    workspace_id = world.workspaces.create(world.admin, "w").id
    deadline = monotonic() + 10
    with capture_logs() as events:
        version = world.upload(world.admin, workspace_id)
        while not any(event.get("version") == version.version for event in events):
            assert monotonic() < deadline, "the conversion did not end"
    broken_off = world.models.get_version(world.admin, version.id)
    assert broken_off.status is ModelStatus.ATTEMPTING_LOAD_CONTAINER
    assert broken_off.error_summary is None
    world.environments.problem = None
    world.conversions.resume()
    assert world.converted(world.admin, version).status is ModelStatus.READY
