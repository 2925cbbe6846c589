"""The attack tool itself, without a server: whom it attacks, what bounds it, and verdicts that can fail."""

from __future__ import annotations

import gzip
import json

import pytest

from specviz.trace.io import parse_trace
from tests.tools import attack, attack_traces
from tests.tools.attack_attacker import MOST_BYTES, Attacker, loopback, run_id, sentence
from tests.tools.attack_verdicts import FILES_MB, LINKS_MB, LOG_MB, Click, Seen, percentile, verdicts

ELSEWHERE = ("192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "localhost.example", "127.0.0.1.example", "")


def attacker(url: str = "http://127.0.0.1:9", seconds: float = 60.0, **more) -> Attacker:
    return Attacker(url, page=None, seconds=seconds, pid=0, tmp=None, log=None, **more)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_nothing_but_this_machine_is_attacked(address, capsys):
    with pytest.raises(SystemExit, match="no loopback address"):
        loopback(address)
    with pytest.raises(SystemExit):
        attack.main(["--host", address, "--only", "idle"])
    for asked in (attacker().web, attacker().connect, attacker().tab):
        with pytest.raises(SystemExit, match="no loopback address"):
            asked(address)
    with pytest.raises(SystemExit, match="no loopback address"):
        attacker(f"http://[{address}]:80" if ":" in address else f"http://{address}:80")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.255.0.9", "::1"])
def test_loopback_addresses_are(address):
    assert loopback(address) == address


def test_an_attack_is_bounded():
    assert not attacker().over
    assert attacker(seconds=0.0).over
    assert attacker(moved=MOST_BYTES + 1).over
    with pytest.raises(OSError, match="no more connections"):
        attacker(_connections=10_000).connect()


def test_every_item_has_a_case_and_every_case_a_name():
    assert {case.item for case in attack.CASES} == set(range(1, 11)) == set(attack.ITEMS)
    names = [case.name for case in attack.CASES]
    assert len(set(names)) == len(names)
    assert [case.name for case in attack.choose(None)] == ["idle", *names]
    assert [case.name for case in attack.choose(["links"])] == ["links"]
    with pytest.raises(SystemExit, match="no case 'nothing'; there are idle, long strings"):
        attack.choose(["nothing"])


def seen(**more) -> Seen:
    """Of a page that holds."""
    clicks = [Click(kind, 0.1) for kind in ("open", "list") for _ in range(20)] + [Click("file", 0.5)]
    return Seen(
        **{
            "clicks": clicks,
            "steps": [Click("step", 40.0)],
            "idle_mb": 1000.0,
            "peak_mb": 1900.0,
            "answered": {"200": 3},
        }
        | more
    )


def failed(some: Seen, honest: bool = True) -> list[str]:
    return [verdict.name for verdict in verdicts(some, honest) if not verdict.holds]


def test_a_page_that_holds_holds():
    assert failed(seen()) == []
    assert failed(seen(busy=9)) == [], "a step may be told to wait"
    assert failed(Seen(), honest=False) == []


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [
        ({"clicks": []}, "no click fails"),
        ({"clicks": [Click("open", 0.1, "500")]}, "no click fails"),
        ({"clicks": [Click("open", 0.1)] * 20 + [Click("open", 1.2)] * 2}, "clicks under 1 s"),
        ({"clicks": [Click("open", 0.1)] * 900 + [Click("file", 1.2)] * 2}, "clicks under 1 s"),
        ({"steps": [Click("step", 0.1, "another run was begun")]}, "no step fails"),
        ({"peak_mb": 2001.0}, "memory"),
        ({"files_mb": FILES_MB + 1}, "disk"),
        ({"links_mb": LINKS_MB + 1}, "disk"),
        ({"log_mb": LOG_MB + 0.1}, "log"),
        ({"faults": ["it answered 500"]}, "the attack itself"),
    ],
)
def test_each_verdict_can_fail(wrong, verdict):
    some = seen(**wrong)
    assert verdict in failed(some)
    result = attack.Result(3, "links", "asks", some, list(verdicts(some)))
    assert not result.holds
    assert "FAILS  3 links: asks" in next(result.lines())
    assert verdict in list(attack.table([result]))[-1]
    (written,) = json.loads(attack.as_json([result]))
    assert not written["holds"]
    assert written["seen"]["answered"] == {"200": 3}


def test_one_slow_click_of_many_is_no_percentile():
    assert failed(seen(clicks=[Click("open", 0.1)] * 40 + [Click("open", 3.0)])) == []
    assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert percentile(list(range(1, 101)), 0.95) == 95


def test_what_an_answer_says():
    assert sentence('{"detail":"The page is busy."}') == "The page is busy."
    assert sentence('["{\\"notice\\":{\\"kind\\":\\"error\\",\\"text\\":\\"No file came.\\"}}"]') == "No file came."
    assert sentence("<html>") == ""
    assert run_id('[{"run":{"id":"a"},"frames":[]},{}]') == run_id('{"run":{"id":"a"}}') == "a"
    assert run_id('{"notice":{}}') is run_id("nothing") is None
    one = attacker()
    one.note("507 All the files that one can have (12) are there")
    one.note("507 All the files that one can have (13) are there")
    assert one.answered == {"507 All the files that one can have (N) are there": 2}


def test_the_files_it_sends_are_what_they_are_called():
    path = ("steps", 0, "verdicts", "rejection", "decisions", 0, "reason")
    long = json.loads(gzip.decompress(attack_traces.with_value(path, "x" * 5000, "long")))
    assert len(long["steps"][0]["verdicts"]["rejection"]["decisions"][0]["reason"]) == 5000
    assert len(parse_trace(attack_traces.heavy("heavy", 500_000)).steps) == 2
    noisy = attack_traces.noisy("noisy", 1, 300_000)
    assert len(noisy) > 150_000
    assert parse_trace(noisy).id == "noisy"
    assert "\u202e" in gzip.decompress(attack_traces.turning()).decode()
