"""The columns of each list: one module per kind of object."""
