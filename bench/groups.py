"""The groups of measurements, by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from bench import (
    api,
    clients,
    fleet,
    idle,
    images,
    isolation,
    lifecycle,
    networks,
    oci,
    registries,
    run,
    throughput,
    traffic,
)
from bench.measure import Measurement
from bench.subjects import Subjects

GROUPS: dict[str, Callable[[Subjects], list[Measurement]]] = {
    "run": run.measure_run,
    "exec": run.measure_exec,
    "lifecycle": lifecycle.measure,
    "networks": networks.measure,
    "attach": networks.measure_attach,
    "traffic": traffic.measure,
    "clients": clients.measure,
    "idle": idle.measure,
    "api": api.measure,
    "logs": throughput.measure_logs,
    "stdio": throughput.measure_stdio,
    "pull": registries.measure_pull,
    "push": registries.measure_push,
    "images": images.measure,
    "fleet": fleet.measure,
    "oci": oci.measure,
    "isolation": isolation.measure,
}
