"""The commands for containers that are there, as other programs give them: kept light to load."""

from __future__ import annotations

import argparse
import sys

from barque.runtime.command import control
from barque.runtime.command.state import Store


def start(arguments: argparse.Namespace) -> int:
    """``start``: let the created process become its program."""
    control.start(Store(arguments.root).get(arguments.id))
    return 0


def kill(arguments: argparse.Namespace) -> int:
    """``kill``: send a signal."""
    number = control.parse_signal(arguments.signal)
    control.kill(Store(arguments.root).get(arguments.id), number, everybody=arguments.all)
    return 0


def delete(arguments: argparse.Namespace) -> int:
    """``delete``: remove what has stopped."""
    control.delete(Store(arguments.root), arguments.id, force=arguments.force)
    return 0


def pause(arguments: argparse.Namespace) -> int:
    """``pause``: freeze all processes."""
    control.pause(Store(arguments.root).get(arguments.id))
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """``resume``: let them go on."""
    control.resume(Store(arguments.root).get(arguments.id))
    return 0


def state(arguments: argparse.Namespace) -> int:
    """``state``: print the state as JSON."""
    sys.stdout.write(control.show_state(Store(arguments.root).get(arguments.id)) + "\n")
    return 0
