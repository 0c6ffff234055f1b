"""The keys that leave a container running: ``ctrl-p,ctrl-q`` unless said otherwise."""

from __future__ import annotations

from barque.cli.command import CommandError

DEFAULT_KEYS = b"\x10\x11"
_CONTROL = {f"ctrl-{chr(code + 96)}": code for code in range(1, 27)} | {
    "ctrl-@": 0,
    "ctrl-[": 27,
    "ctrl-\\": 28,
    "ctrl-]": 29,
    "ctrl-^": 30,
    "ctrl-_": 31,
    "del": 127,
}


def parse_detach_keys(text: str) -> bytes:
    """The bytes of ``a,ctrl-x,...``; the default for "". Raises :class:`CommandError`."""
    if not text:
        return DEFAULT_KEYS
    codes = bytearray()
    for key in text.split(","):
        if len(key) == 1 and key.isascii():
            codes.append(ord(key))
        elif (code := _CONTROL.get(key.lower())) is not None:
            codes.append(code)
        else:
            raise CommandError(f"invalid detach keys ({text}): Unknown character: '{key}'")
    return bytes(codes)


class DetachKeys:
    """Watches what is typed for the key sequence."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def find_end(self, typed: bytes) -> int:
        """The number of bytes of ``typed`` up to the end of the sequence; -1 if it is not
        complete yet. It may have begun in earlier calls.
        """
        for position, byte in enumerate(typed):
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return position + 1
            else:
                self._matched = 1 if byte == self._keys[0] else 0
        return -1
