"""How the members of a service are reached: addresses, and what fails together."""

from __future__ import annotations

import ipaddress
import logging
import socket

from mesoslite import Offer

ADDRESS = "address"  # the attribute of an agent that says what it is reached by
RACK = "rack"
LOOPBACK = "127.0.0.1"


def address_of(offer: Offer, log: logging.Logger) -> str:
    """What others reach an agent by. Looks its name up, so it blocks."""
    if told := _attribute(offer, ADDRESS):
        return told
    try:
        socket.getaddrinfo(offer.hostname, None)
    except OSError:
        log.warning(
            "%s is no name that can be looked up here: it is taken for this machine. Else give "
            "its agent --attributes 'address:...'", offer.hostname,
        )  # fmt: skip
        return LOOPBACK
    return offer.hostname


def rack_of(offer: Offer) -> str:
    """What fails together with an agent; empty: it does not say."""
    return _attribute(offer, RACK) or offer.zone


def _attribute(offer: Offer, name: str) -> str:
    """What its agent says of itself under that name; empty: nothing."""
    for attribute in offer.attributes:
        if attribute.name == name:
            value = attribute.value
            return f"{value / 1_000:g}" if isinstance(value, int) else str(value)
    return ""


def host_and_port(host: str, port: int) -> str:
    """As addresses are written: an IPv6 address in brackets."""
    try:
        bare = ipaddress.ip_address(host)
    except ValueError:
        return f"{host}:{port}"
    return f"[{host}]:{port}" if bare.version == 6 else f"{host}:{port}"
