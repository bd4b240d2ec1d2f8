"""Run by alembic: migrates over the connection that ``runner`` hands it."""

from alembic import context

from byop.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
