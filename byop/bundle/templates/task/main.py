"""Reads the newest inferences of a pipeline and reports how many there were.

Arguments: ``workspace_name`` and ``pipeline_name``. Run by hand, the two constants count.
"""

import wallaroo

WORKSPACE_NAME = "my-workspace"
PIPELINE_NAME = "my-pipeline"


def main() -> None:
    """Do the task's work once."""
    client = wallaroo.Client()
    arguments = client.task_args() if client.in_task() else {}
    client.set_current_workspace(
        client.get_workspace(arguments.get("workspace_name", WORKSPACE_NAME))
    )
    pipeline = client.get_pipeline(arguments.get("pipeline_name", PIPELINE_NAME))
    rows = pipeline.logs(limit=1000)
    print(f"my-project: {len(rows)} inferences")  # noqa: T201  # the run's log


if __name__ == "__main__":
    main()
