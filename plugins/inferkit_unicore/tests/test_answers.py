"""What a site answers is believed within bounds."""

import json

import httpx
import numpy as np
import pytest
from inferkit_unicore import answers
from unicore_helpers import remote_study

from inferkit.errors import ExecutorError, InferkitError
from inferkit.simulate.node import seal

INDEX = np.arange(10, 20)
SHARD = {"kind": "shard", "name": "shards/r0000-a.safetensors", "size": 900, "sha256": "0" * 64,
         "rows": [[10, 13], [15, 16]], "seconds": 0.5, "counts": {"ok": 4}, "messages": ["x"]}
BEGIN = {"kind": "begin", "ranks": 1, "workers": 4}


def test_lines_as_nodes_write_them():
    for told in (SHARD, BEGIN, {"kind": "end"}, {"kind": "error", "what": "?"}):
        assert answers.line(told, INDEX, 1) == told


@pytest.mark.parametrize("told", [
    {**BEGIN, "ranks": 10**9}, {**BEGIN, "ranks": "4"}, {**BEGIN, "ranks": True},
    {**BEGIN, "workers": -1}, {**SHARD, "rows": [[0, 10**12]]},
    {**SHARD, "rows": [[10, 20], [10, 20]]}, {**SHARD, "rows": [[13, 10]]},
    {**SHARD, "rows": [[10.0, 12.0]]}, {**SHARD, "rows": "all"}, {**SHARD, "rows": None},
    {**SHARD, "size": 10**15}, {**SHARD, "size": None}, {**SHARD, "sha256": "no"},
    {**SHARD, "name": "../../x"}, {**SHARD, "name": 3}, {**SHARD, "seconds": float("nan")},
    {**SHARD, "counts": {"ok": 10**9}}, {**SHARD, "counts": []}, {**SHARD, "messages": "x"},
    {"kind": "?"}, {}, [], "line", None,
])
def test_lines_that_make_no_sense(told):
    with pytest.raises(answers.Unsound):
        answers.line(told, INDEX, 1)


def test_messages_are_few_and_short():
    told = answers.line({**SHARD, "messages": ["y" * 10**6] * 5000}, INDEX, 1)
    assert len(told["messages"]) == answers.MESSAGES and len(told["messages"][0]) == answers.LONGEST


def test_text_cannot_write_on_the_terminal():
    nasty = "\x1b[2J\x1b[31mred\x1b[0m \x1b]0;title\x07a\rb\x9b\tc\nd"
    assert answers.printable(nasty) == "red ab\tc\nd"


class Endless(httpx.SyncByteStream):
    taken = 0

    def __iter__(self):
        while True:
            self.taken += 1 << 20
            yield bytes(1 << 20)


def test_an_endless_answer_is_not_read_on():
    body = Endless()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=body))
    with httpx.Client(transport=transport, event_hooks={"response": [answers.bound]}) as http:
        with pytest.raises(ExecutorError, match="more than 32 MB"):
            http.get("https://site.example/rest")
        assert body.taken <= answers.ANSWER + (2 << 20)


@pytest.mark.parametrize("told", [{**BEGIN, "ranks": 10**9}, {**SHARD, "rows": [[0, 10**12]]}])
def test_a_lying_manifest_costs_a_job_and_no_more(site, tmp_path, told):
    site.faults.add("replace", "GET", "files/.*manifest", times=10**6, body=seal(told))
    study = remote_study(site, tmp_path / "run", patience=5.0)
    with pytest.raises(InferkitError, match="makes no sense"):
        study.simulate(4)


def test_a_list_where_a_table_is_due(site, tmp_path):
    site.faults.add("replace", "GET", "/jobs/[^/]*$", times=10**6, body=json.dumps([1]).encode())
    with pytest.raises(InferkitError, match="not a table"):
        remote_study(site, tmp_path / "run", patience=2.0).simulate(4)
