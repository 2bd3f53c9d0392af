"""Who the members of a service are, and what the framework's store keeps of that.

An entry of the store is written under the version that it had when it was read last: so of two
schedulers that both believe to be the service's only one writes.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping

from mesoslite import Store, StoreConflict
from mesoslite_services.members import Identity, Member, Place

IDENTITY, MEMBER = "identity", "member/"  # keys of the store
PREFIX_MAX = 64  # characters of a framework's name that go into ids as they are
_PLAIN = re.compile(rf"[A-Za-z0-9._-]{{1,{PREFIX_MAX}}}")
_OTHER = re.compile(r"[^A-Za-z0-9._-]")


class Roster:
    """The members of one service, in order. What changes the store says so."""

    def __init__(self, noun: str, count: int, log: logging.Logger) -> None:
        """`count` members, called `NOUN-0` and so on, of a service that is not known yet."""
        self.noun = noun
        self.count = count
        self.identity: Identity | None = None
        self.members: dict[str, Member] = {}
        self._log = log
        self._version = 0
        """Of the identity's entry; 0: the store has none."""

    # --- who they are -----------------------------------------------------------------------------

    def begin(self, identity: Identity) -> None:
        """Be the service of this identity."""
        self.identity = identity
        for index in range(identity.members):
            name = f"{self.noun}-{index}"
            self.members.setdefault(name, Member(name, index))

    def take_over(self, identity: Identity) -> None:
        """Be the service that an earlier run was, as large as it is to be now."""
        if identity.members > self.count:
            self._log.warning(
                "it has %d %ss, and none is ever removed: they are kept",
                identity.members, self.noun,
            )  # fmt: skip
        self.begin(identity.grown(self.count, 0))

    def founders(self) -> list[Member]:
        """The members that all others are told of, in order."""
        assert self.identity is not None
        return [self.members[f"{self.noun}-{at}"] for at in range(self.identity.founders)]

    def founders_placed(self) -> bool:
        """Whether all of them have their places."""
        return self.identity is not None and all(one.place for one in self.founders())

    def next_to_place(self) -> Member | None:
        """The first member that has no place. One that an earlier life had is not among them."""
        kept = 0 if self.identity is None else self.identity.kept
        members = self.members.values()
        return next((one for one in members if one.place is None and one.index >= kept), None)

    def on(self, agent_id: str) -> list[Member]:
        """The members whose places are on an agent."""
        return [
            member
            for member in self.members.values()
            if member.place is not None and member.place.agent_id == agent_id
        ]

    # --- what an earlier life has left ------------------------------------------------------------

    async def adopt(self, store: Store, name: str, identity: Identity, place: Place) -> None:
        """Take up a place that was reserved for a member before, if it is this service's."""
        if self._is_nobodys_yet():
            self.take_over(identity)
        assert self.identity is not None
        member = self.members.get(name)
        if member is not None and member.place is not None:
            return  # it is where it is known to be, nearly always
        if self.identity.cluster_id != identity.cluster_id:
            self._log.warning("%s on %s is another service's", name, place.hostname)
            return
        self.begin(self.identity.grown(self.count, identity.kept))
        member = self.members[name]
        self._log.info("%s is found again on %s", name, place.hostname)
        member.place = place
        await self._keep_identity(store)
        member.version = await store.put(f"{MEMBER}{name}", member.entry(), member.version)

    def _is_nobodys_yet(self) -> bool:
        """Whether no member can have data under the identity: agents may register long after the
        look for an earlier life was over, and what is found then is the service still."""
        if self.identity is None:
            return True
        places = [one.place for one in self.members.values() if one.place is not None]
        return not self._version and not self.identity.kept and not places

    # --- the store --------------------------------------------------------------------------------

    async def load(self, store: Store) -> bool:
        """Read what it knows; False: nothing, for the service is new, or was torn down before."""
        entry = await store.get(IDENTITY)
        if entry is None:
            return False
        self._version = entry.version
        identity = Identity.of_entry(entry.value)
        self.take_over(identity)
        if self.identity != identity:
            await self._keep_identity(store)
        for key in await store.keys(MEMBER):
            kept = await store.get(key)
            member = self.members.get(key.removeprefix(MEMBER))
            if kept is not None and member is not None:
                member.restore(kept.value, kept.version)
        return True

    def entries(self, member: Member) -> Mapping[str, tuple[bytes, int]]:
        """What an accept is to write along with what it does for a member (D16)."""
        entries = {f"{MEMBER}{member.name}": (member.entry(), member.version)}
        if not self._version:
            assert self.identity is not None
            entries[IDENTITY] = (self.identity.entry(), 0)
        return entries

    async def read(self, store: Store, member: Member) -> None:
        """What became of what was written along with an accept: it was done, or nothing was."""
        entry = await store.get(f"{MEMBER}{member.name}")
        if entry is None:
            member.place, member.version = None, 0
        else:
            member.restore(entry.value, entry.version)
        if not self._version and (kept := await store.get(IDENTITY)) is not None:
            self._version = kept.version

    async def drop(self, store: Store, member: Member) -> bool:
        """Forget its place; False: it has changed meanwhile."""
        try:
            await store.delete(f"{MEMBER}{member.name}", member.version)
        except StoreConflict:
            await self.read(store, member)
            return False
        member.place, member.version = None, 0
        return True

    async def _keep_identity(self, store: Store) -> None:
        assert self.identity is not None
        self._version = await store.put(IDENTITY, self.identity.entry(), self._version)


def kept_as(service: str, member: Member) -> str:
    """The id of a member's reservation and of its volume: its role may have other services.

    For a service whose name no id can have, what an id can, and a hash that tells such names apart.
    """
    if _PLAIN.fullmatch(service) is None:
        digest = hashlib.sha256(service.encode()).hexdigest()[:8]
        service = f"{_OTHER.sub('-', service)[: PREFIX_MAX - 9]}-{digest}"
    return f"{service}.{member.name}"
