"""Files of ``KEY=VALUE`` lines: ``--env-file`` and ``--label-file``.

No quoting, no escapes; leading blanks and lines that begin with ``#`` do not count.
Source: cli.md section 3.
"""

from __future__ import annotations

import os

from barque.cli.command import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def read_env(files: list[str], given: list[str]) -> list[str]:
    """Variables of the files, then those given. A bare ``KEY`` in a file takes the value it
    has here, and is dropped if it has none.
    """
    return _read_all(files, given, os.environ.get)


def read_labels(files: list[str], given: list[str]) -> dict[str, str]:
    """Labels of the files, overridden by those given; a bare ``KEY`` has an empty value."""
    return to_map(_read_all(files, given, None))


def to_map(pairs: list[str]) -> dict[str, str]:
    """``["a=1", "b"]`` as ``{"a": "1", "b": ""}``."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _read_all(
    files: list[str], given: list[str], find: Callable[[str], str | None] | None
) -> list[str]:
    found: list[str] = []
    for path in files:
        found.extend(_read_file(path, find))
    found.extend(given)
    return found


def _read_file(path: str, find: Callable[[str], str | None] | None) -> list[str]:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or '').lower()}", 125) from error
    found: list[str] = []
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        try:
            line = raw.decode().removesuffix("\r")
        except UnicodeDecodeError:
            raise CommandError(
                f"invalid env file ({path}): invalid utf8 bytes at line {number}: {raw!r}", 125
            ) from None
        line = line.lstrip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not key:
            raise CommandError(f"invalid env file ({path}): no variable name on line '{line}'", 125)
        if any(character.isspace() for character in key):
            raise CommandError(
                f"invalid env file ({path}): variable '{key}' contains whitespaces", 125
            )
        if equals:
            found.append(f"{key}={value}")
        elif find is None:
            found.append(key)
        elif (known := find(key)) is not None:
            found.append(f"{key}={known}")
    return found
