"""The Go types behind the wire objects, for templates over them.

A template of ``inspect`` runs over docker's Go struct first and over the raw JSON only if
that fails. The struct shows: fields that JSON leaves out are there with their zero value,
``null`` lists print as ``[]``, maps keep their order, durations print as ``30s``, Go's
names (``.ID``) and JSON's (``.Id``) both work. This is the table of those structs: one line
per field with Go's name, ``=`` JSON's name if another, ``?`` if JSON leaves it out when
empty, ``+`` if its fields are promoted, and its type. Source: the types of the Go client
of Engine API 1.50.
"""

from __future__ import annotations

from barque.cli.template.values import (
    GoDuration,
    GoMap,
    GoNamed,
    GoPointer,
    GoSlice,
    GoStruct,
    GoTime,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ZERO_TIME = "0001-01-01T00:00:00Z"
_NUMBERS = frozenset(
    ("int", "int8", "int32", "int64", "uint", "uint16", "uint32", "uint64", "byte")
)
_ZEROS: dict[str, Any] = {"string": "", "bool": False, "float64": 0.0}

_ALIASES = {
    "container.CgroupSpec": "string",
    "container.CgroupnsMode": "string",
    "container.IpcMode": "string",
    "container.Isolation": "string",
    "container.NetworkMode": "string",
    "container.PidMode": "string",
    "container.RestartPolicyMode": "string",
    "container.UTSMode": "string",
    "container.UsernsMode": "string",
    "digest.Digest": "string",
    "events.Action": "string",
    "events.Type": "string",
    "mount.Consistency": "string",
    "mount.Propagation": "string",
    "mount.Type": "string",
    "nat.Port": "string",
    "nat.PortMap": "map[nat.Port][]nat.PortBinding",
    "nat.PortSet": "map[nat.Port]struct{}",
    "os.FileMode": "uint32",
    "strslice.StrSlice": "[]string",
    "swarm.LocalNodeState": "string",
}

_STRUCTS = """
container.InspectResponse
  +ContainerJSONBase *container.ContainerJSONBase
  Mounts []container.MountPoint
  Config *container.Config
  NetworkSettings *container.NetworkSettings
  ImageManifestDescriptor? *ocispec.Descriptor
image.InspectResponse
  ID=Id string
  RepoTags []string
  RepoDigests []string
  Parent string
  Comment string
  Created? string
  Container? string
  ContainerConfig? *container.Config
  DockerVersion string
  Author string
  Config *dockerspec.DockerOCIImageConfig
  Architecture string
  Variant? string
  Os string
  OsVersion? string
  Size int64
  VirtualSize? int64
  GraphDriver storage.DriverData
  RootFS image.RootFS
  Metadata image.Metadata
  Descriptor? *ocispec.Descriptor
  Manifests? any
network.Inspect
  Name string
  ID=Id string
  Created time.Time
  Scope string
  Driver string
  EnableIPv4 bool
  EnableIPv6 bool
  IPAM network.IPAM
  Internal bool
  Attachable bool
  Ingress bool
  ConfigFrom network.ConfigReference
  ConfigOnly bool
  Containers map[string]network.EndpointResource
  Options map[string]string
  Labels map[string]string
  Peers? []network.PeerInfo
  Services? map[string]network.ServiceInfo
volume.Volume
  ClusterVolume? any
  CreatedAt? string
  Driver string
  Labels map[string]string
  Mountpoint string
  Name string
  Options map[string]string
  Scope string
  Status? map[string]any
  UsageData? *volume.UsageData
events.Message
  Status=status? string
  ID=id? string
  From=from? string
  Type events.Type
  Action events.Action
  Actor events.Actor
  Scope=scope? string
  Time=time? int64
  TimeNano=timeNano? int64
types.Version
  Platform? types.PlatformName
  Components? []types.ComponentVersion
  Version string
  APIVersion=ApiVersion string
  MinAPIVersion? string
  GitCommit string
  GoVersion string
  Os string
  Arch string
  KernelVersion? string
  Experimental? bool
  BuildTime? string
system.Info
  ID string
  Containers int
  ContainersRunning int
  ContainersPaused int
  ContainersStopped int
  Images int
  Driver string
  DriverStatus [][2]string
  SystemStatus? [][2]string
  Plugins system.PluginsInfo
  MemoryLimit bool
  SwapLimit bool
  KernelMemory? bool
  KernelMemoryTCP? bool
  CPUCfsPeriod=CpuCfsPeriod bool
  CPUCfsQuota=CpuCfsQuota bool
  CPUShares bool
  CPUSet bool
  PidsLimit bool
  IPv4Forwarding bool
  Debug bool
  NFd int
  OomKillDisable bool
  NGoroutines int
  SystemTime string
  LoggingDriver string
  CgroupDriver string
  CgroupVersion? string
  NEventsListener int
  KernelVersion string
  OperatingSystem string
  OSVersion string
  OSType string
  Architecture string
  IndexServerAddress string
  RegistryConfig *registry.ServiceConfig
  NCPU int
  MemTotal int64
  GenericResources []swarm.GenericResource
  DockerRootDir string
  HTTPProxy=HttpProxy string
  HTTPSProxy=HttpsProxy string
  NoProxy string
  Name string
  Labels []string
  ExperimentalBuild bool
  ServerVersion string
  Runtimes map[string]system.RuntimeWithStatus
  DefaultRuntime string
  Swarm swarm.Info
  LiveRestoreEnabled bool
  Isolation container.Isolation
  InitBinary string
  ContainerdCommit system.Commit
  RuncCommit system.Commit
  InitCommit system.Commit
  SecurityOptions []string
  ProductLicense? string
  DefaultAddressPools? []system.NetworkAddressPool
  FirewallBackend? *system.FirewallInfo
  CDISpecDirs []string
  DiscoveredDevices? []system.DeviceInfo
  Containerd? *system.ContainerdInfo
  Warnings []string
container.ContainerJSONBase
  ID=Id string
  Created string
  Path string
  Args []string
  State *container.State
  Image string
  ResolvConfPath string
  HostnamePath string
  HostsPath string
  LogPath string
  Name string
  RestartCount int
  Driver string
  Platform string
  MountLabel string
  ProcessLabel string
  AppArmorProfile string
  ExecIDs []string
  HostConfig *container.HostConfig
  GraphDriver storage.DriverData
  SizeRw? *int64
  SizeRootFs? *int64
container.MountPoint
  Type? mount.Type
  Name? string
  Source string
  Destination string
  Driver? string
  Mode string
  RW bool
  Propagation mount.Propagation
container.Config
  Hostname string
  Domainname string
  User string
  AttachStdin bool
  AttachStdout bool
  AttachStderr bool
  ExposedPorts? nat.PortSet
  Tty bool
  OpenStdin bool
  StdinOnce bool
  Env []string
  Cmd strslice.StrSlice
  Healthcheck? *dockerspec.HealthcheckConfig
  ArgsEscaped? bool
  Image string
  Volumes map[string]struct{}
  WorkingDir string
  Entrypoint strslice.StrSlice
  NetworkDisabled? bool
  MacAddress? string
  OnBuild []string
  Labels map[string]string
  StopSignal? string
  StopTimeout? *int
  Shell? strslice.StrSlice
container.NetworkSettings
  +NetworkSettingsBase container.NetworkSettingsBase
  +DefaultNetworkSettings container.DefaultNetworkSettings
  Networks map[string]*network.EndpointSettings
ocispec.Descriptor
  MediaType=mediaType string
  Digest=digest digest.Digest
  Size=size int64
  URLs=urls? []string
  Annotations=annotations? map[string]string
  Data=data? []byte
  Platform=platform? *ocispec.Platform
  ArtifactType=artifactType? string
dockerspec.DockerOCIImageConfig
  +ImageConfig ocispec.ImageConfig
  +DockerOCIImageConfigExt dockerspec.DockerOCIImageConfigExt
storage.DriverData
  Data map[string]string
  Name string
image.RootFS
  Type? string
  Layers? []string
image.Metadata
  LastTagTime? time.Time
network.IPAM
  Driver string
  Options map[string]string
  Config []network.IPAMConfig
network.ConfigReference
  Network string
network.EndpointResource
  Name string
  EndpointID string
  MacAddress string
  IPv4Address string
  IPv6Address string
network.PeerInfo
  Name string
  IP string
network.ServiceInfo
  VIP string
  Ports []string
  LocalLBIndex int
  Tasks []network.Task
volume.UsageData
  RefCount int64
  Size int64
events.Actor
  ID string
  Attributes map[string]string
types.ComponentVersion
  Name string
  Version string
  Details? map[string]string
system.PluginsInfo
  Volume []string
  Network []string
  Authorization []string
  Log []string
registry.ServiceConfig
  AllowNondistributableArtifactsCIDRs? []string
  AllowNondistributableArtifactsHostnames? []string
  IndexConfigs map[string]*registry.IndexInfo
  InsecureRegistryCIDRs []string
  Mirrors []string
  ExtraFields=- map[string]any
swarm.GenericResource
  NamedResourceSpec? *swarm.NamedGenericResource
  DiscreteResourceSpec? *swarm.DiscreteGenericResource
system.RuntimeWithStatus
  +Runtime system.Runtime
  Status=status? map[string]string
swarm.Info
  NodeID string
  NodeAddr string
  LocalNodeState swarm.LocalNodeState
  ControlAvailable bool
  Error string
  RemoteManagers []swarm.Peer
  Nodes? int
  Managers? int
  Cluster? any
  Warnings? []string
system.Commit
  ID string
  Expected? string
system.NetworkAddressPool
  Base string
  Size int
system.FirewallInfo
  Driver string
  Info? [][2]string
system.DeviceInfo
  Source string
  ID string
system.ContainerdInfo
  Address? string
  Namespaces system.ContainerdNamespaces
container.State
  Status string
  Running bool
  Paused bool
  Restarting bool
  OOMKilled bool
  Dead bool
  Pid int
  ExitCode int
  Error string
  StartedAt string
  FinishedAt string
  Health? *container.Health
container.HostConfig
  Binds []string
  ContainerIDFile string
  LogConfig container.LogConfig
  NetworkMode container.NetworkMode
  PortBindings nat.PortMap
  RestartPolicy container.RestartPolicy
  AutoRemove bool
  VolumeDriver string
  VolumesFrom []string
  ConsoleSize [2]uint
  Annotations? map[string]string
  CapAdd strslice.StrSlice
  CapDrop strslice.StrSlice
  CgroupnsMode container.CgroupnsMode
  DNS=Dns []string
  DNSOptions=DnsOptions []string
  DNSSearch=DnsSearch []string
  ExtraHosts []string
  GroupAdd []string
  IpcMode container.IpcMode
  Cgroup container.CgroupSpec
  Links []string
  OomScoreAdj int
  PidMode container.PidMode
  Privileged bool
  PublishAllPorts bool
  ReadonlyRootfs bool
  SecurityOpt []string
  StorageOpt? map[string]string
  Tmpfs? map[string]string
  UTSMode container.UTSMode
  UsernsMode container.UsernsMode
  ShmSize int64
  Sysctls? map[string]string
  Runtime? string
  Isolation container.Isolation
  +Resources container.Resources
  Mounts? []mount.Mount
  MaskedPaths []string
  ReadonlyPaths []string
  Init? *bool
dockerspec.HealthcheckConfig
  Test? []string
  Interval? time.Duration
  Timeout? time.Duration
  StartPeriod? time.Duration
  StartInterval? time.Duration
  Retries? int
container.NetworkSettingsBase
  Bridge string
  SandboxID string
  SandboxKey string
  Ports nat.PortMap
  HairpinMode bool
  LinkLocalIPv6Address string
  LinkLocalIPv6PrefixLen int
  SecondaryIPAddresses []network.Address
  SecondaryIPv6Addresses []network.Address
container.DefaultNetworkSettings
  EndpointID string
  Gateway string
  GlobalIPv6Address string
  GlobalIPv6PrefixLen int
  IPAddress string
  IPPrefixLen int
  IPv6Gateway string
  MacAddress string
network.EndpointSettings
  IPAMConfig *network.EndpointIPAMConfig
  Links []string
  Aliases []string
  MacAddress string
  DriverOpts map[string]string
  GwPriority int
  NetworkID string
  EndpointID string
  Gateway string
  IPAddress string
  IPPrefixLen int
  IPv6Gateway string
  GlobalIPv6Address string
  GlobalIPv6PrefixLen int
  DNSNames []string
ocispec.Platform
  Architecture=architecture string
  OS=os string
  OSVersion=os.version? string
  OSFeatures=os.features? []string
  Variant=variant? string
ocispec.ImageConfig
  User? string
  ExposedPorts? map[string]struct{}
  Env? []string
  Entrypoint? []string
  Cmd? []string
  Volumes? map[string]struct{}
  WorkingDir? string
  Labels? map[string]string
  StopSignal? string
  ArgsEscaped? bool
dockerspec.DockerOCIImageConfigExt
  Healthcheck? *dockerspec.HealthcheckConfig
  OnBuild? []string
  Shell? []string
network.IPAMConfig
  Subnet? string
  IPRange? string
  Gateway? string
  AuxAddress=AuxiliaryAddresses? map[string]string
network.Task
  Name string
  EndpointID string
  EndpointIP string
  Info map[string]string
registry.IndexInfo
  Mirrors []string
  Name string
  Official bool
  Secure bool
swarm.NamedGenericResource
  Kind? string
  Value? string
swarm.DiscreteGenericResource
  Kind? string
  Value? int64
system.Runtime
  Path=path? string
  Args=runtimeArgs? []string
  Type=runtimeType? string
  Options=options? map[string]any
swarm.Peer
  NodeID string
  Addr string
system.ContainerdNamespaces
  Containers string
  Plugins string
container.Health
  Status string
  FailingStreak int
  Log []*container.HealthcheckResult
container.LogConfig
  Type string
  Config map[string]string
nat.PortBinding
  HostIP=HostIp string
  HostPort string
container.RestartPolicy
  Name container.RestartPolicyMode
  MaximumRetryCount int
container.Resources
  CPUShares=CpuShares int64
  Memory int64
  NanoCPUs=NanoCpus int64
  CgroupParent string
  BlkioWeight uint16
  BlkioWeightDevice []*blkiodev.WeightDevice
  BlkioDeviceReadBps []*blkiodev.ThrottleDevice
  BlkioDeviceWriteBps []*blkiodev.ThrottleDevice
  BlkioDeviceReadIOps []*blkiodev.ThrottleDevice
  BlkioDeviceWriteIOps []*blkiodev.ThrottleDevice
  CPUPeriod=CpuPeriod int64
  CPUQuota=CpuQuota int64
  CPURealtimePeriod=CpuRealtimePeriod int64
  CPURealtimeRuntime=CpuRealtimeRuntime int64
  CpusetCpus string
  CpusetMems string
  Devices []container.DeviceMapping
  DeviceCgroupRules []string
  DeviceRequests []container.DeviceRequest
  KernelMemory? int64
  KernelMemoryTCP? int64
  MemoryReservation int64
  MemorySwap int64
  MemorySwappiness *int64
  OomKillDisable *bool
  PidsLimit *int64
  Ulimits []*units.Ulimit
  CPUCount=CpuCount int64
  CPUPercent=CpuPercent int64
  IOMaximumIOps uint64
  IOMaximumBandwidth uint64
mount.Mount
  Type? mount.Type
  Source? string
  Target? string
  ReadOnly? bool
  Consistency? mount.Consistency
  BindOptions? *mount.BindOptions
  VolumeOptions? *mount.VolumeOptions
  ImageOptions? *mount.ImageOptions
  TmpfsOptions? *mount.TmpfsOptions
  ClusterOptions? any
network.Address
  Addr string
  PrefixLen int
network.EndpointIPAMConfig
  IPv4Address? string
  IPv6Address? string
  LinkLocalIPs? []string
container.HealthcheckResult
  Start time.Time
  End time.Time
  ExitCode int
  Output string
blkiodev.WeightDevice
  Path string
  Weight uint16
blkiodev.ThrottleDevice
  Path string
  Rate uint64
container.DeviceMapping
  PathOnHost string
  PathInContainer string
  CgroupPermissions string
container.DeviceRequest
  Driver string
  Count int
  DeviceIDs []string
  Capabilities [][]string
  Options map[string]string
units.Ulimit
  Name string
  Hard int64
  Soft int64
mount.BindOptions
  Propagation? mount.Propagation
  NonRecursive? bool
  CreateMountpoint? bool
  ReadOnlyNonRecursive? bool
  ReadOnlyForceRecursive? bool
mount.VolumeOptions
  NoCopy? bool
  Labels? map[string]string
  Subpath? string
  DriverConfig? *mount.Driver
mount.ImageOptions
  Subpath? string
mount.TmpfsOptions
  SizeBytes? int64
  Mode? os.FileMode
  Options? [][]string
mount.Driver
  Name? string
  Options? map[string]string
types.PlatformName
  Name string
system.clientVersion
  Platform? *system.platformInfo
  Version? string
  APIVersion=ApiVersion? string
  DefaultAPIVersion? string
  GitCommit? string
  GoVersion? string
  Os? string
  Arch? string
  BuildTime? string
  Context string
system.platformInfo
  Name? string
system.versionInfo
  Client system.clientVersion
  Server *types.Version
system.dockerInfo
  +Info? *system.Info
  ServerErrors? []string
  ClientInfo? *system.clientInfo
  ClientErrors? []string
system.clientInfo
  Debug bool
  +clientVersion system.clientVersion
  Plugins []any
  Warnings []string
"""


class _Field:
    __slots__ = ("embedded", "go_type", "json_name", "name", "omit_empty")

    def __init__(self, line: str) -> None:
        head, self.go_type = line.split(" ", 1)
        self.embedded = head[0] == "+"
        self.omit_empty = head[-1] == "?"
        self.name, _, json_name = head.strip("+?").partition("=")
        self.json_name = json_name or self.name


def _parse(text: str) -> dict[str, list[_Field]]:
    structs: dict[str, list[_Field]] = {}
    fields: list[_Field] = []
    for line in text.split("\n"):
        if line.startswith("  "):
            fields.append(_Field(line[2:]))
        elif line:
            fields = structs[line] = []
    return structs


_structs: dict[str, list[_Field]] = {}


def typed(value: Any, go_type: str) -> Any:
    """A decoded JSON value as a value of a Go type such as ``container.InspectResponse``.

    Members of JSON that the type does not know are dropped, as Go does.
    """
    if not _structs:
        _structs.update(_parse(_STRUCTS))
    return _convert(value, go_type)


def zero(go_type: str) -> Any:
    """The zero value of a type."""
    return typed(None, go_type)


def _convert(value: Any, go_type: str, shown: str = "") -> Any:
    """``shown`` is the type's name in messages, if an alias led here."""
    shown = shown or go_type
    if go_type in _ALIASES:
        underlying = _ALIASES[go_type]
        if underlying == "string":
            return GoNamed(str(value or ""), go_type)
        return _convert(value, underlying, go_type)
    if go_type in _ZEROS:
        return _ZEROS[go_type] if value is None else value
    if go_type in _NUMBERS:
        return int(value or 0)
    if go_type in _structs:
        return _struct(value, go_type)
    if go_type[0] == "*":
        inner = go_type[1:]
        return GoPointer(None if value is None else _convert(value, inner), inner)
    if go_type[0] == "[":
        element = go_type.partition("]")[2]
        items = [_convert(item, element) for item in value or ()]
        if go_type[1] != "]" and value is None:  # an array
            items = [_convert(None, element)] * int(go_type[1])
        return GoSlice(items, shown, nil=value is None)
    if go_type.startswith("map["):
        element = go_type.partition("]")[2]
        pairs = {key: _convert(item, element) for key, item in (value or {}).items()}
        return GoMap(pairs, shown, nil=value is None)
    if go_type == "time.Time":
        return GoTime(value or _ZERO_TIME)
    if go_type == "time.Duration":
        return GoDuration(value or 0)
    if go_type == "struct{}":
        return GoStruct("struct {}", {})
    return _interface(value)


def _struct(value: Any, go_type: str) -> GoStruct:
    members = value if isinstance(value, dict) else {}
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    omit: list[str] = []
    embedded: list[str] = []
    for field in _structs[go_type]:
        given = members if field.embedded else members.get(field.json_name)
        fields[field.name] = _convert(given, field.go_type)
        if field.json_name != field.name:
            names[field.name] = field.json_name
        if field.omit_empty:
            omit.append(field.name)
        if field.embedded:
            embedded.append(field.name)
    text = None
    if go_type == "units.Ulimit":
        text = f"{fields['Name']}={fields['Soft']}:{fields['Hard']}"
    return GoStruct(go_type, fields, names, frozenset(omit), tuple(embedded), text=text)


def _interface(value: Any) -> Any:
    """What Go decodes into ``interface {}``: all numbers are float64."""
    if isinstance(value, dict):
        return {key: _interface(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_interface(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value
