"""Who a request comes from: an address that can be believed, and the session that an open page has made up.

A session costs nothing to make up, so a share by session alone keeps honest pages apart and stops nobody. An address
can be believed where it is the other end of the connection, or where a proxy that the operator has named tells it.
Behind any other proxy, such as that of a Hugging Face Space, all requests have the same one: it counts for nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"
"""The variable of uvicorn's that names the proxies whose ``X-Forwarded-For`` it follows. It goes from the right to the
first address that is none of them, so what a stranger writes in front of it counts for nothing."""


@dataclass(frozen=True)
class Client:
    """Who asks.

    Attributes:
        address: an IPv4 address, or the /64 network of an IPv6 one, because whoever has one of these has all; None
            where addresses count for nothing.
        session: the page's session hash; None for a request that has none, such as an upload.
    """

    address: str | None = None
    session: str | None = None


def client_of(scope: Mapping[str, Any], session: str | None, addresses_count: bool) -> Client:
    """Who sent a request.

    Args:
        scope: of ASGI; ``request.scope`` of Starlette's, ``request.request.scope`` of Gradio's.
        addresses_count: see :attr:`specviz.app.server.limits.Limits.addresses_count`.
    """
    host = (scope.get("client") or ("",))[0]
    return Client(_network(host) if addresses_count else None, session)


def client_of_event(request: Any, limits: Any) -> Client:
    """Who sent an event of a page, by Gradio's request and the page's limits; see :func:`client_of`."""
    scope = request.request.scope if request.request is not None else {}
    return client_of(scope, request.session_hash, limits.addresses_count)


def _network(host: str) -> str | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a socket of the file system, or nothing
        return None
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
