"""Use cases: containers, execs, images, volumes, networks, events."""
