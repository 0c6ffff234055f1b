"""The file of ``--log``: where engines look for what a command has to tell. In runc's shapes."""

from __future__ import annotations

import json
import os
import time


def write_line(path: str, form: str, level: str, text: str) -> str:
    """Add a line, as ``json`` or text; returns why that could not be done, or ""."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if form == "json":
        line = json.dumps({"level": level, "msg": text, "time": now})
    else:
        line = f"time={json.dumps(now)} level={level} msg={json.dumps(text)}"
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(line + "\n")
    except OSError as error:
        return os.strerror(error.errno or 0).lower()
    return ""
