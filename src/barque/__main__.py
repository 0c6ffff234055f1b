"""``python -m barque``: the command line."""

from __future__ import annotations

from barque.cli.main import main

main()
