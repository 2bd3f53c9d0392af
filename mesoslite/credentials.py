"""The bearer token: always there, also on the loopback (docs/decisions.md D20).

The master makes the file at its first start, readable by its user alone; the command, the agents
and the schedulers of that user find it by themselves. Whoever can read it may do everything; its
principal says whose frameworks are whose (docs/decisions.md D4).
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TOKEN_FILE_VARIABLE = "MESOSLITE_TOKEN_FILE"
DEFAULT_PRINCIPAL = "local"
TOKEN_BYTES = 32  # 256 bits: nobody guesses it, however fast the port answers
TOKEN_FILE_BYTES_MAX = 64 * 1024
PRINCIPALS_MAX = 1_000
METADATA_KEY = "authorization"
SCHEME = "Bearer "


class TokenFileError(Exception):
    """The token file cannot be used; `str` is one line that says which, why and what to do."""


def default_token_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where this user's token is: `$XDG_CONFIG_HOME/mesoslite/token`, or under `~/.config`."""
    home = environment.get("XDG_CONFIG_HOME", "")
    config = Path(home) if home.startswith("/") else Path("~/.config").expanduser()
    return config / "mesoslite" / "token"


def find_token_file(
    given: str | Path | None = None, environment: Mapping[str, str] = os.environ
) -> Path:
    """The token file: what was given, else MESOSLITE_TOKEN_FILE, else the user's default."""
    named = str(given) if given else environment.get(TOKEN_FILE_VARIABLE, "")
    return Path(named).expanduser() if named else default_token_file(environment)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that a file holds, in its order, each with its principal."""

    entries: tuple[tuple[str, str], ...]
    """(principal, token); never empty."""

    @property
    def own(self) -> str:
        """What a client shows: the first."""
        return self.entries[0][1]

    def principal_of(self, token: str) -> str | None:
        """Whose token it is; None: nobody's. Takes the same time whatever matches."""
        found = None
        for principal, expected in self.entries:
            if hmac.compare_digest(expected.encode(), token.encode()) and found is None:
                found = principal
        return found

    def principal_of_call(self, metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
        """Whose call it is, by its `authorization: Bearer ...`; None: nobody's."""
        for key, value in metadata:
            if key == METADATA_KEY and isinstance(value, str) and value.startswith(SCHEME):
                return self.principal_of(value.removeprefix(SCHEME))
        return None


def call_metadata(token: str) -> tuple[tuple[str, str], ...]:
    """What a client sends along with each call."""
    return ((METADATA_KEY, SCHEME + token),)


def make_token_file(path: Path) -> bool:
    """Make the file with a new token unless it is there. True when it was made.

    Nobody ever sees it half-written or readable by others: it is linked into place when complete.
    Raises TokenFileError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=".token-", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{DEFAULT_PRINCIPAL} {secrets.token_urlsafe(TOKEN_BYTES)}\n")
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            Path(draft).unlink()
    except OSError as error:
        raise TokenFileError(
            f"cannot make the token file {path}: {error.strerror}; name another with --token-file"
        ) from None
    return True


def read_tokens(path: Path) -> Tokens:
    """Read a token file: lines `principal token` or `token`; `#` starts a comment.

    Raises TokenFileError, also when others than its owner may read or write it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            _check_owner(path, os.fstat(file.fileno()))
            text = file.read(TOKEN_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise TokenFileError(
            f"there is no token file {path}: the master makes it at its first start; "
            f"name it with --token-file or {TOKEN_FILE_VARIABLE}"
        ) from None
    except OSError as error:
        raise TokenFileError(f"cannot read the token file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TokenFileError(f"the token file {path} is not text") from None
    if len(text) > TOKEN_FILE_BYTES_MAX:
        raise TokenFileError(f"the token file {path} is over {TOKEN_FILE_BYTES_MAX} bytes")
    return Tokens(_parse(path, text))


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise TokenFileError(f"the token file {path} is not a regular file")
    if status.st_mode & 0o077:
        raise TokenFileError(
            f"the token file {path} is open to others (mode {stat.S_IMODE(status.st_mode):04o}): "
            f"chmod 600 {path}"
        )
    if status.st_uid not in {os.geteuid(), 0}:
        raise TokenFileError(f"the token file {path} belongs to another user")


def _parse(path: Path, text: str) -> tuple[tuple[str, str], ...]:
    entries: list[tuple[str, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) > 2 or not words[-1].isascii():
            raise TokenFileError(f"line {number} of the token file {path} is not `principal token`")
        entries.append((words[0] if len(words) == 2 else DEFAULT_PRINCIPAL, words[-1]))
    if not 0 < len(entries) <= PRINCIPALS_MAX:
        raise TokenFileError(
            f"the token file {path} holds {len(entries)} tokens, not 1 to {PRINCIPALS_MAX}"
        )
    return tuple(entries)
