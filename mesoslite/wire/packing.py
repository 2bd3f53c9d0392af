"""Envelopes: everything that has piled up goes into as few messages as possible.

Each message stays below MESSAGE_BYTES_MAX (D18). Long lists are split into several
calls of the same kind, which mean the same; what can not be split and does not fit is refused here,
at the sender's edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer as Repeated
from google.protobuf.message import Message

from mesoslite.wire.checks import MalformedMessage, too_big
from mesoslite.wire.limits import ITEMS_MAX, LIST_PIECE, MESSAGE_BYTES_MAX

M = TypeVar("M", bound=Message)
S = TypeVar("S", bound=Message)
Item = TypeVar("Item")

_HEADER_BYTES = 16  # the epoch, with its tag
_TAG_BYTES = 6  # before each item: its field and its length
_ROOM = MESSAGE_BYTES_MAX - _HEADER_BYTES


def packed(
    items: Iterable[Item],
    envelope: Callable[[], M],
    slots: Callable[[M], Repeated[S]],
    write: Callable[[S, Item], None],
    lists: Mapping[type, str],
    whole_lists: Mapping[type, str] = MappingProxyType({}),
) -> Iterator[M]:
    """The items in order, in messages of at most MESSAGE_BYTES_MAX and ITEMS_MAX words each.

    `lists` names, for each type that may be split, the field with the list; `whole_lists` those of
    types that may not. Each of a list is a word, any other item one. Raises MalformedMessage for an
    item that is too big alone or holds what protobuf does not take; what came before it has been
    given by then.
    """
    message = envelope()
    target = slots(message)
    room, words = _ROOM, 0
    counted = {**lists, **whole_lists}
    # A stack: what turns out to be too big comes back as its two halves.
    for whole in items:
        waiting = _pieces(whole, lists)
        while waiting:
            item = waiting.pop()
            slot = target.add()
            _fill(slot, item, write)
            size = slot.ByteSize() + _TAG_BYTES
            if size > _ROOM:
                del target[-1]
                waiting += _halves(item, lists, size)
                continue
            field = counted.get(type(item))
            more = 1 if field is None else len(getattr(item, field)) or 1
            if size > room or words + more > ITEMS_MAX:
                following = envelope()
                slots(following).append(slot)
                del target[-1]
                yield message
                message, target, room, words = following, slots(following), _ROOM, 0
            room -= size
            words += more
    if target:
        yield message


def _fill(slot: S, item: Item, write: Callable[[S, Item], None]) -> None:
    try:
        write(slot, item)
    except (ValueError, TypeError) as why:  # protobuf's, for what its fields can not hold
        raise unsendable(type(item).__name__, why) from None


def unsendable(field: str, why: Exception) -> MalformedMessage:
    """What to say when protobuf does not take a value: the wrong type, no Unicode, no int64."""
    return MalformedMessage(field, None, f"can not be sent: {' '.join(str(why).split())[:200]}")


def _pieces(item: Item, lists: Mapping[type, str]) -> list[Item]:
    """The item in pieces of LIST_PIECE, last one first."""
    field = lists.get(type(item))
    if field is None:
        return [item]
    members: tuple[object, ...] = getattr(item, field)
    if len(members) <= LIST_PIECE:
        return [item]
    starts = range(0, len(members), LIST_PIECE)
    return [_part(item, field, members[at : at + LIST_PIECE]) for at in reversed(starts)]


def _halves(item: Item, lists: Mapping[type, str], size: int) -> list[Item]:
    """The item in two, last one first. Raises MalformedMessage when there are no two."""
    field = lists.get(type(item))
    members: tuple[object, ...] = getattr(item, field) if field is not None else ()
    if field is None or len(members) <= 1:
        raise too_big(type(item).__name__, size, _ROOM, "bytes")
    middle = len(members) // 2
    return [_part(item, field, members[middle:]), _part(item, field, members[:middle])]


def _part(item: Item, field: str, members: tuple[object, ...]) -> Item:
    same: Any = item  # `replace` knows only of dataclasses; `lists` names nothing else
    part: Item = replace(same, **{field: members})
    return part
