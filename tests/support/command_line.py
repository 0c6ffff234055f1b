"""Commands of the command line run in this process, against a fake engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from barque.cli.command import CommandError, Invocation
from barque.cli.parser import parse
from barque.cli.registry import find_command, find_path
from barque.client.settings import Settings
from barque.errors import BarqueError
from support.fake_engine import FakeEngine


def run(engine: FakeEngine, *words: str, environment: Mapping[str, str] | None = None) -> int:
    """The exit code; output goes where the process's does, errors to stderr."""
    found = find_path(list(words))
    assert found is not None, words
    path, name, used = found
    command = find_command(path)
    variables = {"DOCKER_HOST": engine.host, "DOCKER_CONFIG": str(engine.socket.parent)}
    call = None
    try:
        parsed = parse(command.flags, words[used:], interspersed=command.interspersed)
        settings = Settings({**variables, **(environment or {})})
        call = Invocation(command, name, parsed.flags, parsed.args, settings)
        return command.handler(call)
    except BarqueError as error:
        sys.stdout.flush()
        sys.stderr.write(f"{error}\n")
        return error.code if isinstance(error, CommandError) else 1
    finally:
        sys.stdout.flush()
        if call is not None:
            call.close()
