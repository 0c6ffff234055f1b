"""The spawner and the shims: the containers' parents."""
