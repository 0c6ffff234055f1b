"""Measurements of barque beside dockerd, podman with crun, and a bare C program."""
