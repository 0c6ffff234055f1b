"""``prune`` of containers, images, networks, volumes, and of all at once."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.units import human_size
from barque.client.http import encode_filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Filters = list[tuple[str, str]]

_SURE = "Are you sure you want to continue?"


def confirm(question: str) -> bool:
    """Ask on stdout, read one line of stdin; only ``y`` is yes."""
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() == "y"


def _filters(call: Invocation) -> Filters:
    """``--filter`` and the ``pruneFilters`` of the configuration, unless overruled."""
    given: Filters = list(call.flags["filter"])
    for text in call.settings.config.get("pruneFilters") or ():
        key, _, value = text.partition("=")
        opposite = "label!" if key == "label" else "label"
        if key in ("label", "label!") and (opposite, value) in given:
            continue
        given.append((key, value))
    return given


def _prune_containers(call: Invocation, filters: Filters) -> tuple[int, str]:
    return _prune(call, "/containers/prune", filters, "Containers", "ContainersDeleted")


def _prune_networks(call: Invocation, filters: Filters) -> tuple[int, str]:
    return _prune(call, "/networks/prune", filters, "Networks", "NetworksDeleted")


def _prune_volumes(call: Invocation, filters: Filters) -> tuple[int, str]:
    return _prune(call, "/volumes/prune", filters, "Volumes", "VolumesDeleted")


def _prune_images(call: Invocation, filters: Filters) -> tuple[int, str]:
    return _prune(call, "/images/prune", filters, "Images", "ImagesDeleted")


def _prune(
    call: Invocation, path: str, filters: Filters, what: str, member: str
) -> tuple[int, str]:
    """Reclaimed bytes, and the list of what went."""
    report = call.client.post(path, query={"filters": encode_filters(filters)})
    deleted = report.get(member) or ()
    if not deleted:
        return 0, ""
    lines = "".join(f"{_name(item)}\n" for item in deleted)
    return int(report.get("SpaceReclaimed") or 0), f"Deleted {what}:\n{lines}"


def _name(item: str | dict[str, Any]) -> str:
    if isinstance(item, str):
        return item
    if item.get("Untagged"):
        return f"untagged: {item['Untagged']}"
    return f"deleted: {item.get('Deleted', '')}"


def _run(
    call: Invocation,
    warning: str,
    name: str,
    prune: Callable[[Invocation, Filters], tuple[int, str]],
    filters: Filters,
    *,
    total: bool = True,
) -> int:
    if not call.flags["force"] and not confirm(f"WARNING! {warning}\n{_SURE}"):
        raise CommandError(f"{name} prune has been cancelled")
    reclaimed, text = prune(call, filters)
    if text:
        sys.stdout.write(f"{text}\n")
    if total:
        sys.stdout.write(f"Total reclaimed space: {human_size(reclaimed)}\n")
    return 0


def _containers(call: Invocation) -> int:
    warning = "This will remove all stopped containers."
    return _run(call, warning, "container", _prune_containers, _filters(call))


def _networks(call: Invocation) -> int:
    warning = "This will remove all custom networks not used by at least one container."
    return _run(call, warning, "network", _prune_networks, _filters(call), total=False)


def _volumes(call: Invocation) -> int:
    filters = _filters(call)
    which = "anonymous local"
    if call.flags["all"]:
        if any(key == "all" for key, _ in filters):
            raise CommandError("conflicting options: cannot specify both --all and --filter all=1")
        filters.append(("all", "true"))
        which = "all local"
    warning = f"This will remove {which} volumes not used by at least one container."
    return _run(call, warning, "volume", _prune_volumes, filters)


def _image_filters(call: Invocation) -> Filters:
    return [("dangling", "false" if call.flags["all"] else "true"), *_filters(call)]


def _images(call: Invocation) -> int:
    warning = "This will remove all dangling images."
    if call.flags["all"]:
        warning = "This will remove all images without at least one container associated to them."
    return _run(call, warning, "image", _prune_images, _image_filters(call))


def _system(call: Invocation) -> int:
    flags = call.flags
    filters = _filters(call)
    if flags["volumes"] and any(key == "until" for key, _ in filters):
        raise CommandError('ERROR: The "until" filter is not supported with "--volumes"')
    if not flags["force"] and not confirm(_system_question(call, filters)):
        raise CommandError("system prune has been cancelled")
    steps: list[tuple[Callable[[Invocation, Filters], tuple[int, str]], Filters]] = [
        (_prune_containers, filters),
        (_prune_networks, filters),
    ]
    if flags["volumes"]:
        steps.append((_prune_volumes, filters))
    steps.append((_prune_images, _image_filters(call)))
    total = 0
    for prune, wanted in steps:
        reclaimed, text = prune(call, wanted)
        total += reclaimed
        if text:
            sys.stdout.write(f"{text}\n")
    sys.stdout.write(f"Total reclaimed space: {human_size(total)}\n")
    return 0


def _system_question(call: Invocation, filters: Filters) -> str:
    unused = "not used by at least one container"
    removed = ["all stopped containers", f"all networks {unused}"]
    if call.flags["volumes"]:
        removed.append(f"all anonymous volumes {unused}")
    if call.flags["all"]:
        removed.append("all images without at least one container associated to them")
    else:
        removed.append("all dangling images")
    lines = "".join(f"\n  - {item}" for item in removed)
    text = f"WARNING! This will remove:{lines}\n"
    if filters:
        shown = "".join(f"\n  - {key}={value}" for key, value in filters)
        text += f"\n  Items to be pruned will be filtered with:{shown}\n"
    return f"{text}\n{_SURE}"


_FORCE = Flag("force", "bool", "Do not prompt for confirmation", short="f")


def _command(
    handler: Callable[[Invocation], int], example: str, more: Sequence[Flag] = ()
) -> Command:
    chosen = Flag("filter", "filter", f'Provide filter values (e.g. "{example}")')
    return Command("[OPTIONS]", handler, maximum=0, flags=(*more, chosen, _FORCE))


CONTAINER = _command(_containers, "until=<timestamp>")
NETWORK = _command(_networks, "until=<timestamp>")
IMAGE = _command(
    _images,
    "until=<timestamp>",
    (Flag("all", "bool", "Remove all unused images, not just dangling ones", short="a"),),
)
VOLUME = _command(
    _volumes,
    "label=<label>",
    (Flag("all", "bool", "Remove all unused volumes, not just anonymous ones", short="a"),),
)
SYSTEM = _command(
    _system,
    "label=<key>=<value>",
    (
        Flag("all", "bool", "Remove all unused images not just dangling ones", short="a"),
        Flag("volumes", "bool", "Prune anonymous volumes"),
    ),
)
