"""The OCI runtime: from a spec to a process."""
