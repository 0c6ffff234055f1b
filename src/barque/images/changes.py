"""The Dockerfile instructions that ``import --change`` (and commit) applies to a config.

Source: the Dockerfile reference. Words are split, unquoted and expanded as in a Dockerfile.
"""

from __future__ import annotations

import posixpath
import re
import signal
from collections.abc import Callable, Sequence

import msgspec

from barque.errors import InvalidArgument
from barque.models.image import Healthcheck, RunConfig

_PORT = re.compile(r"(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?(?:/(?P<protocol>\w+))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
          "h": 3600 * 10**9}  # fmt: skip
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::(?P<how>[-+])(?P<word>[^}]*))?\})")
_PROTOCOLS = ("tcp", "udp", "sctp")


def apply_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """Return ``config`` after the instructions ``changes``, in order.

    Raises InvalidArgument, naming the instruction, for one that is unknown or malformed.
    """
    config = msgspec.convert(msgspec.to_builtins(config), RunConfig)
    for change in changes:
        for line in change.splitlines():
            if line.strip():
                _apply(config, line.strip())
    return config


def _apply(config: RunConfig, line: str) -> None:
    keyword, _, rest = line.partition(" ")
    instruction = _INSTRUCTIONS.get(keyword.upper())
    if instruction is None:
        raise InvalidArgument(f"{keyword.upper()} is not a valid change command")
    if not rest.strip():
        raise InvalidArgument(f"{keyword.upper()} requires at least one argument")
    instruction(config, rest.strip())


def _cmd(config: RunConfig, rest: str) -> None:
    config.cmd = _parse_command(rest)


def _entrypoint(config: RunConfig, rest: str) -> None:
    config.entrypoint = _parse_command(rest)


def _env(config: RunConfig, rest: str) -> None:
    added = _parse_pairs("ENV", rest, config)
    env = {entry.partition("=")[0]: entry for entry in config.env or []}
    for key, value in added:
        env[key] = f"{key}={value}"
    config.env = list(env.values())


def _label(config: RunConfig, rest: str) -> None:
    config.labels = {**(config.labels or {}), **dict(_parse_pairs("LABEL", rest, config))}


def _expose(config: RunConfig, rest: str) -> None:
    ports = config.exposed_ports or {}
    for word in split_words(rest, _environment(config)):
        match = _PORT.fullmatch(word)
        protocol = (match["protocol"] or "tcp").lower() if match else ""
        first = int(match["first"]) if match else 0
        last = int(match["last"] or first) if match else 0
        if protocol not in _PROTOCOLS or not 1 <= first <= last <= 65535:
            raise InvalidArgument(
                f"EXPOSE: invalid port {word!r}: it must read PORT[-PORT][/tcp|udp|sctp]"
            )
        ports.update({f"{port}/{protocol}": {} for port in range(first, last + 1)})
    config.exposed_ports = dict(sorted(ports.items()))


def _onbuild(config: RunConfig, rest: str) -> None:
    trigger = rest.split(None, 1)[0].upper()
    if trigger == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise InvalidArgument(f"{trigger} isn't allowed as an ONBUILD trigger")
    config.on_build = [*(config.on_build or []), rest]


def _stopsignal(config: RunConfig, rest: str) -> None:
    word = _one_word("STOPSIGNAL", rest, config)
    name = word.upper()
    known = name in signal.Signals.__members__ or f"SIG{name}" in signal.Signals.__members__
    real_time = re.fullmatch(r"(SIG)?RT(MIN(\+\d+)?|MAX(-\d+)?)", name)
    if not known and not real_time and not (word.isdigit() and 1 <= int(word) <= 64):
        raise InvalidArgument(f"STOPSIGNAL: invalid signal: {word}")
    config.stop_signal = word


def _user(config: RunConfig, rest: str) -> None:
    config.user = _one_word("USER", rest, config)


def _volume(config: RunConfig, rest: str) -> None:
    paths = _parse_json_list(rest)
    if paths is None:
        paths = split_words(rest, _environment(config))
    for path in paths:
        if not path.strip():
            raise InvalidArgument("VOLUME specified can not be an empty string")
    config.volumes = {**(config.volumes or {}), **{path: {} for path in paths}}


def _workdir(config: RunConfig, rest: str) -> None:
    path = " ".join(split_words(rest, _environment(config)))
    joined = posixpath.normpath(posixpath.join("/", config.working_dir, path))
    config.working_dir = "/" + joined.lstrip("/")


def _healthcheck(config: RunConfig, rest: str) -> None:
    check = Healthcheck()
    words = rest
    while words.startswith("--"):
        option, _, words = words.partition(" ")
        words = words.strip()
        _set_health_option(check, option)
    kind, _, command = words.partition(" ")
    match kind.upper():
        case "NONE" if not command.strip():
            config.healthcheck = Healthcheck(test=["NONE"])
            return
        case "CMD" if command.strip():
            arguments = _parse_json_list(command)
            check.test = ["CMD", *arguments] if arguments else ["CMD-SHELL", command.strip()]
        case _:
            raise InvalidArgument("HEALTHCHECK must read NONE, or [options] CMD command")
    config.healthcheck = check


def _set_health_option(check: Healthcheck, option: str) -> None:
    name, _, value = option.removeprefix("--").partition("=")
    match name:
        case "interval":
            check.interval = _parse_duration(name, value)
        case "timeout":
            check.timeout = _parse_duration(name, value)
        case "start-period":
            check.start_period = _parse_duration(name, value)
        case "start-interval":
            check.start_interval = _parse_duration(name, value)
        case "retries" if value.isdigit():
            check.retries = int(value)
        case _:
            raise InvalidArgument(f"HEALTHCHECK: invalid option --{name}={value}")


def _parse_duration(name: str, text: str) -> int:
    """Parse a Go duration such as ``1m30s`` to nanoseconds."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument(f"HEALTHCHECK: invalid duration --{name}={text}")
    return sum(int(float(number) * _UNITS[unit]) for number, unit in parts)


_INSTRUCTIONS: dict[str, Callable[[RunConfig, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def _environment(config: RunConfig) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in config.env or [])
    return {key: value for key, _, value in pairs}


def _parse_json_list(text: str) -> list[str] | None:
    """Return the words of a JSON list, or None if ``text`` is something else."""
    if not text.lstrip().startswith("["):
        return None
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.DecodeError:
        return None


def _parse_command(text: str) -> list[str]:
    words = _parse_json_list(text)
    return ["/bin/sh", "-c", text] if words is None else words


def _one_word(keyword: str, text: str, config: RunConfig) -> str:
    words = split_words(text, _environment(config))
    if len(words) != 1:
        raise InvalidArgument(f"{keyword} requires exactly one argument")
    return words[0]


def _parse_pairs(keyword: str, text: str, config: RunConfig) -> list[tuple[str, str]]:
    environment = _environment(config)
    words = split_words(text, environment)
    first = text.split(None, 1)[0]
    if "=" not in first:  # the old form: KEY and all of the rest
        key, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidArgument(f"{keyword} must have two arguments")
        return [(key, " ".join(split_words(value.strip(), environment)))]
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidArgument(
                f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            )
        if not key:
            raise InvalidArgument(f"{keyword} names can not be blank")
        pairs.append((key, value))
    return pairs


def split_words(text: str, environment: dict[str, str]) -> list[str]:
    """Split at spaces, take away quotes and backslashes, put in variables.

    Raises InvalidArgument for a quote that is not closed.
    """
    words: list[str] = []
    word = ""
    inside = False
    at = 0
    while at < len(text):
        character = text[at]
        if character.isspace():
            if inside:
                words.append(word)
            word, inside = "", False
            at += 1
            continue
        inside = True
        if character == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise InvalidArgument(f"unexpected end of statement in {text!r}: a quote is open")
            word += text[at + 1 : end]
            at = end + 1
        elif character == '"':
            piece, at = _read_double_quoted(text, at + 1, environment)
            word += piece
        else:
            piece, at = _read_character(text, at, environment)
            word += piece
    if inside:
        words.append(word)
    return words


def _read_double_quoted(text: str, at: int, environment: dict[str, str]) -> tuple[str, int]:
    word = ""
    while at < len(text):
        if text[at] == '"':
            return word, at + 1
        if text[at] == "\\" and text[at + 1 : at + 2] not in ('"', "$", "\\"):
            word += "\\"
            at += 1
            continue
        piece, at = _read_character(text, at, environment)
        word += piece
    raise InvalidArgument(f"unexpected end of statement in {text!r}: a quote is open")


def _read_character(text: str, at: int, environment: dict[str, str]) -> tuple[str, int]:
    if text[at] == "\\" and at + 1 < len(text):
        return text[at + 1], at + 2
    if text[at] == "$" and (match := _VARIABLE.match(text, at)):
        value = environment.get(match["plain"] or match["name"], "")
        if match["how"] == "-":
            value = value or match["word"]
        elif match["how"] == "+":
            value = match["word"] if value else ""
        return value, match.end()
    return text[at], at + 1
