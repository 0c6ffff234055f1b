"""``registry serve``: a registry from a directory, or of an engine's images.

The server is a program of its own: this process becomes it, so that what the command line
loads stays out of it, and the other way round.
"""

from __future__ import annotations

import os
import sys

from barque.cli.command import Command, CommandError, Flag, Invocation

_MODULE = "barque.registry.server.main"


def _serve(call: Invocation) -> int:
    flags = call.flags
    if bool(flags["engine"]) == bool(call.args):
        raise CommandError("give either DIRECTORY or --engine")
    place = ["--engine", flags["engine"]] if flags["engine"] else ["--", call.args[0]]
    command = [sys.executable, "-m", _MODULE, "--addr", flags["addr"]]
    for name in ("htpasswd", "tlscert", "tlskey"):
        if flags[name]:
            command += [f"--{name}", flags[name]]
    for name in ("read-only", "insecure-plain-http"):
        if flags[name]:
            command.append(f"--{name}")
    try:
        os.execv(command[0], [*command, *place])
    except OSError as error:
        raise CommandError(f"cannot start {command[0]}: {error.strerror}") from error


SERVE = Command(
    "[OPTIONS] [DIRECTORY]",
    _serve,
    maximum=1,
    flags=(
        Flag("addr", "string", "Address to listen at, HOST:PORT", default="127.0.0.1:5000"),
        Flag("engine", "string", "Serve the images of the engine with this data-root, read-only"),
        Flag("htpasswd", "string", "Let in the users of this file only (made by htpasswd -B)"),
        Flag(
            "insecure-plain-http",
            "bool",
            "Allow plain HTTP on an address that other machines can reach",
        ),
        Flag("read-only", "bool", "Refuse pushes and deletions"),
        Flag("tlscert", "string", "Certificate file: serve HTTPS"),
        Flag("tlskey", "string", "Key file of the certificate"),
    ),
    description=(
        "Serve a registry of images from a directory, which is made if it is missing.\n\n"
        "With --engine nothing is copied: the images of an engine are served as they are.\n\n"
        "Any client of the OCI distribution-spec can push to it and pull from it:\n\n"
        "  barque registry serve /srv/registry &\n"
        "  barque tag alpine localhost:5000/alpine\n"
        "  barque push localhost:5000/alpine"
    ),
)
