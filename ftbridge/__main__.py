"""``python -m ftbridge`` is ``ftbridge``."""

from ftbridge.cli import main

main()
