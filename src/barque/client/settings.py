"""What the command line knows before it talks: global options, environment, config file.

The configuration is docker's (``~/.docker/config.json``), because the people who set a
proxy or a ``psFormat`` there expect it to hold here. Where the environment may name the
engine, ``BARQUE_HOST`` goes before ``DOCKER_HOST``. ``currentContext`` is not followed: it
is set by tools that mean their own engine, and barque's default is barque.

Precedence of the engine's address: ``-H``, ``--context``, ``BARQUE_HOST``, ``DOCKER_HOST``,
``DOCKER_CONTEXT``, ``unix:///run/barque.sock``.
"""

from __future__ import annotations

import os

from barque.client.endpoint import DEFAULT_SOCKET, Endpoint, Tls, parse_endpoint
from barque.client.errors import ClientError
from barque.client.http import Client
from barque.client.wirejson import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Settings:
    """Global options (empty where not given) over ``environment`` over the config file.

    ``tls`` holds the options ``--tls``, ``--tlsverify``, ``--tlscacert``, ``--tlscert``,
    ``--tlskey`` that were given.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        host: str = "",
        context: str = "",
        config_dir: str = "",
        tls: Mapping[str, Any] | None = None,
        debug: bool = False,
    ) -> None:
        self.environment = environment
        self.debug = debug
        self._host = host
        self._context = context
        self._tls = dict(tls or {})
        self.config_dir = (
            config_dir
            or environment.get("BARQUE_CONFIG", "")
            or environment.get("DOCKER_CONFIG", "")
            or os.path.join(environment.get("HOME") or "/root", ".docker")
        )
        self._config: dict[str, Any] | None = None
        self._endpoint: Endpoint | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json; {} if there is none. Raises :class:`ClientError`."""
        if self._config is None:
            path = f"{self.config_dir}/config.json"
            content = _read(path)
            try:
                value = decode(content) if content.strip() else {}
            except ValueError as error:
                raise ClientError(f"parsing the configuration file {path}: {error}") from error
            if not isinstance(value, dict):
                raise ClientError(f"parsing the configuration file {path}: it holds no object")
            self._config = value
        return self._config

    @property
    def endpoint(self) -> Endpoint:
        """The engine to talk to. Raises :class:`ClientError` if the address is none."""
        if self._endpoint is None:
            self._endpoint = self._choose_endpoint()
        return self._endpoint

    @property
    def detach_keys(self) -> str:
        """``detachKeys`` of the config file, "" for the engine's default."""
        return str(self.config.get("detachKeys") or "")

    def open_client(self) -> Client:
        """A client of the chosen engine; nothing is connected yet."""
        endpoint = self.endpoint
        headers = self.config.get("HttpHeaders")
        return Client(
            endpoint.connect,
            host=endpoint.host,
            headers=headers if isinstance(headers, dict) else None,
            version=self.environment.get("DOCKER_API_VERSION", "").removeprefix("v"),
        )

    def proxy_variables(self) -> dict[str, str]:
        """Proxy variables for new containers, from ``proxies`` of the config file.

        Both spellings (``HTTP_PROXY`` and ``http_proxy``) of those that are set, for this
        engine's address or else ``default``.
        """
        proxies = self.config.get("proxies")
        if not isinstance(proxies, dict):
            return {}
        chosen = proxies.get(self.endpoint.url) or proxies.get("default") or {}
        variables: dict[str, str] = {}
        for key, name in (
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ):
            value = chosen.get(key, "")
            if value:
                variables[name] = variables[name.lower()] = value
        return variables

    def _choose_endpoint(self) -> Endpoint:
        environment = self.environment
        if self._host:
            return parse_endpoint(self._host, self._find_tls())
        if self._context and self._context != "default":
            return self._context_endpoint(self._context)
        if not self._context:
            host = environment.get("BARQUE_HOST", "") or environment.get("DOCKER_HOST", "")
            if host:
                return parse_endpoint(host, self._find_tls())
            context = environment.get("DOCKER_CONTEXT", "")
            if context and context != "default":
                return self._context_endpoint(context)
        return parse_endpoint(f"unix://{DEFAULT_SOCKET}", None, _start_engine)

    def _find_tls(self) -> Tls | None:
        """TLS, if an option or the environment asks for it (source: cli.md section 4)."""
        given = self._tls
        verify = bool(given.get("tlsverify") or self.environment.get("DOCKER_TLS_VERIFY"))
        if "tlsverify" in given:
            verify = bool(given["tlsverify"])
        if not (verify or given.get("tls") or self.environment.get("DOCKER_TLS")):
            return None
        directory = self.environment.get("DOCKER_CERT_PATH") or self.config_dir

        def file(option: str, name: str) -> str:
            if given.get(option):
                return str(given[option])
            path = f"{directory}/{name}"
            return path if os.path.exists(path) else ""

        return Tls(
            file("tlscacert", "ca.pem"),
            file("tlscert", "cert.pem"),
            file("tlskey", "key.pem"),
            verify=verify,
        )

    def _context_endpoint(self, name: str) -> Endpoint:
        from hashlib import sha256  # noqa: PLC0415 - contexts are rare

        digest = sha256(name.encode()).hexdigest()
        content = _read(f"{self.config_dir}/contexts/meta/{digest}/meta.json")
        if not content:
            raise ClientError(f'context "{name}": context not found in {self.config_dir}/contexts')
        try:
            docker = decode(content)["Endpoints"]["docker"]
            host, skip_verify = docker["Host"], bool(docker.get("SkipTLSVerify"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ClientError(f'context "{name}" names no docker endpoint: {error}') from error
        directory = f"{self.config_dir}/contexts/tls/{digest}/docker"
        files = [f"{directory}/{kind}.pem" for kind in ("ca", "cert", "key")]
        ca, cert, key = (path if os.path.exists(path) else "" for path in files)
        tls = Tls(ca, cert, key, verify=not skip_verify) if ca or cert or key else None
        return parse_endpoint(host, tls)


def _start_engine(path: str) -> None:
    from barque.client.start import start_engine  # noqa: PLC0415 - only if nothing listens

    start_engine(path)


def _read(path: str) -> bytes:
    """A small file's content; b"" if there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise ClientError(f"cannot read {path}: {error.strerror}") from error
