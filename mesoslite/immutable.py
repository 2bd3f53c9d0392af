"""`dataclass(frozen=True, slots=True)` as the standard library's has it, at a fifth of its cost.

A task on its way makes a hundred events, effects and messages over session, master and agent. A
frozen dataclass sets each of its fields through `object.__setattr__`: 400 ns for three fields,
1,800 ns for a TaskStatus. Here the same class becomes a `msgspec.Struct`, which is made, compared
and hashed in C: 70 ns and 200 ns. Nothing else differs: `dataclasses.replace`, `fields` and
`asdict`, pattern matching, repr and type checkers see a frozen dataclass.

The garbage collector does not look at them: what is made of things that were there before is in no
cycle. (Nor may a field hold what comes to refer to the noun, such as an exception.) To look at ten
thousand new offers, and at what they name, took it a fifth of the cycle that made them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, dataclass_transform

import msgspec

T = TypeVar("T")

_NOT_COPIED = ("__dict__", "__weakref__")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def dataclass(*, frozen: bool, slots: bool) -> Callable[[type[T]], type[T]]:
    """A decorator for a class without bases; `field` may give a default_factory and nothing else.

    In `__post_init__` a field is set by `fix`.
    """
    assert frozen
    assert slots
    return _struct_of


def fix(instance: object, name: str, value: object) -> None:
    """Set a field of an instance that is being made: only in its `__post_init__`."""
    msgspec.structs.force_setattr(instance, name, value)  # type: ignore[arg-type]  # it is one


def twins(instance: T, name: str, values: Iterable[object]) -> list[T]:
    """The instance again for each value, which its twin has in this field; `__post_init__` looks at
    none of them. 0.25 us each, where `replace` takes 3."""
    struct: Any = msgspec.Struct  # whose `__copy__`, which `copy` calls, its stubs do not show
    copied, set_field = struct.__copy__, msgspec.structs.force_setattr
    made: list[T] = []
    for value in values:
        twin = copied(instance)
        set_field(twin, name, value)
        made.append(twin)
    return made


class _Fields:
    """`__dataclass_fields__`, made when somebody asks: `replace` does, hot paths do not."""

    def __init__(self, annotations: dict[str, str], defaults: dict[str, Any]) -> None:
        self._namespace = {"__annotations__": annotations, **defaults}
        self._fields: dict[str, dataclasses.Field[Any]] | None = None

    def __get__(self, _instance: object, _owner: type) -> dict[str, dataclasses.Field[Any]]:
        if self._fields is None:
            twin: type[Any] = dataclasses.dataclass(type("Twin", (), self._namespace))
            self._fields = {field.name: field for field in dataclasses.fields(twin)}
        return self._fields


def _struct_of(cls: type[T]) -> type[T]:
    assert cls.__bases__ == (object,), f"{cls.__name__} has bases"
    namespace = {k: v for k, v in vars(cls).items() if k not in _NOT_COPIED}
    annotations: dict[str, str] = namespace.get("__annotations__", {})
    defaults = {name: namespace[name] for name in annotations if name in namespace}
    for name, default in defaults.items():
        if isinstance(default, dataclasses.Field):
            factory: Any = default.default_factory
            namespace[name] = msgspec.field(default_factory=factory)
    namespace["__dataclass_fields__"] = _Fields(dict(annotations), defaults)
    namespace["__qualname__"] = cls.__qualname__
    struct: Any = type(msgspec.Struct)
    made: type[T] = struct(cls.__name__, (msgspec.Struct,), namespace, frozen=True, gc=False)
    return made
