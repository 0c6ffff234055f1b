"""What the user's configuration knows to log in to registries.

``config.json`` holds ``auths`` (base64 of ``user:password``, or tokens) and names of
credential helpers: programs ``docker-credential-NAME`` that take a server on stdin and
give JSON. A helper for the host goes before the general one, and that before ``auths``.
"""

from __future__ import annotations

from barque.cli.command import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB = "https://index.docker.io/v1/"
_HELPER_S = 30


def find_credentials(config: dict[str, Any], host: str) -> str:
    """The value of ``X-Registry-Auth`` for a registry: base64url of JSON; ``{}`` if unknown.

    A helper that fails is as good as none: the engine then asks without credentials and
    the registry's answer says what is missing.
    """
    import base64  # noqa: PLC0415 - only with a registry

    from barque.client.wirejson import encode  # noqa: PLC0415 - only with a registry

    server = HUB if host == "docker.io" else host
    found = find_login(config, server)
    return base64.urlsafe_b64encode(encode(found).encode()).decode()


def find_login(config: dict[str, Any], server: str) -> dict[str, str]:
    """What is known for a server, in the API's form; {} if nothing is."""
    helper = find_helper(config, server)
    found = _ask_helper(helper, server) if helper else {}
    if found:
        return found
    auths = config.get("auths") or {}
    entry = auths.get(server)
    if entry is None:
        # Old files name servers by URL.
        entry = next((auths[key] for key in auths if host_of(key) == host_of(server)), None)
    return _stored(entry)


def find_helper(config: dict[str, Any], server: str) -> str:
    """The helper that keeps a server's credentials, "" if the file itself does."""
    helpers = config.get("credHelpers") or {}
    return str(
        helpers.get(server) or helpers.get(host_of(server)) or config.get("credsStore") or ""
    )


def host_of(server: str) -> str:
    """The host, with port, of a server's address."""
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _stored(entry: dict[str, Any] | None) -> dict[str, str]:
    import base64  # noqa: PLC0415 - only with a registry
    import binascii  # noqa: PLC0415 - only with a registry

    if not entry:
        return {}
    found = {key: str(entry[key]) for key in ("identitytoken", "registrytoken") if entry.get(key)}
    if entry.get("auth"):
        try:
            pair = base64.b64decode(entry["auth"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return found
        found["username"], _, password = pair.partition(":")
        found["password"] = password.strip("\0")
    return found


def run_helper(name: str, action: str, stdin: str) -> bytes:
    """Run ``docker-credential-NAME`` of the user's PATH; its output.

    Raises :class:`CommandError` if it is missing, fails or takes too long.
    """
    import subprocess  # noqa: PLC0415 - the helper protocol is a program

    program = f"docker-credential-{name}"
    if "/" in name:
        raise CommandError(f"invalid credential helper {name!r}: it must be a name, not a path")
    try:
        done = subprocess.run(
            [program, action],
            input=stdin.encode(),
            capture_output=True,
            timeout=_HELPER_S,
            check=False,
        )
    except OSError as error:
        raise CommandError(f"cannot run {program}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{program} {action} did not end within {_HELPER_S} s") from error
    if done.returncode:
        said = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
        raise CommandError(f"{program} {action}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def _ask_helper(name: str, server: str) -> dict[str, str]:
    from barque.client.wirejson import decode  # noqa: PLC0415 - only with a registry

    try:
        answer = decode(run_helper(name, "get", server))
    except (CommandError, ValueError):
        return {}
    if answer.get("Username") == "<token>":
        return {"identitytoken": answer["Secret"]}
    if not answer.get("Secret"):
        return {}
    return {"username": answer.get("Username", ""), "password": answer["Secret"]}
