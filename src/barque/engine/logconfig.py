"""``HostConfig.LogConfig``: which driver, and its options, parsed.

Source: the Engine API's LogConfig; dockerd's json-file driver for options and error texts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from barque.errors import InvalidArgument, NotImplementedHere
from barque.models.api import LogConfig

_DRIVERS = frozenset({"", "json-file", "none"})
_OTHER_DRIVERS = frozenset(
    "local syslog journald gelf fluentd awslogs splunk etwlogs gcplogs".split()
)
_OPTIONS = frozenset(
    "max-size max-file compress labels labels-regex env env-regex tag mode max-buffer-size".split()
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kKmMgGtTpP]?)(i?)[bB]?")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


class LogOptions(NamedTuple):
    """How a json-file log rotates. ``max_size_bytes`` 0 is unlimited."""

    max_size_bytes: int = 0
    max_files: int = 1
    compress: bool = False


def parse_size(text: str) -> int:
    """Parse ``10m``, ``1.5GB``, ``512k`` with powers of 1000, ``MiB`` with those of 1024.

    Raises InvalidArgument ``invalid size: 'x'``.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise InvalidArgument(f"invalid size: '{text}'")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2].lower()])


def _parse_bool(option: str, text: str) -> bool:
    match text:
        case "1" | "t" | "T" | "true" | "TRUE" | "True":
            return True
        case "0" | "f" | "F" | "false" | "FALSE" | "False":
            return False
        case _:
            raise InvalidArgument(f'log option {option}: "{text}" is neither true nor false')


def parse_log_config(config: LogConfig) -> LogOptions:
    """Check the driver and its options, and return how the log rotates.

    Raises InvalidArgument, or NotImplementedHere for a driver that docker has and barque has
    not.
    """
    options = config.config or {}
    if config.type in _OTHER_DRIVERS:
        raise NotImplementedHere(
            f"log driver '{config.type}' is not implemented by barque: use json-file or none"
        )
    if config.type not in _DRIVERS:
        raise InvalidArgument(f"logger: no log driver named '{config.type}' is registered")
    if config.type == "none":
        return LogOptions()
    mode = options.get("mode", "")
    if mode not in {"", "blocking", "non-blocking"}:
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidArgument(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
            )
        parse_size(options["max-buffer-size"])
    for name in options:
        if name not in _OPTIONS:
            raise InvalidArgument(f"unknown log opt '{name}' for json-file log driver")
    return _parse_rotation(options)


def _parse_rotation(options: dict[str, str]) -> LogOptions:
    max_size_bytes, max_files, compress = 0, 1, False
    if "max-size" in options:
        max_size_bytes = parse_size(options["max-size"])
        if max_size_bytes <= 0:
            raise InvalidArgument("max-size must be a positive number")
    if "max-file" in options:
        text = options["max-file"]
        if not re.fullmatch(r"-?\d{1,9}", text):
            raise InvalidArgument(f'max-file: "{text}" is not a number')
        max_files = int(text)
        if max_files < 1:
            raise InvalidArgument("max-file cannot be less than 1")
    if "compress" in options:
        compress = _parse_bool("compress", options["compress"])
        if compress and (max_files == 1 or not max_size_bytes):
            raise InvalidArgument(
                "compress cannot be true when max-file is less than 2 or max-size is not set"
            )
    return LogOptions(max_size_bytes, max_files, compress)
