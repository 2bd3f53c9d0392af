"""Reading the sandbox files of a task through its agent's stream: a question and its answer.

They travel beside the agent's calls and events, but no machine handles them: the daemons do, with
a budget of their own, so that reading logs never delays a status.
"""

from __future__ import annotations

from mesoslite.immutable import dataclass
from mesoslite.model import Refusal

#: What its agent's fetcher tells of a task's files while they are on their way: a line.
FETCHING = ".fetching"
#: What can be read: the outputs that every task has, and that.
FILE_NAMES = ("stdout", "stderr", FETCHING)
#: Read in the same way: what the agent keeps of the attempts to run a task, whether their sandboxes
#: are still there or not. As the protobuf message PostMortems; offset and length mean nothing.
POST_MORTEM = "post-mortem"
#: Bytes of one answer: a quarter of a message, so that four readers share one.
FILE_CHUNK_BYTES_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class FileRead:
    """Read a part of a file of a task's newest sandbox; answered by one FileChunk."""

    request: int
    """Chosen by who asks; the answer repeats it."""
    framework_id: str
    """Empty, of a POST_MORTEM alone: whichever has such a task."""
    task_id: str
    name: str
    """One of FILE_NAMES, or POST_MORTEM."""
    offset: int
    """Negative: so many bytes before the end."""
    length: int
    """1 to FILE_CHUNK_BYTES_MAX."""


@dataclass(frozen=True, slots=True)
class FileChunk:
    """The answer to the FileRead with this request number."""

    request: int
    data: bytes = b""
    """Empty at the end of the file."""
    size: int = 0
    """Of the whole file, now."""
    refusal: Refusal | None = None
    """None: it was read."""
    message: str = ""
