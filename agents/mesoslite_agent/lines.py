"""The launcher's end of its socket: lines in, lines out, both bounded.

Standard library alone: the launcher uses it.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from mesoslite_agent.journal import Json

LINE_BYTES_MAX = 1 << 20  # one request; execve(2) takes little more in arguments and environment
CONNECTIONS_MAX = 8  # one agent, one that replaces it, and an operator who looks
OUTBOX_BYTES_MAX = 32 << 20  # a list of all containers fits; a reader slower than that is cut off
READ_BYTES = 1 << 16


class Connection:
    """One client. `open` is False when it has hung up, or is to be hung up on."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.greeted = False
        self.open = True

    def read(self) -> None:
        """Take in what is there."""
        try:
            chunk = self.link.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self.inbox += chunk
        if not chunk:
            self.open = False

    @property
    def reads_on(self) -> bool:
        """False while more waits in the inbox than one line may be long."""
        return len(self.inbox) <= LINE_BYTES_MAX

    def next_line(self) -> bytes | None:
        """One request; None when none is complete."""
        end = self.inbox.find(b"\n")
        if end < 0:
            if len(self.inbox) > LINE_BYTES_MAX:
                self.open = False
            return None
        line = bytes(self.inbox[:end])
        del self.inbox[: end + 1]
        return line

    def say(self, message: Json) -> None:
        """Put it into the outbox."""
        if self.open:
            self.outbox += json.dumps(message).encode() + b"\n"
            if len(self.outbox) > OUTBOX_BYTES_MAX:
                self.open = False

    def flush(self) -> None:
        """Write what the client takes now."""
        try:
            while self.outbox and self.open:
                del self.outbox[: self.link.send(self.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self.open = False


def listen(folder: Path) -> socket.socket:
    """Bound by a relative name: a socket's path may be 107 bytes long, a work directory longer."""
    os.chdir(folder)
    Path("launcher.sock").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("launcher.sock")
    listener.listen(CONNECTIONS_MAX)
    os.chdir("/")
    return listener
