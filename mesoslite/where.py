"""Where a task may run: a small expression over what an agent says of itself.

    rack != r1
    zone in (a, b) and not (hostname == h7 or level < 10)
    has ssd and rack not in (r1, "rack 2")

A name is an attribute's, or one of hostname, region, zone and containerizer. A value is a bare word
or is quoted (" or ', with \\ before a quote or a \\). From loosest to tightest bind `or`, `and`,
`not`; brackets group. The empty expression matches every agent.

An agent may have several values under one name:

    ==  =  in        true when any of them is equal
    !=  not in       the opposite: true also when there is none
    <  <=  >  >=     true when any of them is a number that compares so; false when there is none
    has              true when there is any

Texts compare as texts; numbers are compared with SCALAR attributes, in thousandths as those are
kept (`level == 10.0` matches level:10); RANGES equal their spelling. Nothing is evaluated but this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from mesoslite import immutable
from mesoslite.attributes import Attribute
from mesoslite.spelling import THOUSANDTHS, scalar_text

#: Characters of one expression. Reading takes ~0.5 us for each, so at most ~0.5 ms.
LENGTH_MAX = 1_000
#: Comparisons of one expression, each ~1 us for a place; `in` with its list is one.
COMPARISONS_MAX = 32
#: Brackets and `not`s inside each other; reading and matching call themselves as often.
DEPTH_MAX = 50
#: Shown of an expression that could not be read.
CARET_COLUMNS = 60

_PARSED_KEPT = 1_024  # expressions; ~2 kB each
_TOKEN = re.compile(
    r"""\s*(?:(?P<symbol>==|!=|<=|>=|[=<>(),])"""
    r"""|(?P<quoted>"(?:[^"\\]|\\["'\\])*"|'(?:[^'\\]|\\["'\\])*')"""
    r"""|(?P<word>[^\s()=!<>,"'&|]+))"""
)
_BLANKS = re.compile(r"\s*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BARE = re.compile(r"""[^\s()=!<>,"'&|]+""")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)  # an attribute's
_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?", re.ASCII)
_KEYWORDS = frozenset({"and", "or", "not", "in", "has"})
_EQUAL, _UNEQUAL = ("==", "="), "!="
_ORDERINGS = ("<", "<=", ">", ">=")


class InvalidWhere(ValueError):
    """What was written is no expression; the message is one line with the place.

    `at` is the character, from 1, that it is about; `caret` is the text with a mark under it.
    """

    def __init__(self, text: str, at: int, why: str) -> None:
        super().__init__(text, at, why)
        self.text, self.at, self.why = text, at, why

    def __str__(self) -> str:
        return f"where: {self.why}, at character {self.at}"

    @property
    def caret(self) -> str:
        """Two lines for a terminal: the expression, and a ^ under where it went wrong.

        Of a long one the CARET_COLUMNS around the place, with ... for what is left out.
        """
        start = max(0, min(self.at - 1 - CARET_COLUMNS // 2, len(self.text) - CARET_COLUMNS))
        end = start + CARET_COLUMNS
        before, after = "..." if start else "", "..." if end < len(self.text) else ""
        shown = "".join(c if c.isprintable() else "?" for c in self.text[start:end])
        mark = " " * (len(before) + self.at - 1 - start)
        return f"{before}{shown}{after}\n{mark}^"


@immutable.dataclass(frozen=True, slots=True)
class Place:
    """Where an agent is: all that an expression can speak of."""

    hostname: str = ""
    attributes: tuple[Attribute, ...] = ()
    region: str = ""
    zone: str = ""
    containerizers: tuple[str, ...] = ()

    def values(self, name: str) -> Iterator[str | Attribute]:
        """What the place has under a name; attributes called zone stand beside the zone itself."""
        if name == "hostname" and self.hostname:
            yield self.hostname
        elif name == "region" and self.region:
            yield self.region
        elif name == "zone" and self.zone:
            yield self.zone
        elif name == "containerizer":
            yield from self.containerizers
        for attribute in self.attributes:
            if attribute.name == name:
                yield attribute

    def facts(self) -> Iterator[tuple[str, str]]:
        """Each (name, value as it is spelled): what `Where.required` is looked up in."""
        for name, text in (
            ("hostname", self.hostname),
            ("region", self.region),
            ("zone", self.zone),
        ):
            if text:
                yield name, text
        for containerizer in self.containerizers:
            yield "containerizer", containerizer
        for attribute in self.attributes:
            yield attribute.name, attribute.value_text()


@dataclass(frozen=True, slots=True)
class Where:
    """An expression that was read. Equal when they read the same; `str` writes it back."""

    root: Node | None
    """None: it matches every place."""
    required: tuple[tuple[str, str], ...] = field(compare=False, default=())
    """(name, value) pairs that must all be among the `facts` of a place for it to match: those
    that `and` joins outermost. An index of facts narrows a search with them; the verdict remains
    with `matches`."""
    names: frozenset[str] = field(compare=False, default=frozenset())
    """All names that it speaks of: what a place has under others does not change the verdict."""

    @staticmethod
    def parse(text: str) -> Where:
        """Read an expression. Raises InvalidWhere. The latest thousand are remembered."""
        return _parse(text)

    def matches(self, place: Place) -> bool:
        """Whether the place is as the expression says: ~1 us for each comparison in it, and
        0.1 us for each attribute that is looked through."""
        return self.root is None or self.root.holds(place)

    def __str__(self) -> str:
        return "" if self.root is None else self.root.text()


# --- what an expression is made of ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Is:
    """`name == a`, or `name in (a, b)`: any value under the name is one of these."""

    name: str
    texts: tuple[str, ...]
    milli: tuple[int, ...] = field(compare=False)
    """Those of the texts that are numbers, in thousandths."""

    def holds(self, place: Place) -> bool:
        """Whether it is so."""
        for value in place.values(self.name):
            if isinstance(value, str):
                if value in self.texts:
                    return True
            elif isinstance(value.value, int):
                if value.value in self.milli:
                    return True
            elif value.value_text() in self.texts:
                return True
        return False

    def text(self) -> str:
        """As it is written."""
        if len(self.texts) == 1:
            return f"{spelled(self.name)} == {spelled(self.texts[0])}"
        return f"{spelled(self.name)} in ({', '.join(map(spelled, self.texts))})"


@dataclass(frozen=True, slots=True)
class Compares:
    """`name < number`, and its like: any number under the name compares so."""

    name: str
    operator: str
    milli: int

    def holds(self, place: Place) -> bool:
        """Whether it is so."""
        for value in place.values(self.name):
            if isinstance(value, Attribute) and isinstance(value.value, int):
                have = value.value
                match self.operator:
                    case "<":
                        so = have < self.milli
                    case "<=":
                        so = have <= self.milli
                    case ">":
                        so = have > self.milli
                    case _:
                        so = have >= self.milli
                if so:
                    return True
        return False

    def text(self) -> str:
        """As it is written."""
        return f"{spelled(self.name)} {self.operator} {scalar_text(self.milli)}"


@dataclass(frozen=True, slots=True)
class Has:
    """`has name`: there is any value under the name."""

    name: str

    def holds(self, place: Place) -> bool:
        """Whether it is so."""
        return any(True for _ in place.values(self.name))

    def text(self) -> str:
        """As it is written."""
        return f"has {spelled(self.name)}"


@dataclass(frozen=True, slots=True)
class Not:
    """`not part`; of an `Is` it is written `!=` and `not in`."""

    part: Node

    def holds(self, place: Place) -> bool:
        """Whether it is so."""
        return not self.part.holds(place)

    def text(self) -> str:
        """As it is written."""
        if isinstance(self.part, Is):
            name, texts = spelled(self.part.name), self.part.texts
            if len(texts) == 1:
                return f"{name} != {spelled(texts[0])}"
            return f"{name} not in ({', '.join(map(spelled, texts))})"
        return f"not {_bracketed(self.part)}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """`one and other and ...`"""

    parts: tuple[Node, ...]

    def holds(self, place: Place) -> bool:
        """Whether it is so."""
        return all(part.holds(place) for part in self.parts)

    def text(self) -> str:
        """As it is written."""
        return " and ".join(_bracketed(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`one or other or ...`"""

    parts: tuple[Node, ...]

    def holds(self, place: Place) -> bool:
        """Whether it is so."""
        return any(part.holds(place) for part in self.parts)

    def text(self) -> str:
        """As it is written."""
        return " or ".join(
            f"({part.text()})" if isinstance(part, AnyOf) else part.text() for part in self.parts
        )


Node = Is | Compares | Has | Not | AllOf | AnyOf


def _bracketed(part: Node) -> str:
    return f"({part.text()})" if isinstance(part, AllOf | AnyOf) else part.text()


def spelled(text: str) -> str:
    """A name or a value as it is written, quoted when it could be read as something else."""
    if _BARE.fullmatch(text) is not None and text not in _KEYWORDS:
        return text
    mark = '"' if text.count('"') <= text.count("'") else "'"
    escaped = text.replace("\\", "\\\\").replace(mark, f"\\{mark}")
    return f"{mark}{escaped}{mark}"


def _milli(text: str) -> int | None:
    """A number as attributes keep it: rounded half-even to thousandths. None: it is none."""
    return round(Fraction(text) * THOUSANDTHS) if _NUMBER.fullmatch(text) is not None else None


# --- reading --------------------------------------------------------------------------------------


class _Token(NamedTuple):
    kind: str
    """`symbol`, `word`, `quoted` or `end`."""
    text: str
    at: int
    """Of its first character, from 1."""


@lru_cache(maxsize=_PARSED_KEPT)
def _parse(text: str) -> Where:
    if len(text) > LENGTH_MAX:
        why = f"{len(text)} characters, and at most {LENGTH_MAX} are read"
        raise InvalidWhere(text, LENGTH_MAX + 1, why)
    reader = _Reader(text)
    if reader.next.kind == "end":
        return Where(None)
    root = reader.either(0)
    if reader.next.kind != "end":
        raise reader.expected("'and', 'or' or the end")
    return Where(root, tuple(_required(root)), frozenset(reader.names))


def _required(root: Node) -> Iterator[tuple[str, str]]:
    for part in root.parts if isinstance(root, AllOf) else (root,):
        if isinstance(part, AllOf):
            yield from _required(part)
        elif isinstance(part, Is) and len(part.texts) == 1:
            text = part.texts[0]
            # A number that is spelled otherwise than attributes spell it may equal two facts:
            # the number itself, and a TEXT of just these characters.
            if not part.milli or scalar_text(part.milli[0]) == text:
                yield part.name, text


class _Reader:
    """Recursive descent, one token ahead. O(length)."""

    def __init__(self, text: str) -> None:
        self.text = text
        #: Of each comparison that was read.
        self.names: list[str] = []
        self._tokens = self._scan()
        self.next = next(self._tokens)

    def either(self, depth: int) -> Node:
        """`... or ...`"""
        parts = [self._both(depth)]
        while self._took_word("or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _both(self, depth: int) -> Node:
        parts = [self._one(depth)]
        while self._took_word("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _one(self, depth: int) -> Node:
        if depth >= DEPTH_MAX:
            why = f"more than {DEPTH_MAX} brackets and nots inside each other"
            raise InvalidWhere(self.text, self.next.at, why)
        if self._took_word("not"):
            return Not(self._one(depth + 1))
        opened = self.next
        if self._took("("):
            inner = self.either(depth + 1)
            if not self._took(")"):
                raise self.expected(f"')' to close the one at character {opened.at}")
            return inner
        if self._took_word("has"):
            return Has(self._name())
        return self._test()

    def _test(self) -> Node:
        name = self._name()
        operator = self.next
        if self._took_word("not"):
            if not self._took_word("in"):
                raise self.expected("'in' after 'not'")
            return Not(self._list(name))
        if self._took_word("in"):
            return self._list(name)
        if operator.kind != "symbol" or operator.text in ("(", ")", ","):
            raise self.expected(f"==, !=, <, <=, >, >=, 'in' or 'not in' after {name!r}")
        self._advance()
        if operator.text in _ORDERINGS:
            return Compares(name, operator.text, self._number(operator.text))
        test = _is(name, [self._value(operator.text)])
        return Not(test) if operator.text == _UNEQUAL else test

    def _list(self, name: str) -> Is:
        if not self._took("("):
            raise self.expected("'(' after 'in', as zone in (a, b)")
        values = [self._value("(")]
        while self._took(","):
            values.append(self._value(","))
        if not self._took(")"):
            raise self.expected("',' or ')'")
        return _is(name, values)

    def _name(self) -> str:
        token = self.next
        if token.kind not in ("word", "quoted") or self._keyword(token):
            raise self.expected("a name, as that of an attribute or hostname")
        if _NAME.fullmatch(token.text) is None:
            why = f"{token.text[:60]!r} is no name: a letter, then up to 63 of A-Z a-z 0-9 _ . -"
            raise InvalidWhere(self.text, token.at, why)
        if len(self.names) >= COMPARISONS_MAX:
            why = f"more than {COMPARISONS_MAX} comparisons; 'in (a, b)' is one"
            raise InvalidWhere(self.text, token.at, why)
        self.names.append(token.text)
        self._advance()
        return token.text

    def _value(self, after: str) -> str:
        token = self.next
        if token.kind not in ("word", "quoted"):
            raise self.expected(f"a value after {after!r}")
        if self._keyword(token):
            raise self.expected(f"a value after {after!r} (quoted, if {token.text!r} is meant)")
        if not token.text.isprintable():
            raise InvalidWhere(self.text, token.at, "a value has a character that is not printable")
        self._advance()
        return token.text

    def _number(self, after: str) -> int:
        token = self.next
        number = _milli(token.text) if token.kind == "word" else None
        if number is None:
            raise self.expected(f"a number after {after!r}")
        self._advance()
        return number

    def _took(self, symbol: str) -> bool:
        if self.next.kind != "symbol" or self.next.text != symbol:
            return False
        self._advance()
        return True

    def _took_word(self, word: str) -> bool:
        if self.next.kind != "word" or self.next.text != word:
            return False
        self._advance()
        return True

    def _keyword(self, token: _Token) -> bool:
        return token.kind == "word" and token.text in _KEYWORDS

    def _advance(self) -> None:
        self.next = next(self._tokens)

    def _scan(self) -> Iterator[_Token]:
        at = 0
        while (found := _TOKEN.match(self.text, at)) is not None:
            kind = str(found.lastgroup)
            token = found[kind]
            if kind == "quoted":
                token = _ESCAPED.sub(r"\1", token[1:-1])
            yield _Token(kind, token, found.start(kind) + 1)
            at = found.end()
        blanks = _BLANKS.match(self.text, at)
        at = blanks.end() if blanks is not None else at
        if at < len(self.text):
            raise InvalidWhere(self.text, at + 1, _unread(self.text, at))
        yield _Token("end", "", at + 1)

    def expected(self, what: str) -> InvalidWhere:
        """The error that says what would have been right here."""
        have = "the end" if self.next.kind == "end" else repr(self.next.text[:60])
        return InvalidWhere(self.text, self.next.at, f"expected {what}, not {have}")


def _is(name: str, values: list[str]) -> Is:
    texts = tuple(dict.fromkeys(values))
    return Is(name, texts, tuple(n for text in texts if (n := _milli(text)) is not None))


def _unread(text: str, at: int) -> str:
    """Why nothing that begins here can be read."""
    match text[at]:
        case '"' | "'":
            return "a quote that is not closed, or holds a \\ that is before no quote and no \\"
        case "&" | "|":
            return f"{text[at]!r} is not understood; write 'and' or 'or'"
        case "!":
            return "'!' is not understood; write 'not' or '!='"
        case other:
            return f"{other!r} is not understood"
