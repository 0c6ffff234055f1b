"""Published and exposed ports: ``-p [[ip:][host]:]container[/protocol]``, ``--expose``.

Source: cli.md section 3; texts of errors are docker's.
"""

from __future__ import annotations

from barque.cli.command import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    Bindings = dict[str, list[dict[str, str]]]

_PROTOCOLS = ("tcp", "udp", "sctp")


def parse_publish(specifications: list[str]) -> tuple[dict[str, dict[str, str]], Bindings]:
    """ExposedPorts and PortBindings of ``-p`` options. Raises :class:`CommandError` (125)."""
    exposed: dict[str, dict[str, str]] = {}
    bindings: Bindings = {}
    for text in specifications:
        for port, binding in _parse_one(_short_form(text) if "=" in text else text):
            exposed[port] = {}
            bindings.setdefault(port, []).append(binding)
    return exposed, bindings


def parse_expose(text: str) -> list[str]:
    """``80``, ``80/udp``, ``8000-8010/tcp``: each port with its protocol."""
    if ":" in text:
        raise _refuse(f"invalid port format for --expose: {text}")
    ports, protocol = _split_protocol(text)
    try:
        first, last = _parse_range(ports)
    except ValueError as error:
        raise _refuse(f"invalid range format for --expose: {text}, error: {error}") from None
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _refuse(message: str) -> CommandError:
    return CommandError(message, 125)


def _short_form(text: str) -> str:
    """``published=8080,target=80,protocol=tcp`` as ``8080:80/tcp``."""
    fields = {"protocol": "tcp"}
    for item in text.split(","):
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise _refuse(f"invalid publish opts format (should be name=value but got '{item}')")
        fields[key] = value
    return f"{fields.get('published', '')}:{fields.get('target', '')}/{fields['protocol']}"


def _parse_one(text: str) -> list[tuple[str, dict[str, str]]]:
    from barque.cli.rare_values import is_address  # noqa: PLC0415 - only for -p

    address, host, container = _split(text)
    container, protocol = _split_protocol(container)
    if address.startswith("["):
        if not address.endswith("]"):
            raise _refuse(f"invalid IP address: {address}")
        address = address[1:-1]
    if address and not is_address(address):
        raise _refuse(f"invalid IP address: {address}")
    if not container:
        raise _refuse(f"no port specified: {text}<empty>")
    try:
        first, last = _parse_range(container)
    except ValueError:
        raise _refuse(f"invalid containerPort: {container}") from None
    first_host = last_host = 0
    if host:
        try:
            first_host, last_host = _parse_range(host)
        except ValueError:
            raise _refuse(f"invalid hostPort: {host}") from None
        if last - first != last_host - first_host and first != last:
            raise _refuse(
                f"invalid ranges specified for container and host Ports: {container} and {host}"
            )
    if protocol.lower() not in _PROTOCOLS:
        raise _refuse(f"invalid proto: {protocol}")
    found: list[tuple[str, dict[str, str]]] = []
    for offset in range(last - first + 1):
        shown = str(first_host + offset) if host else ""
        if host and first == last and first_host != last_host:
            shown = f"{first_host}-{last_host}"  # the engine picks a free one
        port = f"{first + offset}/{protocol.lower()}"
        found.append((port, {"HostIp": address, "HostPort": shown}))
    return found


def _split(text: str) -> tuple[str, str, str]:
    parts = text.split(":")
    match len(parts):
        case 1:
            return "", "", parts[0]
        case 2:
            return "", parts[0], parts[1]
        case _:
            return ":".join(parts[:-2]), parts[-2], parts[-1]


def _split_protocol(text: str) -> tuple[str, str]:
    port, _, protocol = text.partition("/")
    if not port:
        return "", ""
    return port, protocol or "tcp"


def _parse_range(text: str) -> tuple[int, int]:
    """Both ends of ``80`` or ``80-90``. Raises ``ValueError`` with Go's text."""
    if not text:
        raise ValueError("empty string specified for ports.")
    first, dash, last = text.partition("-")
    low = _port(first)
    high = _port(last) if dash else low
    if high < low:
        raise ValueError(f"invalid range specified for port: {text}")
    return low, high


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)
