"""What `mesoslite run` is asked to run, checked before anything is started."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath

from mesoslite import InvalidWhere, Offer, Resources, Shortfall, Task, Uri
from mesoslite.cli.console import Code, Failure
from mesoslite.resources import THOUSANDTHS, total_of, why_not_role
from mesoslite.where import Place, Where, spelled

NAME_LENGTH_MAX = 64  # leaves room in a task id of 128 for the copy's number and the attempt
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._-]+")
_SHA256 = re.compile(r"(?P<value>.+)#sha256=(?P<digest>[0-9A-Fa-f]{64})")
#: Of one accept, as it travels; the wire's limit for a message is a MiB.
ACCEPT_BYTES_MAX = 512 * 1024
ACCEPT_TASKS_MAX = 1_000
#: What a task weighs on the wire besides its texts.
TASK_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `mesoslite run` is told."""

    command: tuple[str, ...]
    cpus: str = "0.1"
    mem: str = "32"
    disk: str = "0"
    count: int = 1
    name: str | None = None
    containerizer: str | None = None
    image: str | None = None
    env: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    files: tuple[Uri, ...] = ()
    """Beside those, with all that a `Uri` can say."""
    user: str | None = None
    role: str = "*"
    attributes: tuple[str, ...] = ()
    where: str = ""
    pids: int | None = None
    max_completion_s: float | None = None
    grace_s: float = 3.0
    timeout_s: float | None = None


class Plan:
    """The copies that are to run, made when their turn comes. Raises Failure for wrong options."""

    def __init__(self, options: RunOptions) -> None:
        self.count = options.count
        self.role = options.role
        self.containerizer = options.containerizer or ("oci" if options.image else None)
        self.name = default_name(options.command) if options.name is None else options.name
        self.where_text = where(options, self.containerizer)
        self.where = Where.parse(self.where_text)
        #: Two runs of the same command are two frameworks (docs/decisions.md D4).
        self.framework_name = f"run-{self.name}-{secrets.token_hex(4)}"
        try:
            self.needs = Resources(cpus=options.cpus, mem=options.mem, disk=options.disk)
            self._first = Task(
                task_id=self.name,
                command=options.command,
                resources=self.needs,
                name=self.name,
                environment=dict(environment(options.env)),
                user=options.user,
                uris=(*map(uri, options.uris), *options.files),
                image=options.image,
                containerizer=self.containerizer,
                kill_grace_ms=round(options.grace_s * 1_000),
                max_completion_ms=(
                    None
                    if options.max_completion_s is None
                    else max(1, round(options.max_completion_s * 1_000))
                ),
                pids_limit=options.pids,
            )
        except (TypeError, ValueError) as error:
            raise Failure(Code.USAGE, str(error)) from None
        if (why_not := why_not_role(options.role)) is not None:
            raise Failure(Code.USAGE, f"--role: {why_not}")
        if not (self.needs.cpus or self.needs.mem):
            raise Failure(Code.USAGE, "a task needs some --cpus or --mem to run on")
        strange = self.name != _NOT_IN_IDS.sub("-", self.name)
        if strange or not 1 <= len(self.name) <= NAME_LENGTH_MAX:
            raise Failure(Code.USAGE, f"--name has 1 to {NAME_LENGTH_MAX} of A-Z a-z 0-9 . _ -")
        if self.name in (".", ".."):
            raise Failure(Code.USAGE, f"--name {self.name} is what directories are called")

    def task(self, copy: int, attempt: int, resources: Resources | None = None) -> Task:
        """One copy, counted from 1; another attempt at it is another task."""
        return Task(
            task_id=self.task_id(copy, attempt),
            command=self._first.command,
            resources=self.needs if resources is None else resources,
            name=self.name,
            environment={
                **self._first.environment,
                "MESOSLITE_COPY": str(copy),
                "MESOSLITE_COPIES": str(self.count),
            },
            user=self._first.user,
            uris=self._first.uris,
            image=self._first.image,
            containerizer=self._first.containerizer,
            kill_grace_ms=self._first.kill_grace_ms,
            max_completion_ms=self._first.max_completion_ms,
            pids_limit=self._first.pids_limit,
        )

    def task_id(self, copy: int, attempt: int = 1) -> str:
        """`name` for the only one, else `name-007` as wide as the last."""
        width = len(str(self.count))
        task_id = self.name if self.count == 1 else f"{self.name}-{copy:0{width}}"
        return task_id if attempt == 1 else f"{task_id}.{attempt}"

    @property
    def tasks_of_an_accept(self) -> int:
        """How many go out together: as many as their message may hold."""
        words = (*self._first.command, *self._first.environment, *self._first.environment.values())
        texts = sum(len(word.encode()) + 4 for word in words)
        texts += sum(len(one.value.encode()) + 80 for one in self._first.uris)
        return max(1, min(ACCEPT_TASKS_MAX, ACCEPT_BYTES_MAX // (TASK_BYTES + texts)))

    def suits(self, offer: Offer) -> bool:
        """Whether the copies may run where the offer is from, however much it holds.

        What was requested is where it should be. What is reserved for the role comes unasked.
        """
        here = Place(
            offer.hostname, offer.attributes, offer.region, offer.zone, offer.containerizers
        )
        return bool(offer.request_id) or self.where.matches(here)

    def part_of(self, free: Resources) -> Resources | None:
        """What one copy takes of `free`, what is reserved first; None: there is too little."""
        if free.covers(self.needs):
            return self.needs
        try:
            return total_of(
                free.take(name, Decimal(milli) / THOUSANDTHS)
                for name, milli in self.needs.scalars.items()
            )
        except Shortfall:
            return None


def where(options: RunOptions, containerizer: str | None) -> str:
    """Where the copies may run: what `--where` says, and the other options. Raises Failure."""
    tests = [f"containerizer == {containerizer}"] if containerizer is not None else []
    for attribute in options.attributes:
        name, colon, value = attribute.partition(":")
        if not colon:
            raise Failure(Code.USAGE, f"--attribute {attribute!r} is not NAME:VALUE")
        tests.append(f"{spelled(name.strip())} == {spelled(value.strip())}")
    try:
        given = Where.parse(options.where)
        if given.root is not None:
            tests.append(f"({options.where})" if tests else options.where)
        text = " and ".join(tests)
        Where.parse(text)
    except InvalidWhere as error:
        raise Failure(Code.USAGE, str(error), error.caret.split("\n")) from None
    return text


def default_name(command: tuple[str, ...]) -> str:
    """What a command is called: `/bin/true` is `true`."""
    name = _NOT_IN_IDS.sub("-", PurePosixPath(command[0]).name)[:NAME_LENGTH_MAX].strip("-.")
    return name or "task"


def environment(settings: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The pairs of `NAME=VALUE`. Raises ValueError."""
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise ValueError(f"--env {setting!r} is not NAME=VALUE")
        yield name, value


def uri(text: str) -> Uri:
    """A file to fetch, `URI` or `URI#sha256=DIGEST`."""
    found = _SHA256.fullmatch(text)
    return Uri(found["value"], sha256=found["digest"].lower()) if found else Uri(text)
