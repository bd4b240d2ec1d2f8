"""``python -m byop`` is the ``byop`` command."""

from byop.cli.main import main

main()
