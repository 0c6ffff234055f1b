"""All commands, as a table: what they are called and which module has them.

Importing this module imports no command. :func:`find_command` imports the one module that
is asked for.

To add a command: write a module ``barque/cli/<group>.py`` with one constant of type
:class:`barque.cli.command.Command` per command, and add one row to :data:`COMMANDS`::

    "network ls": ("barque.cli.networks", "LS", "List networks", ("network list",)),

The key is the management form. The last element holds the other names. A name of fewer
words (``ps`` for ``container ls``) is a command of its own in messages and help; one of as
many words (``container list``) is a plain synonym and shows as the management form.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from barque.cli.command import Command

    Row = tuple[str, str, str, tuple[str, ...]]

# path: (module, constant, summary, other names)
COMMANDS: dict[str, Row] = {
    "container attach": (
        "barque.cli.attach",
        "ATTACH",
        "Attach local standard input, output, and error streams to a running container",
        ("attach",),
    ),
    "container commit": (
        "barque.cli.commit",
        "COMMIT",
        "Create a new image from a container's changes",
        ("commit",),
    ),
    "container cp": (
        "barque.cli.copy",
        "CP",
        "Copy files/folders between a container and the local filesystem",
        ("cp",),
    ),
    "container create": ("barque.cli.run", "CREATE", "Create a new container", ("create",)),
    "container diff": (
        "barque.cli.processes",
        "DIFF",
        "Inspect changes to files or directories on a container's filesystem",
        ("diff",),
    ),
    "container exec": (
        "barque.cli.exec",
        "EXEC",
        "Execute a command in a running container",
        ("exec",),
    ),
    "container export": (
        "barque.cli.export",
        "EXPORT",
        "Export a container's filesystem as a tar archive",
        ("export",),
    ),
    "container inspect": (
        "barque.cli.inspect",
        "CONTAINER",
        "Display detailed information on one or more containers",
        (),
    ),
    "container kill": (
        "barque.cli.lifecycle",
        "KILL",
        "Kill one or more running containers",
        ("kill",),
    ),
    "container logs": ("barque.cli.logs", "LOGS", "Fetch the logs of a container", ("logs",)),
    "container ls": (
        "barque.cli.ps",
        "LS",
        "List containers",
        ("container list", "container ps", "ps"),
    ),
    "container pause": (
        "barque.cli.lifecycle",
        "PAUSE",
        "Pause all processes within one or more containers",
        ("pause",),
    ),
    "container port": (
        "barque.cli.processes",
        "PORT",
        "List port mappings or a specific mapping for the container",
        ("port",),
    ),
    "container prune": ("barque.cli.prune", "CONTAINER", "Remove all stopped containers", ()),
    "container rename": ("barque.cli.lifecycle", "RENAME", "Rename a container", ("rename",)),
    "container restart": (
        "barque.cli.lifecycle",
        "RESTART",
        "Restart one or more containers",
        ("restart",),
    ),
    "container rm": (
        "barque.cli.lifecycle",
        "RM",
        "Remove one or more containers",
        ("container remove", "rm"),
    ),
    "container run": (
        "barque.cli.run",
        "RUN",
        "Create and run a new container from an image",
        ("run",),
    ),
    "container start": (
        "barque.cli.start",
        "START",
        "Start one or more stopped containers",
        ("start",),
    ),
    "container stats": (
        "barque.cli.stats",
        "STATS",
        "Display a live stream of container(s) resource usage statistics",
        ("stats",),
    ),
    "container stop": (
        "barque.cli.lifecycle",
        "STOP",
        "Stop one or more running containers",
        ("stop",),
    ),
    "container top": (
        "barque.cli.processes",
        "TOP",
        "Display the running processes of a container",
        ("top",),
    ),
    "container unpause": (
        "barque.cli.lifecycle",
        "UNPAUSE",
        "Unpause all processes within one or more containers",
        ("unpause",),
    ),
    "container update": (
        "barque.cli.update",
        "UPDATE",
        "Update configuration of one or more containers",
        ("update",),
    ),
    "container wait": (
        "barque.cli.lifecycle",
        "WAIT",
        "Block until one or more containers stop, then print their exit codes",
        ("wait",),
    ),
    "image history": ("barque.cli.images", "HISTORY", "Show the history of an image", ("history",)),
    "image import": (
        "barque.cli.archives",
        "IMPORT",
        "Import the contents from a tarball to create a filesystem image",
        ("import",),
    ),
    "image inspect": (
        "barque.cli.inspect",
        "IMAGE",
        "Display detailed information on one or more images",
        (),
    ),
    "image load": (
        "barque.cli.archives",
        "LOAD",
        "Load an image from a tar archive or STDIN",
        ("load",),
    ),
    "image ls": ("barque.cli.images", "LS", "List images", ("image list", "images")),
    "image prune": ("barque.cli.prune", "IMAGE", "Remove unused images", ()),
    "image pull": ("barque.cli.pull", "PULL", "Download an image from a registry", ("pull",)),
    "image push": ("barque.cli.pull", "PUSH", "Upload an image to a registry", ("push",)),
    "image rm": ("barque.cli.images", "RM", "Remove one or more images", ("image remove", "rmi")),
    "image save": (
        "barque.cli.archives",
        "SAVE",
        "Save one or more images to a tar archive (streamed to STDOUT by default)",
        ("save",),
    ),
    "image tag": (
        "barque.cli.images",
        "TAG",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        ("tag",),
    ),
    "manifest inspect": (
        "barque.cli.manifests",
        "INSPECT",
        "Display an image manifest, or manifest list",
        (),
    ),
    "network connect": ("barque.cli.networks", "CONNECT", "Connect a container to a network", ()),
    "network create": ("barque.cli.networks", "CREATE", "Create a network", ()),
    "network disconnect": (
        "barque.cli.networks",
        "DISCONNECT",
        "Disconnect a container from a network",
        (),
    ),
    "network inspect": (
        "barque.cli.inspect",
        "NETWORK",
        "Display detailed information on one or more networks",
        (),
    ),
    "network ls": ("barque.cli.networks", "LS", "List networks", ("network list",)),
    "network prune": ("barque.cli.prune", "NETWORK", "Remove all unused networks", ()),
    "network rm": ("barque.cli.networks", "RM", "Remove one or more networks", ("network remove",)),
    "registry serve": (
        "barque.cli.serve",
        "SERVE",
        "Serve a registry of images from a directory",
        (),
    ),
    "system check": (
        "barque.cli.check",
        "CHECK",
        "Check that images, layers and containers are whole, and repair them",
        (),
    ),
    "system df": ("barque.cli.diskusage", "DF", "Show disk usage", ()),
    "system dial-stdio": (
        "barque.cli.dialstdio",
        "DIAL_STDIO",
        "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
        (),
    ),
    "system events": (
        "barque.cli.events",
        "EVENTS",
        "Get real time events from the server",
        ("events",),
    ),
    "system info": ("barque.cli.info", "INFO", "Display system-wide information", ("info",)),
    "system prune": ("barque.cli.prune", "SYSTEM", "Remove unused data", ()),
    "volume create": ("barque.cli.volumes", "CREATE", "Create a volume", ()),
    "volume inspect": (
        "barque.cli.inspect",
        "VOLUME",
        "Display detailed information on one or more volumes",
        (),
    ),
    "volume ls": ("barque.cli.volumes", "LS", "List volumes", ("volume list",)),
    "volume prune": ("barque.cli.prune", "VOLUME", "Remove unused local volumes", ()),
    "volume rm": (
        "barque.cli.volumes",
        "RM",
        "Remove one or more volumes",
        ("volume remove",),
    ),
    "bootstrap": (
        "barque.cli.bootstrap",
        "BOOTSTRAP",
        "Make a base image from this machine or its distribution's mirror",
        (),
    ),
    "completion": (
        "barque.cli.completion",
        "COMPLETION",
        "Generate the autocompletion script for the specified shell",
        (),
    ),
    "inspect": (
        "barque.cli.inspect",
        "OBJECT",
        "Return low-level information on Docker objects",
        (),
    ),
    "login": ("barque.cli.login", "LOGIN", "Authenticate to a registry", ()),
    "logout": ("barque.cli.login", "LOGOUT", "Log out from a registry", ()),
    "search": ("barque.cli.search", "SEARCH", "Search Docker Hub for images", ()),
    "version": ("barque.cli.version", "VERSION", "Show the Barque version information", ()),
}

GROUPS: dict[str, str] = {
    "container": "Manage containers",
    "image": "Manage images",
    "manifest": "Look at image manifests in registries",
    "network": "Manage networks",
    "registry": "Run a registry",
    "system": "Manage Barque",
    "volume": "Manage volumes",
}

HIDDEN = ("system dial-stdio", "completion")
"""Commands that help does not list."""

COMMON = (
    "run",
    "exec",
    "ps",
    "pull",
    "push",
    "images",
    "login",
    "logout",
    "search",
    "version",
    "info",
)
"""What `barque --help` lists first, in this order."""

ABSENT = (
    "build",
    "builder",
    "checkpoint",
    "config",
    "context",
    "node",
    "plugin",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
    "image build",
    "manifest annotate",
    "manifest create",
    "manifest push",
    "manifest rm",
    "volume update",
)
"""Commands of docker that this version of barque does not have; they say so."""


def find_path(words: list[str]) -> tuple[str, str, int] | None:
    """The command that ``words`` begins with: (management form, shown name, words used).

    ``["ps", "-a"]`` gives ``("container ls", "ps", 1)``, ``["container", "list"]`` gives
    ``("container ls", "container ls", 2)``. None if no command is called that.
    """
    for count in (2, 1):
        name = " ".join(words[:count])
        if len(words) < count or not name:
            continue
        if name in COMMANDS:
            return name, name, count
        for path, row in COMMANDS.items():
            if name in row[3]:
                shown = path if path.count(" ") == name.count(" ") else name
                return path, shown, count
    return None


def find_command(path: str) -> Command:
    """The command with this management form; imports its module. KeyError if there is none."""
    module, constant, _summary, _names = COMMANDS[path]
    # importlib.import_module would import warnings and types first.
    found: Command = getattr(__import__(module, fromlist=(constant,)), constant)
    return found


def names_of(path: str) -> list[str]:
    """All names of a command: the management form first, then the others."""
    return [path, *COMMANDS[path][3]]
