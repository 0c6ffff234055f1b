"""The commands that are given less often: list, ps, update, events, spec and features."""

from __future__ import annotations

import argparse
import sys

import msgspec

from barque.errors import Conflict
from barque.runtime.command import features as able
from barque.runtime.command import listing, resources
from barque.runtime.command.events import follow_events, show_stats
from barque.runtime.command.state import Store
from barque.runtime.command.template import default_document


def list_(arguments: argparse.Namespace) -> int:
    """``list``: all containers."""
    as_json = arguments.format == "json"
    return _print(listing.show_list(Store(arguments.root), as_json=as_json, quiet=arguments.quiet))


def ps(arguments: argparse.Namespace) -> int:
    """``ps``: a container's processes."""
    container = Store(arguments.root).get(arguments.id)
    as_json = arguments.format == "json"
    return _print(listing.show_processes(container, arguments.arguments, as_json=as_json))


def update(arguments: argparse.Namespace) -> int:
    """``update``: other limits."""
    container = Store(arguments.root).get(arguments.id)
    wanted, shares = resources.read_resources(arguments), resources.read_shares(arguments)
    resources.update(container, wanted, shares)
    return 0


def events(arguments: argparse.Namespace) -> int:
    """``events``: usage and out-of-memory events, until the container ends."""
    container = Store(arguments.root).get(arguments.id)
    if arguments.stats:
        show_stats(container)
    else:
        follow_events(container, arguments.interval)
    return 0


def spec(arguments: argparse.Namespace) -> int:
    """``spec``: write a config.json where there is none."""
    path = f"{arguments.bundle}/config.json"
    document = msgspec.json.format(msgspec.json.encode(default_document()), indent=4)
    try:
        with open(path, "xb") as file:
            file.write(document + b"\n")
    except FileExistsError:
        raise Conflict(f"File {path} exists. Remove it first") from None
    return 0


def features(_arguments: argparse.Namespace) -> int:
    """``features``: what this runtime can do."""
    return _print(msgspec.json.format(msgspec.json.encode(able.features()), indent=2).decode())


def _print(text: str) -> int:
    if text:
        sys.stdout.write(text + "\n")
    return 0
