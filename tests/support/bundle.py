"""OCI bundles, and barque-runtime driven by its command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from barque.cgroups import open_cgroup
from support.scale import patient

PROGRAM = str(Path(sys.executable).with_name("barque-runtime"))


class Runtime:
    """``barque-runtime`` with a state directory of its own, and one bundle to change at will."""

    def __init__(self, directory: Path, rootfs: Path, command: Sequence[str] = (PROGRAM,)) -> None:
        self._command = command
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.bundle.mkdir()
        self.rootfs = rootfs
        self.call("spec", "--bundle", str(self.bundle))
        self.spec: dict[str, Any] = json.loads((self.bundle / "config.json").read_text())
        self.spec["root"] = {"path": str(rootfs), "readonly": False}
        self.spec["process"]["terminal"] = False
        self.spec["process"]["noNewPrivileges"] = False
        self.spec["linux"]["cgroupsPath"] = f"/barque-test-{directory.name}"

    @property
    def linux(self) -> Any:
        """The spec's part for Linux."""
        return self.spec["linux"]

    def add_user_namespace(self) -> None:
        """Let the container be made in a user namespace, its root the host's 100000."""
        self.linux["namespaces"].append({"type": "user"})
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        self.linux["uidMappings"] = self.linux["gidMappings"] = mapping

    def join(self, kind: str, path: str) -> None:
        """Let the container join the namespace at ``path`` in place of one of its own."""
        for namespace in self.linux["namespaces"]:
            if namespace["type"] == kind:
                namespace["path"] = path

    def processes(self) -> list[int]:
        """The processes in the container's group."""
        return open_cgroup(self.linux["cgroupsPath"]).pids()

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``arguments``."""
        return [*self._command, "--root", str(self.root), *arguments]

    def start(
        self, *arguments: str, into: IO[str] | int = subprocess.PIPE, **options: Any
    ) -> subprocess.Popen[str]:
        """Begin a command; its output is merged, and read by the caller or goes ``into`` a file."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def try_call(self, *arguments: str, **options: Any) -> tuple[int, str]:
        """Run a command; its exit code and merged output."""
        done = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=patient(60),
            check=False,
            **options,
        )
        return done.returncode, done.stdout

    def call(self, *arguments: str) -> str:
        """Run a command that must succeed; its output."""
        code, said = self.try_call(*arguments)
        assert code == 0, said
        return said

    def write(self, script: str = "") -> None:
        """Write the bundle's config.json; ``script`` is what the shell is to run."""
        if script:
            self.spec["process"]["args"] = ["sh", "-c", script]
        (self.bundle / "config.json").write_text(json.dumps(self.spec))

    def run(self, script: str) -> tuple[int, list[str]]:
        """Run a container in the foreground: its exit code and lines."""
        self.write(script)
        code, said = self.try_call("run", "--bundle", str(self.bundle), "c1")
        return code, said.splitlines()

    def create(self, script: str, log: Path) -> None:
        """Create a container whose output goes to ``log``."""
        self.write(script)
        with log.open("w") as file:
            subprocess.run(
                self.command("create", "--bundle", str(self.bundle), "c1"),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                timeout=patient(60),
                check=True,
            )

    def pid(self) -> int:
        """The container's first process."""
        return int(json.loads(self.call("state", "c1"))["pid"])

    def status(self) -> str:
        """What ``state`` says of the container."""
        return str(json.loads(self.call("state", "c1"))["status"])

    def close(self) -> None:
        """Remove what is left."""
        self.try_call("delete", "--force", "c1")
