"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Measurement

COLUMNS = ("barque", "dockerd", "podman", "bare C", "docker CLI", "runc", "crun")


def render_markdown(measurements: Sequence[Measurement], versions: dict[str, str]) -> str:
    """Return the medians, barque's advantage over each other target, and the verdicts."""
    columns = [c for c in COLUMNS if any(c in m.samples for m in measurements)]
    rows = [["", "unit", *columns, "barque is", "goal"]]
    for measurement in measurements:
        medians = (measurement.median(column) for column in columns)
        ratios = [
            f"{advantage:.2g} x {column}"
            for column in columns
            if column != "barque" and (advantage := measurement.advantage("barque", column))
        ]
        rows.append(
            [
                measurement.name,
                measurement.unit,
                *("" if median is None else _round(median) for median in medians),
                ", ".join(ratios),
                measurement.verdict(),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    about = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{about}; Linux {platform.release()}, {_cpus()}. Medians.\n\n" + "\n".join(lines) + "\n"


def _round(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _cpus() -> str:
    cpus = Path("/proc/cpuinfo").read_text()
    names = [
        line.partition(":")[2].strip() for line in cpus.splitlines() if line.startswith("model n")
    ]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def write(folder: Path, measurements: Sequence[Measurement], versions: dict[str, str]) -> None:
    """Write ``latest.md`` and ``latest.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.md").write_text(render_markdown(measurements, versions))
    document = {
        "versions": versions,
        "kernel": platform.release(),
        "measurements": [
            {
                "name": measurement.name,
                "unit": measurement.unit,
                "better": measurement.better,
                "samples": measurement.samples,
                "verdict": measurement.verdict(),
            }
            for measurement in measurements
        ],
    }
    (folder / "latest.json").write_text(json.dumps(document, indent=1) + "\n")
