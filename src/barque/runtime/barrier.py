"""The import barrier: after it, no code is ever loaded again.

A process that has joined a container's mount namespace must not import: the module would
come from the container. Closing the import system before any fork makes that impossible
rather than forbidden.
"""

from __future__ import annotations

import encodings
import gc
import sys


def close_imports() -> None:
    """Empty every place that the import system could load from. Not undone.

    Modules in ``sys.modules`` stay importable. Codecs are loaded by import too, so their
    package is closed as well; UTF-8, ASCII and Latin-1 are built in.
    """
    for codec in ("utf-8", "ascii", "latin-1"):
        "".encode(codec)
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    encodings.__path__ = []


def freeze_heap() -> None:
    """Stop the collector for good, so that forks share the heap's pages.

    Nothing that runs between fork and execve makes enough garbage cycles to matter; a
    collection would write to every object and copy every page.
    """
    gc.collect()
    gc.disable()
    gc.freeze()
