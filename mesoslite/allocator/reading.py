"""What there is to read of an allocator: amounts, shares, and whether all of it agrees."""

from collections.abc import Iterable, Mapping
from fractions import Fraction

from mesoslite.allocator.agents import Agents
from mesoslite.allocator.demand import Demand
from mesoslite.allocator.explain import explain_client, explain_requests, of_all
from mesoslite.allocator.filters import Refusals
from mesoslite.allocator.index import AgentIndex, Tuning
from mesoslite.allocator.invariants import check_clients, check_idle, check_ledgers, check_views
from mesoslite.allocator.possible import Impossible, Possible
from mesoslite.allocator.roles import Framework, Roles
from mesoslite.allocator.sorter import Holding, Quantities, quantities
from mesoslite.explanation import Blocked, Explained
from mesoslite.model import Request
from mesoslite.resources import Resources, is_dynamic
from mesoslite.where import Where

EXPLAINED_MAX = 20_000  # agents that are looked at for one answer, ~0.2 s of the master's time
_NOTHING = Resources.EMPTY


class Reading:
    """The structures of an allocator, and the questions that change none of them."""

    def __init__(
        self, weights: dict[str, Fraction], min_allocatable: Iterable[Resources], tuning: Tuning
    ) -> None:
        self._tuning = tuning
        self._min_allocatable = [quantities(amount) for amount in min_allocatable]
        self._agents = Agents()
        self._roles = Roles(self._agents.total, weights)
        self._refusals = Refusals()
        self._demand = Demand(self._agents.total)
        self._index: AgentIndex | None = None  # made for the first request
        self._possible = Possible()
        self._frameworks: dict[str, Framework] = {}
        self._able = 0  # the clients that may be offered everything now
        self._asking = 0  # those that may be offered what they request
        self._woken = 0  # those of both for whom idle agents have not been looked at

    def free(self, agent_id: str) -> Resources:
        """What nobody holds of the agent: neither offered nor used. Nothing if it is not here."""
        agent = self._agents.get(agent_id)
        return agent.free if agent is not None else _NOTHING

    def charges(self, agent_id: str) -> dict[tuple[str, str], list[Resources]]:
        """What is held of the agent, by (framework, role); several amounts if they overlap."""
        agent = self._agents.get(agent_id)
        if agent is None:
            return {}
        charges: dict[tuple[str, str], list[Resources]] = {}
        for client, amount in agent.claims():
            charges.setdefault((client.name, client.role.name), []).append(amount)
        return charges

    def total(self) -> dict[str, int]:
        """Thousandths of each scalar in the cluster, by name."""
        return self._agents.total.by_name()

    def held(self, framework_id: str) -> dict[str, int]:
        """Thousandths of each scalar that the framework's offers and tasks hold, by name."""
        framework = self._frameworks.get(framework_id)
        held = Holding()
        for client in framework.clients.values() if framework is not None else ():
            held.add(client)
        return held.by_name()

    def share(self, framework_id: str, role: str) -> float:
        """The framework's dominant share in the role, from 0 to 1 (more if the cluster shrank)."""
        framework = self._frameworks.get(framework_id)
        client = framework.clients.get(role) if framework is not None else None
        return client.share(self._agents.total) if client is not None else 0.0

    def outstanding(self, framework_id: str) -> int:
        """How many offers of the framework are not settled."""
        framework = self._frameworks.get(framework_id)
        return framework.outstanding if framework is not None else 0

    def wanted(self, framework_id: str) -> dict[str, tuple[int, int]]:
        """By request id how many units are still wanted, and how many of them are offered now."""
        framework = self._frameworks.get(framework_id)
        clients = framework.clients.values() if framework is not None else ()
        return {
            request_id: (want.wanted, want.offered)
            for client in clients
            for request_id, want in client.wants.items()
            if want.wanted
        }

    def why_impossible(self, role: str, request: Request) -> Impossible | None:
        """Why no agent could hold a unit of the request even if it were empty.

        None: one could, or there are no agents. The verdict is kept until agents change.
        """
        return self._possible.why_not(self._whole_index(), role, request)

    def to_ask(self, where: str) -> int:
        """How many agents a request with this `where` is about to be compared with, at most.

        As many as there are, or as have what it requires. Raises InvalidWhere.
        """
        return self._whole_index().to_ask(Where.parse(where))

    def _whole_index(self) -> AgentIndex:
        """The index, with all that it does not know yet noted."""
        if self._index is None:
            self._index = AgentIndex(self._tuning)
            self._index.note(self._agents)
        else:
            self._index.note(self._agents.changed)
        return self._index

    def explain(
        self, framework_id: str, role: str = "", request_id: str = ""
    ) -> tuple[Explained, ...]:
        """What keeps the framework from being offered more, for each of its roles and requests, or
        those of one role, or one request.

        True of the moment after an `allocate`. About 10 us for each agent and request: of so many
        that more than EXPLAINED_MAX agents would be looked at, only the first are explained, and
        those that wait before those that are met.
        """
        framework = self._frameworks.get(framework_id)
        clients = framework.clients.values() if framework is not None else ()
        most = max(1, EXPLAINED_MAX // max(1, len(self._agents)))
        explained: list[Explained] = []
        for client in clients:
            left = most - len(explained)
            if not client.subscribed or role not in ("", client.role.name) or not left:
                continue
            if client.demand:
                explained += explain_requests(client, self._agents, self._demand, left, request_id)
            elif not request_id:
                explained.append(
                    explain_client(
                        client,
                        self._agents,
                        self._refusals,
                        lambda amount: self._offerable(amount, quantities(amount)),
                    )
                )
        return tuple(explained)

    def keeps_all(self, framework_id: str, role: str) -> tuple[Blocked, ...]:
        """What keeps everything in a role from the framework, whatever it wants there. O(1)."""
        framework = self._frameworks.get(framework_id)
        clients = framework.clients.values() if framework is not None else ()
        client = next((one for one in clients if one.role.name == role), None)
        return () if client is None else tuple(of_all(client, self._agents))

    def check(self) -> None:
        """Assert every invariant of every structure. Tests call it after each event."""
        self._agents.check()
        self._roles.check()
        self._refusals.check(self._agents)
        clients = [c for framework in self._frameworks.values() for c in framework.clients.values()]
        self._demand.check(clients, self._agents)
        if self._index is not None:
            self._whole_index().check(self._agents)
        check_ledgers(self._agents, self._roles, self._frameworks.values())
        check_clients(self._frameworks.values(), self._able, self._asking, self._woken)
        check_idle(self._agents, self._refusals, self._able & ~self._woken)
        check_views(self._agents, self._refusals, self._offerable)

    def _offerable(self, amount: Resources, of: Quantities) -> bool:
        if not self._min_allocatable:
            return bool(amount)
        cpus, mem, disk, gpus, other = of
        for least_cpus, least_mem, least_disk, least_gpus, least_other in self._min_allocatable:
            if (
                cpus >= least_cpus
                and mem >= least_mem
                and disk >= least_disk
                and gpus >= least_gpus
                and (not least_other or _covers(dict(other), least_other))
            ):
                return True
        # Who has reserved something has to see it, if only to give it up.
        return any(map(is_dynamic, (*amount.scalars, *amount.ranges, *amount.sets)))


def _covers(have: Mapping[str, int], need: Iterable[tuple[str, int]]) -> bool:
    return all(have.get(name, 0) >= least for name, least in need)
