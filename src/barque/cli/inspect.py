"""``inspect`` and its forms for one kind of object."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.inspection import Inspection
from barque.client.errors import ApiError
from barque.client.http import quote_image, quote_segment
from barque.errors import BarqueError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What inspect tries, in this order: the kind, its path, the Go type of its templates.
_KINDS: tuple[tuple[str, str, str], ...] = (
    ("container", "/containers/{}/json", "container.InspectResponse"),
    ("image", "/images/{}/json", "image.InspectResponse"),
    ("network", "/networks/{}", "network.Inspect"),
    ("volume", "/volumes/{}", "volume.Volume"),
)
# Objects of a cluster and plugins are asked for only by name of their type.
_ON_REQUEST: tuple[tuple[str, str, str], ...] = (
    ("config", "/configs/{}", ""),
    ("node", "/nodes/{}", ""),
    ("plugin", "/plugins/{}/json", ""),
    ("secret", "/secrets/{}", ""),
    ("service", "/services/{}", ""),
    ("task", "/tasks/{}", ""),
)
_USAGE_EXIT = 64


def _inspect_all(
    call: Invocation, kinds: Sequence[tuple[str, str, str]], *, size: bool, anything: bool = False
) -> int:
    """Every argument as the first of ``kinds`` that has it; errors after all output."""
    try:
        inspection = Inspection(call.flags["format"])
    except InvalidArgument as error:
        raise CommandError(str(error), _USAGE_EXIT) from None
    errors: list[str] = []
    for name in call.args:
        try:
            raw, go_type = _fetch(call, kinds, name, size=size, anything=anything)
            inspection.add(raw, go_type)
        except BarqueError as error:
            errors.append(str(error))
    sys.stdout.write(inspection.finish())
    if errors:
        sys.stdout.flush()
        raise CommandError("\n".join(errors))
    return 0


def _fetch(
    call: Invocation,
    kinds: Sequence[tuple[str, str, str]],
    name: str,
    *,
    size: bool,
    anything: bool,
) -> tuple[bytes, str]:
    for kind, path, go_type in kinds:
        query: dict[str, object] = {}
        if kind == "container" and size:
            query["size"] = True
        if kind == "image" and not anything and call.flags["platform"]:
            from barque.cli.images import parse_platform  # noqa: PLC0415 - rarely given

            query["platform"] = parse_platform(call.flags["platform"])
        quoted = quote_image(name) if kind == "image" else quote_segment(name)
        try:
            with call.client.request("GET", path.format(quoted), query=query) as answer:
                raw = answer.read()
        except ApiError as error:
            if anything and len(kinds) > 1 and _is_absent(error):
                continue
            raise
        if size and kind != "container":
            sys.stderr.write(f"WARNING: --size ignored for {kind}\n")
        return raw, go_type
    raise CommandError(f"Error: No such object: {name}")


def _is_absent(error: ApiError) -> bool:
    """No such object of this kind, or an engine that has none of the kind at all."""
    return (
        error.status in (404, 501)
        or "not supported" in error.message
        or "invalid reference format" in error.message
    )


def _object(call: Invocation) -> int:
    wanted = call.flags["type"]
    kinds: Sequence[tuple[str, str, str]] = _KINDS
    if wanted or call.flags.changed("type"):
        every = _KINDS + _ON_REQUEST
        names = '", "'.join(sorted(kind for kind, _, _ in every))
        if not wanted:
            raise CommandError(f'type is empty: must be one of "{names}"')
        kinds = [row for row in every if row[0] == wanted]
        if not kinds:
            raise CommandError(f'unknown type: "{wanted}": must be one of "{names}"')
    return _inspect_all(call, kinds, size=call.flags["size"], anything=True)


def _container(call: Invocation) -> int:
    return _inspect_all(call, _KINDS[:1], size=call.flags["size"])


def _image(call: Invocation) -> int:
    return _inspect_all(call, _KINDS[1:2], size=False)


def _network(call: Invocation) -> int:
    return _inspect_all(call, _KINDS[2:3], size=False)


def _volume(call: Invocation) -> int:
    return _inspect_all(call, _KINDS[3:4], size=False)


_FORMAT = Flag("format", "string", "Format output: 'json', a Go template", short="f")

OBJECT = Command(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    _object,
    minimum=1,
    flags=(
        _FORMAT,
        Flag("size", "bool", "Display total file sizes if the type is container", short="s"),
        Flag("type", "string", "Only inspect objects of the given type"),
    ),
)

CONTAINER = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]",
    _container,
    minimum=1,
    flags=(_FORMAT, Flag("size", "bool", "Display total file sizes", short="s")),
)

IMAGE = Command(
    "[OPTIONS] IMAGE [IMAGE...]",
    _image,
    minimum=1,
    flags=(
        _FORMAT,
        Flag("platform", "string", "Inspect a specific platform of the multi-platform image"),
    ),
)

NETWORK = Command(
    "[OPTIONS] NETWORK [NETWORK...]",
    _network,
    minimum=1,
    flags=(_FORMAT, Flag("verbose", "bool", "Verbose output for diagnostics", short="v")),
)

VOLUME = Command(
    "[OPTIONS] VOLUME [VOLUME...]",
    _volume,
    minimum=1,
    flags=(_FORMAT,),
)
