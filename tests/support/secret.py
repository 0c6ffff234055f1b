"""What the environment of an attacked engine holds, and no container may ever see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SECRET = "this-is-the-engines-secret"
_NAME = "BARQUE_ATTACK_SECRET"


@contextmanager
def secret_environment() -> Iterator[None]:
    """Have the secret in the environment of what is started in the block. May be nested."""
    before = os.environ.get(_NAME)
    os.environ[_NAME] = SECRET
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NAME]
