"""The tables of ``barque.db``, as migrations applied in order.

Aggregates are stored as one JSON document with the columns that are searched beside it.
"""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        document BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE images (
        id TEXT PRIMARY KEY,
        created TEXT NOT NULL,
        document BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE tags (
        reference TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id)
    ) WITHOUT ROWID;
    CREATE TABLE snapshots (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        driver TEXT NOT NULL,
        key TEXT NOT NULL,
        parent TEXT NOT NULL DEFAULT '',
        kind TEXT NOT NULL CHECK (kind IN ('committed', 'active', 'view')),
        size_bytes INTEGER NOT NULL DEFAULT 0,
        labels BLOB NOT NULL DEFAULT '{}',
        UNIQUE (driver, key)
    );
    CREATE TABLE networks (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        document BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE addresses (
        network_id TEXT NOT NULL,
        address TEXT NOT NULL,
        container_id TEXT NOT NULL,
        PRIMARY KEY (network_id, address)
    ) WITHOUT ROWID;
    CREATE TABLE volumes (
        name TEXT PRIMARY KEY,
        document BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE settings (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
)
