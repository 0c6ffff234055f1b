"""``login`` and ``logout``: what registries know us by, in the user's configuration.

Credentials are checked by the engine, and kept by a credential helper where the
configuration names one, else in ``config.json`` itself, readable by its owner only.
"""

from __future__ import annotations

import os
import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.credentials import HUB, find_helper, find_login, host_of, run_helper
from barque.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from barque.client.settings import Settings

_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")


def _read_server(args: list[str]) -> str:
    """The key under which a server's credentials are kept."""
    if not args or host_of(args[0]) in _HUB_NAMES:
        return HUB
    return host_of(args[0])


def _login(call: Invocation) -> int:
    flags = call.flags
    server = _read_server(call.args)
    user, password = flags["username"], flags["password"]
    if password:
        sys.stderr.write(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n"
        )
        if flags["password-stdin"]:
            raise CommandError("--password and --password-stdin are mutually exclusive")
    if flags["password-stdin"]:
        if not user:
            raise CommandError("the --password-stdin option requires --username to be set")
        password = sys.stdin.read().rstrip("\r\n")
    if not user and not password and _try_stored(call, server):
        return 0
    user, password = _prompt(call.settings.config, server, user, password)
    token = _check(call, {"username": user, "password": password, "serveraddress": server})
    _store(call.settings, server, user, password, token)
    sys.stdout.write("Login Succeeded\n")
    return 0


def _try_stored(call: Invocation, server: str) -> bool:
    """Log in with what is kept already; False if nothing is, or it is refused."""
    stored = find_login(call.settings.config, server)
    if not stored:
        return False
    sys.stdout.write("Authenticating with existing credentials...\n")
    try:
        _check(call, stored | {"serveraddress": server})
    except ApiError as error:
        sys.stderr.write(f"Login did not succeed, error: {error}\n")
        return False
    sys.stdout.write("Login Succeeded\n")
    return True


def _check(call: Invocation, body: dict[str, str]) -> str:
    answer = call.client.post("/auth", body=body)
    return str((answer or {}).get("IdentityToken") or "")


def _prompt(config: dict[str, Any], server: str, user: str, password: str) -> tuple[str, str]:
    if user and password:
        return user, password
    if not sys.stdin.isatty():
        raise CommandError("Error: Cannot perform an interactive login from a non TTY device")
    from getpass import getpass  # noqa: PLC0415 - only when asked on a terminal

    if not user:
        known = find_login(config, server).get("username", "")
        shown = f"Username ({known}): " if known else "Username: "
        user = input(shown).strip() or known
    if not user:
        raise CommandError("Error: username is required")
    password = password or getpass("Password: ")
    if not password:
        raise CommandError("Error: Password Required")
    return user, password


def _store(settings: Settings, server: str, user: str, password: str, token: str) -> None:
    import base64  # noqa: PLC0415 - login is rare

    from barque.client.wirejson import encode  # noqa: PLC0415 - login is rare

    helper = find_helper(settings.config, server)
    if helper:
        secret = {
            "ServerURL": server,
            "Username": "<token>" if token else user,
            "Secret": token or password,
        }
        run_helper(helper, "store", encode(secret))
        return
    pair = f"{user}:" if token else f"{user}:{password}"
    entry = {"auth": base64.b64encode(pair.encode()).decode()}
    if token:
        entry["identitytoken"] = token
    path = change_config(
        settings, lambda config: config.setdefault("auths", {}).__setitem__(server, entry)
    )
    sys.stderr.write(
        f"\nWARNING! Your credentials are stored unencrypted in '{path}'.\n"
        "Configure a credential helper to remove this warning. See\n"
        "https://docs.docker.com/go/credential-store/\n\n"
    )


def _logout(call: Invocation) -> int:
    server = _read_server(call.args)
    settings = call.settings
    sys.stdout.write(f"Removing login credentials for {server}\n")
    helper = find_helper(settings.config, server)
    if helper:
        try:
            run_helper(helper, "erase", server)
        except CommandError as error:
            sys.stderr.write(f"WARNING: could not erase credentials:\n{server}: {error}\n")
    kept = settings.config.get("auths") or {}
    if any(host_of(key) == host_of(server) for key in kept):
        change_config(settings, lambda config: _forget(config, server))
    return 0


def _forget(config: dict[str, Any], server: str) -> None:
    auths = config["auths"]
    for key in [key for key in auths if host_of(key) == host_of(server)]:
        del auths[key]


def change_config(settings: Settings, change: Callable[[dict[str, Any]], object]) -> str:
    """Change ``config.json``, all of it or nothing; return its path.

    Everything else in it stays; its mode becomes 0600, as there are passwords in it.
    """
    import json  # noqa: PLC0415 - written for people, so indented

    config = settings.config
    change(config)
    os.makedirs(settings.config_dir, mode=0o700, exist_ok=True)
    path = os.path.realpath(f"{settings.config_dir}/config.json")
    new = f"{path}.{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(config, file, indent="\t", ensure_ascii=False)
            file.flush()
            os.fsync(fd)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    return f"{settings.config_dir}/config.json"


LOGIN = Command(
    "[OPTIONS] [SERVER]",
    _login,
    maximum=1,
    flags=(
        Flag("password", "string", "Password or Personal Access Token (PAT)", short="p"),
        Flag(
            "password-stdin", "bool", "Take the Password or Personal Access Token (PAT) from stdin"
        ),
        Flag("username", "string", "Username", short="u"),
    ),
    description="Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.",
)

LOGOUT = Command(
    "[SERVER]",
    _logout,
    maximum=1,
    description="Log out from a registry.\nIf no server is specified, the default is defined by "
    "the daemon.",
)
