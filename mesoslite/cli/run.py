"""`mesoslite run`: a command on the cluster as if it ran here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from mesoslite import FrameworkError, Refusal, run_async
from mesoslite.cli.connection import Operator, find_token
from mesoslite.cli.console import Code, Failure, note
from mesoslite.cli.copies import Copies
from mesoslite.cli.options import Chosen
from mesoslite.cli.outcome import SIGNAL_BASE, Outcome, summary
from mesoslite.cli.plan import Plan, RunOptions
from mesoslite.cli.printer import Bar, Named, Plain
from mesoslite.cli.tails import FOLLOWED_TASKS_MAX, Tails
from mesoslite.cli.waiting import why_waiting
from mesoslite.logs import set_up_logs

EXPLAIN_AFTER_S = 5.0  # without a launch, before it is said what the copies wait for
EXPLAIN_EVERY_S = 30.0
TICK_S = 0.2
AWAY_S_MAX = 75.0  # a master that restarts is back in seconds; as long as an agent waits for one
FAILURES_SHOWN_MAX = 10
TEARDOWN_TIMEOUT_S = 12.0  # the session itself waits 10 s for the master's word

_CODES = {Refusal.BAD_TOKEN: Code.DENIED, Refusal.UNKNOWN_ROLE: Code.DENIED}


def run(options: RunOptions, chosen: Chosen) -> int:
    """Run the copies to their end; the exit code that stands for all of them.

    0 when all finished, else the highest of their codes; 124 after --timeout, 130 after Ctrl-C.
    """
    plan = Plan(options)
    with Operator(chosen.master, chosen.token_file) as operator:
        operator.status()  # no master, a wrong token: said before anything else happens
        set_up_logs(level="error")  # what a person should know of the session is said here
        return asyncio.run(_run(plan, options, chosen, operator))


async def _run(plan: Plan, options: RunOptions, chosen: Chosen, operator: Operator) -> int:
    return await _Run(plan, options, chosen, operator).run()


@dataclass(slots=True)
class _Ending:
    """Why a run ends before its copies have."""

    code: int
    line: str


class _Run:
    """One run: the framework, the output of its tasks, and the person who may stop it."""

    def __init__(self, plan: Plan, options: RunOptions, chosen: Chosen, operator: Operator) -> None:
        self._plan = plan
        self._timeout_s = options.timeout_s
        self._chosen = chosen
        self._operator = operator
        self._bar = Bar(plan.name, plan.count)
        self._printer = Plain() if plan.count == 1 else Named(self._bar.progress)
        self._tails = Tails(
            operator.masters,
            operator.target,
            find_token(chosen.token_file),
            plan.framework_name,
            self._printer.take,
            follow=plan.count <= FOLLOWED_TASKS_MAX,
        )
        self._copies = Copies(plan, unread=lambda: len(self._tails))
        self._copies.on_start = self._tails.started
        self._copies.on_end = self._ended
        self._copies.on_trouble = self._trouble
        self._copies.on_impossible = lambda line: self._end(_Ending(Code.FAILED, line))
        self._ending: _Ending | None = None
        self._torn_down = False
        self._failures_shown = 0
        self._last_line = ""
        self._explained = ""

    async def run(self) -> int:
        """Until all copies have ended and their output is here."""
        session = asyncio.create_task(
            run_async(
                self._copies,
                master=str(self._operator.masters),  # another may lead before it has ended
                token_file=self._chosen.token_file,
            ),
            name="session",
        )
        try:
            with self._interrupts():
                await self._until_over(session)
                if self._copies.over.is_set():
                    await self._tails.drained()
                    if self._tails.broken is not None:
                        self._end(_ending_of(self._tails.broken))
                if not self._copies.refused:
                    self._torn_down = True
                    self._copies.teardown()
                await asyncio.wait([session], timeout=TEARDOWN_TIMEOUT_S)
        finally:
            self._bar.close()
            await self._tails.close()
            self._printer.close()
            await self._end_session(session)
        return self._verdict()

    async def _until_over(self, session: asyncio.Task[None]) -> None:
        """Wait for the copies, saying what is to be said meanwhile."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        explain_s = began_s + EXPLAIN_AFTER_S
        copies = self._copies
        while not copies.over.is_set() and not session.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(copies.over.wait(), TICK_S)
            now_s = loop.time()
            self._bar.show(len(copies.outcomes), len(copies.alive), copies.waiting)
            if self._tails.broken is not None:
                self._end(_ending_of(self._tails.broken))
            if self._timeout_s is not None and now_s - began_s > self._timeout_s:
                self._end(_Ending(Code.TIMEOUT, f"timed out after {self._timeout_s:g} s"))
            if copies.away_since_s is not None and now_s - copies.away_since_s > AWAY_S_MAX:
                raise Failure(
                    Code.NO_MASTER,
                    f"the master has not been heard for {AWAY_S_MAX:.0f} s; "
                    "once it is back it ends what is left of this run",
                )
            if copies.alive or not copies.waiting:
                explain_s = now_s + EXPLAIN_AFTER_S
            elif now_s > explain_s:
                explain_s = now_s + EXPLAIN_EVERY_S
                await self._explain()

    async def _end_session(self, session: asyncio.Task[None]) -> None:
        """The session's own end; one that does not come is cut short."""
        if not session.done():
            session.cancel()
            await asyncio.wait([session])
        if session.cancelled():
            return
        try:
            session.result()
        except FrameworkError as error:
            # After a teardown the master's last word is that the framework is removed.
            if error.refusal is not Refusal.FRAMEWORK_REMOVED or not self._torn_down:
                raise Failure(_CODES.get(error.refusal, Code.FAILED), str(error)) from None

    def _end(self, ending: _Ending) -> None:
        if self._ending is None:
            self._ending = ending
            self._copies.give_up()

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """The first signal ends the tasks; a second one leaves them to the master at once."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._interrupted, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _interrupted(self, number: signal.Signals) -> None:
        code = SIGNAL_BASE + number
        if self._ending is not None:
            self._bar.close()
            # Whatever hangs (a reader of our output, a master that is away) must not hold us. The
            # master ends the tasks when the failover timeout of a run is over.
            os._exit(code)
        alive = len(self._copies.alive)
        if alive:
            noun = "the task" if self._plan.count == 1 else f"{alive} tasks"
            self._say(f"ending {noun}; once more leaves at once")
        self._end(_Ending(code, ""))

    def _ended(self, task_id: str, outcome: Outcome | None) -> None:
        self._tails.ended(task_id)
        if outcome is None or not outcome.code or self._ending is not None:
            return
        if self._plan.count == 1:
            # Comes after the last that the task itself has said: that may still be on its way.
            self._last_line = f"{task_id}: {outcome.line}" if outcome.line else ""
        elif self._failures_shown < FAILURES_SHOWN_MAX:
            self._failures_shown += 1
            self._say(f"{task_id}: {outcome.line or f'exit code {outcome.code}'}")

    def _trouble(self, line: str) -> None:
        if self._ending is None:
            self._say(line)

    async def _explain(self) -> None:
        try:
            agents = await asyncio.to_thread(self._operator.agents)
        except Failure:
            return  # the session notices as well, and says so
        line = why_waiting(self._plan, agents)
        if line != self._explained and not self._copies.alive:
            self._explained = line
            self._say(line)

    def _say(self, line: str) -> None:
        if self._bar.progress is not None:
            self._bar.progress.console.print(f"mesoslite: {line}", soft_wrap=True)
        else:
            note(f"mesoslite: {line}")

    def _verdict(self) -> int:
        outcomes = self._copies.outcomes.values()
        if self._ending is not None:
            if self._ending.line:
                self._say(self._ending.line)
            return self._ending.code
        if self._plan.count > 1:
            self._say(summary(outcomes, self._plan.count))
        elif self._last_line:
            self._say(self._last_line)
        if len(outcomes) < self._plan.count:
            return Code.FAILED
        return max(outcome.code for outcome in outcomes)


def _ending_of(error: BaseException) -> _Ending:
    if isinstance(error, Failure):
        return _Ending(error.code, str(error))
    why = (isinstance(error, OSError) and error.strerror) or error
    return _Ending(Code.FAILED, f"cannot write the output: {why}")
