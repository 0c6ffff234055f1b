"""``barque-runtime``: the OCI runtime behind runc's command line."""
