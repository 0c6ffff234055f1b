"""Every operation of the Engine API and what becomes of it here.

The one place that says what works: the router is built from this table and the table in
``docs/conformance.md`` is checked against it. Source: the operations of the Engine API
definition, in its order, then those that dockerd serves without listing them, then barque's
own, below ``/barque``.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(enum.Enum):
    """What a call of the operation gets."""

    WORKS = "works"
    NOT_YET = "501"
    SWARM = "503"
    """What an engine outside a swarm says."""


class Operation(NamedTuple):
    """``path`` holds its parameters in braces; they match slashes too."""

    method: str
    path: str
    id: str
    summary: str
    state: State


def _parse(table: str) -> tuple[Operation, ...]:
    operations = []
    for line in table.strip().splitlines():
        state, method, path, name, summary = line.split(None, 4)
        operations.append(Operation(method, path, name, summary, _STATES[state]))
    return tuple(operations)


_STATES = {"works": State.WORKS, "501": State.NOT_YET, "503": State.SWARM}

OPERATIONS = _parse("""
works  GET     /containers/json                 ContainerList             list containers
works  POST    /containers/create               ContainerCreate           create a container
works  GET     /containers/{id}/json            ContainerInspect          inspect a container
works  GET     /containers/{id}/top             ContainerTop              list a container's processes
works  GET     /containers/{id}/logs            ContainerLogs             read a container's logs
works  GET     /containers/{id}/changes         ContainerChanges          list changes of a container's file system
works  GET     /containers/{id}/export          ContainerExport           export a container's file system
works  GET     /containers/{id}/stats           ContainerStats            read resource usage
works  POST    /containers/{id}/resize          ContainerResize           resize a container's terminal
works  POST    /containers/{id}/start           ContainerStart            start a container
works  POST    /containers/{id}/stop            ContainerStop             stop a container
works  POST    /containers/{id}/restart         ContainerRestart          restart a container
works  POST    /containers/{id}/kill            ContainerKill             send a signal to a container
works  POST    /containers/{id}/update          ContainerUpdate           change a container's limits
works  POST    /containers/{id}/rename          ContainerRename           rename a container
works  POST    /containers/{id}/pause           ContainerPause            pause a container
works  POST    /containers/{id}/unpause         ContainerUnpause          unpause a container
works  POST    /containers/{id}/attach          ContainerAttach           attach to a container
501    GET     /containers/{id}/attach/ws       ContainerAttachWebsocket  attach to a container by a websocket
works  POST    /containers/{id}/wait            ContainerWait             wait for a container
works  DELETE  /containers/{id}                 ContainerDelete           remove a container
works  HEAD    /containers/{id}/archive         ContainerArchiveInfo      look up a file in a container
works  GET     /containers/{id}/archive         ContainerArchive          copy files out of a container
works  PUT     /containers/{id}/archive         PutContainerArchive       copy files into a container
works  POST    /containers/prune                ContainerPrune            remove stopped containers
works  GET     /images/json                     ImageList                 list images
501    POST    /build                           ImageBuild                build an image
501    POST    /build/prune                     BuildPrune                remove build cache
works  POST    /images/create                   ImageCreate               pull or import an image
works  GET     /images/{name}/json              ImageInspect              inspect an image
501    GET     /images/{name}/attestations      ImageAttestations         read attestations of an image
works  GET     /images/{name}/history           ImageHistory              show an image's history
works  POST    /images/{name}/push              ImagePush                 push an image
works  POST    /images/{name}/tag               ImageTag                  tag an image
works  DELETE  /images/{name}                   ImageDelete               remove an image
works  GET     /images/search                   ImageSearch               search a registry
works  POST    /images/prune                    ImagePrune                remove unused images
works  POST    /auth                            SystemAuth                check registry credentials
works  GET     /info                            SystemInfo                describe the engine
works  GET     /version                         SystemVersion             show versions
works  GET     /_ping                           SystemPing                ping
works  HEAD    /_ping                           SystemPingHead            ping
works  POST    /commit                          ImageCommit               make an image of a container
works  GET     /events                          SystemEvents              follow events
works  GET     /system/df                       SystemDataUsage           show disk usage
works  GET     /images/{name}/get               ImageGet                  save an image
works  GET     /images/get                      ImageGetAll               save several images
works  POST    /images/load                     ImageLoad                 load images
works  POST    /containers/{id}/exec            ContainerExec             create an exec
works  POST    /exec/{id}/start                 ExecStart                 start an exec
works  POST    /exec/{id}/resize                ExecResize                resize an exec's terminal
works  GET     /exec/{id}/json                  ExecInspect               inspect an exec
works  GET     /volumes                         VolumeList                list volumes
works  POST    /volumes/create                  VolumeCreate              create a volume
works  GET     /volumes/{name}                  VolumeInspect             inspect a volume
503    PUT     /volumes/{name}                  VolumeUpdate              update a cluster volume
works  DELETE  /volumes/{name}                  VolumeDelete              remove a volume
works  POST    /volumes/prune                   VolumePrune               remove unused volumes
works  GET     /networks                        NetworkList               list networks
works  GET     /networks/{id}                   NetworkInspect            inspect a network
works  DELETE  /networks/{id}                   NetworkDelete             remove a network
works  POST    /networks/create                 NetworkCreate             create a network
works  POST    /networks/{id}/connect           NetworkConnect            connect a container to a network
works  POST    /networks/{id}/disconnect        NetworkDisconnect         disconnect a container from a network
works  POST    /networks/prune                  NetworkPrune              remove unused networks
works  GET     /plugins                         PluginList                list plugins (there are none)
501    GET     /plugins/privileges              GetPluginPrivileges       show what a plugin asks for
501    POST    /plugins/pull                    PluginPull                install a plugin
works  GET     /plugins/{name}/json             PluginInspect             inspect a plugin (none)
501    DELETE  /plugins/{name}                  PluginDelete              remove a plugin
501    POST    /plugins/{name}/enable           PluginEnable              enable a plugin
501    POST    /plugins/{name}/disable          PluginDisable             disable a plugin
501    POST    /plugins/{name}/upgrade          PluginUpgrade             upgrade a plugin
501    POST    /plugins/create                  PluginCreate              create a plugin
501    POST    /plugins/{name}/push             PluginPush                push a plugin
501    POST    /plugins/{name}/set              PluginSet                 configure a plugin
503    GET     /nodes                           NodeList                  list nodes
503    GET     /nodes/{id}                      NodeInspect               inspect a node
503    DELETE  /nodes/{id}                      NodeDelete                remove a node
503    POST    /nodes/{id}/update               NodeUpdate                update a node
503    GET     /swarm                           SwarmInspect              inspect the swarm
503    POST    /swarm/init                      SwarmInit                 begin a swarm
503    POST    /swarm/join                      SwarmJoin                 join a swarm
503    POST    /swarm/leave                     SwarmLeave                leave the swarm
503    POST    /swarm/update                    SwarmUpdate               update the swarm
503    GET     /swarm/unlockkey                 SwarmUnlockkey            get the unlock key
503    POST    /swarm/unlock                    SwarmUnlock               unlock a manager
503    GET     /services                        ServiceList               list services
503    POST    /services/create                 ServiceCreate             create a service
503    GET     /services/{id}                   ServiceInspect            inspect a service
503    DELETE  /services/{id}                   ServiceDelete             remove a service
503    POST    /services/{id}/update            ServiceUpdate             update a service
503    GET     /services/{id}/logs              ServiceLogs               read a service's logs
503    GET     /tasks                           TaskList                  list tasks
503    GET     /tasks/{id}                      TaskInspect               inspect a task
503    GET     /tasks/{id}/logs                 TaskLogs                  read a task's logs
503    GET     /secrets                         SecretList                list secrets
503    POST    /secrets/create                  SecretCreate              create a secret
503    GET     /secrets/{id}                    SecretInspect             inspect a secret
503    DELETE  /secrets/{id}                    SecretDelete              remove a secret
503    POST    /secrets/{id}/update             SecretUpdate              update a secret
503    GET     /configs                         ConfigList                list configs
503    POST    /configs/create                  ConfigCreate              create a config
503    GET     /configs/{id}                    ConfigInspect             inspect a config
503    DELETE  /configs/{id}                    ConfigDelete              remove a config
503    POST    /configs/{id}/update             ConfigUpdate              update a config
works  GET     /distribution/{name}/json        DistributionInspect       look up an image in a registry
501    POST    /session                         Session                   open a BuildKit session
works  GET     /networks/                       NetworkListSlash          list networks
501    GET     /containers/{id}/checkpoints     CheckpointList            list checkpoints
501    POST    /containers/{id}/checkpoints     CheckpointCreate          checkpoint a container
501    DELETE  /containers/{id}/checkpoints/{name}  CheckpointDelete      remove a checkpoint
501    POST    /build/cancel                    BuildCancel               cancel a build
501    POST    /grpc                            Grpc                      speak BuildKit's gRPC
works  GET     /barque/manifests/{name}/json    BarqueManifestInspect     show the manifests that a registry has under a name
works  POST    /barque/system/check             BarqueSystemCheck         check and repair what the engine keeps
""")  # noqa: E501 - one operation a line

NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)


def format_table() -> str:
    """Return the table of ``docs/conformance.md`` in Markdown."""
    lines = ["| operation | request | state |", "|---|---|---|"]
    lines += [
        f"| {operation.id}: {operation.summary} | `{operation.method} {operation.path}` "
        f"| {operation.state.value} |"
        for operation in OPERATIONS
    ]
    return "\n".join(lines) + "\n"
