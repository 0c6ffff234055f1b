"""What the user's configuration knows to log in to registries.

``config.json`` holds ``auths`` (base64 of ``user:password``, or tokens) and names of
credential helpers: programs ``docker-credential-NAME`` that take a server on stdin and
give JSON. A helper for the host goes before the general one, and that before ``auths``.
"""

from __future__ import annotations

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
    helper = (config.get("credHelpers") or {}).get(host) or config.get("credsStore")
    found = _ask_helper(helper, server) if helper else {}
    if not found:
        found = _stored((config.get("auths") or {}).get(server))
    return base64.urlsafe_b64encode(encode(found).encode()).decode()


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


def _ask_helper(name: str, server: str) -> dict[str, str]:
    import subprocess  # noqa: PLC0415 - the helper protocol is a program

    from barque.client.wirejson import decode  # noqa: PLC0415 - only with a registry

    try:
        done = subprocess.run(
            [f"docker-credential-{name}", "get"],
            input=server.encode(),
            capture_output=True,
            timeout=_HELPER_S,
            check=False,
        )
        answer = decode(done.stdout) if done.returncode == 0 else {}
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return {}
    if answer.get("Username") == "<token>":
        return {"identitytoken": answer["Secret"]}
    if not answer.get("Secret"):
        return {}
    return {"username": answer.get("Username", ""), "password": answer["Secret"]}
