"""Shares of clients, and who a client is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from specviz.app.server.clients import Client, client_of
from specviz.app.server.forwarded import UNNAMED, ForwardedNotice
from specviz.app.server.limits import Limits, read_limits
from specviz.app.server.pools import Pool
from specviz.errors import BusyError, SettingsError


def test_no_session_and_no_address_takes_more_than_its_share_and_all_that_is_given_back_is_there_again() -> None:
    pool = Pool("links", total=8, of_session=2, of_address=4)
    one, other = Client("192.0.2.1", "a"), Client("192.0.2.2", "z")
    pool.take(one, 2)
    with pytest.raises(BusyError, match=r"all the links that one visitor can have \(2\)"):
        pool.take(one)
    pool.take(Client("192.0.2.1", "b"), 2)  # another session of the same address
    with pytest.raises(BusyError, match=r"\(4\)"):
        pool.take(Client("192.0.2.1", "c"))
    pool.take(other, 2)
    pool.take(Client(session="y"), 2)  # of no address that is known
    with pytest.raises(BusyError, match=r"All the links that this page has \(8\)"):
        pool.take(Client("192.0.2.3", "x"))
    assert (pool.held, pool.held_by(one), pool.held_by(other)) == (8, 2, 2)

    pool.give_back(one, 2)
    with pool.lent(one):
        assert pool.held_by(one) == 1
    for client in (Client("192.0.2.1", "b"), other, Client(session="y")):
        pool.give_back(client, 2)
    assert pool.held == 0
    assert not pool._held, "names that strangers have made up would stay"


def test_a_pool_of_a_public_page_is_shared_and_that_of_a_private_one_is_its_only_visitors() -> None:
    one = Client("192.0.2.1", "a")
    Limits().pool("places", 32).take(one, 32)
    public = Limits(public=True).pool("places", 32)
    with pytest.raises(BusyError):
        public.take(one, 5)
    public.take(one, 4)


def _seen(proxies: str, peer: str, forwarded: str | None, environment: dict[str, str]) -> str | None:
    """The address that counts for a request that came from ``peer``, through what uvicorn does with its headers."""
    limits = read_limits(environment, public=True, proxies=proxies)
    found: list[Client] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append(client_of(scope, "s", limits.addresses_count))

    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    scope: Any = {"type": "http", "client": (peer, 1234), "headers": headers, "scheme": "http"}
    asyncio.run(ProxyHeadersMiddleware(application, ",".join(limits.proxies))(scope, None, None))  # type: ignore[arg-type]
    assert found[0].session == "s"
    return found[0].address


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ("", "192.0.2.1", None, "192.0.2.1"),
        ("", "127.0.0.1", "203.0.113.9", "127.0.0.1"),  # forged, also from this machine
        ("10.0.0.0/8", "192.0.2.1", "203.0.113.9", "192.0.2.1"),  # forged by somebody who is no proxy
        ("10.0.0.0/8", "10.0.0.2", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.0/8", "10.0.0.2", "203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first part is forged
        ("10.0.0.0/8", "10.0.0.2", "203.0.113.9, 198.51.100.7, 10.1.1.1", "198.51.100.7"),  # two proxies
        ("10.0.0.2", "10.0.0.2", "not an address", None),
        ("", "2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("", "::ffff:192.0.2.1", None, "192.0.2.1"),
    ],
)
def test_an_address_is_the_peers_or_what_a_trusted_proxy_says(
    proxies: str, peer: str, forwarded: str | None, address: str | None
) -> None:
    assert _seen(proxies, peer, forwarded, {}) == address


def test_on_a_space_no_address_counts_unless_its_proxy_is_named() -> None:
    assert _seen("", "10.0.0.2", "203.0.113.9", {"SPACE_ID": "a/b"}) is None
    assert _seen("10.0.0.0/8", "10.0.0.2", "203.0.113.9", {"SPACE_ID": "a/b"}) == "203.0.113.9"


def test_a_proxy_is_an_address_or_a_network() -> None:
    assert read_limits({"SPECVIZ_PROXIES": "10.0.0.0/8, 2001:db8::1"}).proxies == ("10.0.0.0/8", "2001:db8::1")
    with pytest.raises(SettingsError, match=r"'proxy\.example' is no address of a proxy"):
        read_limits({"SPECVIZ_PROXIES": "proxy.example"})


@pytest.mark.parametrize(("proxies", "said"), [((), 1), (("10.0.0.0/8",), 0)])
def test_a_proxy_that_nobody_has_named_is_logged_once(
    proxies: tuple[str, ...], said: int, caplog: pytest.LogCaptureFixture
) -> None:
    notice = ForwardedNotice(Limits(proxies=proxies))
    for headers in ([], [(b"x-forwarded-for", b"192.0.2.1")], [(b"x-forwarded-for", b"192.0.2.2")]):
        notice.look_at({"headers": headers})
    assert [record.getMessage() for record in caplog.records] == [UNNAMED] * said
