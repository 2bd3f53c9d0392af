"""What a master told, as JSON for scripts: a stable form that says every field.

Names are the protobuf JSON names of protos/mesoslite/v1/operator.proto. Unlike protobuf's own JSON
every number is a number, an unset optional is null, an enum member is its name without the prefix
(`RUNNING`), and resources carry Mesos's spelling beside the numbers.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from mesoslite.cli.amounts import json_of_resources, number
from mesoslite.v1.operator_pb2 import GetEntryResponse

_NUMBER_OF_UNSPECIFIED = 0


def text_of(document: object) -> str:
    """The document as it is printed: indented, in the order of the fields."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def document_of(message: Message) -> dict[str, object]:
    """A message as a document, with every field that it could have."""
    return {field.json_name: _value_of(message, field) for field in message.DESCRIPTOR.fields}


def entry_of(reply: GetEntryResponse) -> dict[str, object]:
    """An entry of a framework's store: its value as text, or in base64 when it is none."""
    value = reply.entry.value
    try:
        text, in_base64 = value.decode(), None
    except UnicodeDecodeError:
        text, in_base64 = None, b64encode(value).decode()
    return {
        "frameworkId": reply.framework_id,
        "version": reply.entry.version,
        "value": text,
        "valueBase64": in_base64,
    }


def _value_of(message: Message, field: Any) -> object:
    value: Any = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return dict(sorted(value.items()))
    if field.is_repeated:
        if kind is None:
            return list(value)
        match kind.name:
            case "Resource":
                return json_of_resources(value)
            case "Attribute":
                return [_attribute_of(one) for one in value]
            case _:
                return [document_of(one) for one in value]
    if kind is not None:
        return document_of(value) if message.HasField(field.name) else None
    if field.has_presence and not message.HasField(field.name):
        return None
    if field.enum_type is not None:
        return member_name(field.enum_type, value)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _attribute_of(attribute: Any) -> dict[str, object]:
    value: object
    match attribute.WhichOneof("value"):
        case "scalar_milli":
            value = number(attribute.scalar_milli)
        case "ranges":
            value = [[one.low, one.high] for one in attribute.ranges.ranges]
        case _:
            value = attribute.text
    return {"name": attribute.name, "value": value}


def member_name(kind: EnumDescriptor, member: int) -> str | None:
    """The name of an enum's member without its prefix; None for unspecified.

    A member that a newer master knows and this command does not is its number.
    """
    if member == _NUMBER_OF_UNSPECIFIED:
        return None
    known = kind.values_by_number.get(member)
    if known is None:
        return str(member)
    prefix = kind.values_by_number[_NUMBER_OF_UNSPECIFIED].name.removesuffix("UNSPECIFIED")
    return known.name.removeprefix(prefix)
