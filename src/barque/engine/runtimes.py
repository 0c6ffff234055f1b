"""Which OCI runtimes containers may be run by, under which names.

Barque's own is built in, and goes by three names: its own, docker's for the default one, and
containerd's for the same. An engine's configuration adds others (``runtimes`` in daemon.json), of
which one may take the name ``runc``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from barque.errors import InvalidArgument, NotImplementedHere
from barque.models.api import HostConfig
from barque.models.launch import ExternalRuntime

BUILTIN = "barque"
DEFAULT = "runc"
"""The name under which clients know the default runtime."""

_BUILTIN_NAMES = frozenset({BUILTIN, DEFAULT, "io.containerd.runc.v2"})


@dataclass(frozen=True)
class Runtimes:
    """The built-in runtime and ``external`` ones by name; ``default`` is for who names none."""

    external: Mapping[str, ExternalRuntime] = field(default_factory=dict)
    default: str = DEFAULT

    def find(self, name: str) -> ExternalRuntime | None:
        """Return the runtime; None is the built-in one. Raises InvalidArgument for an unknown."""
        name = name or self.default
        external = self.external.get(name)
        if external is None and name not in _BUILTIN_NAMES:
            raise InvalidArgument(f"unknown or invalid runtime name: {name}")
        return external

    def is_own(self, name: str) -> bool:
        """Tell whether containers of the runtime ``name`` are run by barque itself."""
        return (name or self.default) not in self.external

    def fill(self, host: HostConfig) -> None:
        """Write the default into ``host``, and check what it asks for with that runtime.

        Raises InvalidArgument for an unknown runtime, NotImplementedHere for what only the
        built-in one does.
        """
        host.runtime = host.runtime or self.default
        if self.find(host.runtime) is not None and host.init:
            raise NotImplementedHere(
                f"--init with --runtime {host.runtime}: the init is a part of barque's own "
                f"runtime; use --runtime {BUILTIN}, or an image with an init of its own"
            )

    def describe(self) -> dict[str, ExternalRuntime]:
        """Return all runtimes that one can ask for by name, as ``docker info`` lists them."""
        own = ExternalRuntime(path=BUILTIN)
        return {BUILTIN: own, DEFAULT: own, **self.external}
