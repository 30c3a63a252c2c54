"""Spans in ClickHouse, counted there: ``python -m benchmarks.clickhouse SPANS FOLDER`` after ``make clickhouse``.

A mesh of 100 services; in 5 % of the traces of 20 spans one call has two attempts. The engine (chdb) is a process of
its own behind its HTTP interface. What is measured: the processor's time of both, the memory that they take, and the
bytes of the answers.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from jobs import retry_amplification
from sloctl import spec
from sloctl.backends.traces.client import open_traces
from sloctl.model import SloSet
from sloctl.settings.backends import TracesSettings
from tests.support.clickhouse import MAP, TABLE, Engine, served

BEGIN = 1_790_000_000
SLO_SET = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
sources: {traces: {backend: clickhouse, url: "http://clickhouse:8123"}}
slos: [{name: availability, service: s, namespace: shop, objective: 99, sli: {preset: availability}}]
"""
FILL = """
INSERT INTO spans (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, SpanAttributes, Duration,
    StatusCode)
WITH number + FIRST AS t, j % 2 = 1 AND j < 19 AS client, j % 2 = 0 OR (j = 19 AND retried) AS server,
    intDiv(j - 1, 2) AS c, cityHash64(t, 7) % 100 < 5 AS retried, cityHash64(t) % 50 AS g,
    concat('svc', toString((g * 7 + c * 13) % 97)) AS callee, concat('entry', toString(g % 10)) AS entry,
    concat('svc', toString((g * 7 + intDiv(c - 1, 2) * 13) % 97)) AS above, concat('svc', toString(g * 7 % 97)) AS one
SELECT fromUnixTimestamp64Nano(toInt64(BEGIN000000000 + t * 1000000 + j * 1000)), lower(hex(sipHash128(t))),
    leftPad(hex(toUInt64(t * 32 + j + 1)), 16, '0'),
    if(j = 0, '', leftPad(hex(toUInt64(t * 32 + multiIf(client AND c > 0, 3 + 2 * intDiv(c - 1, 2), client, 1,
        j = 19, retried + 1, j))), 16, '0')),
    multiIf(j = 0, 'GET /', j < 19 OR retried, 'orders.Get', 'work'),
    multiIf(client, 'Client', server, 'Server', 'Internal'),
    multiIf(j = 0 OR (j = 19 AND NOT retried) OR (client AND c = 0), entry, client, above, j = 19, one, callee),
    map('http.method', 'GET', 'http.status_code', if(retried AND j = 2, '503', '200'), 'component', 'proxy',
        'upstream_cluster', if(client, concat('outbound|80||', callee, '.shop.svc.cluster.local'), ''),
        'http.url', concat('http://shop/', toString(t)), 'user_agent', 'curl', 'peer.address', '10.0.0.1',
        'request_size', '0', 'response_size', '123', 'node_id', 'sidecar~10.0.0.1', 'zone', '',
        'guid:x-request-id', toString(t)),
    1000000 + cityHash64(t, j) % 5000000, 'Unset'
FROM numbers(COUNT) ARRAY JOIN range(20) AS j
"""


def engine(folder: str, spans: int, pipe: Connection) -> None:
    one = Engine(Path(folder))
    one.ask("DROP TABLE IF EXISTS spans")
    one.ask(TABLE.format(name="spans", attributes=MAP))
    for first in range(0, spans // 20, 25_000):
        count = min(25_000, spans // 20 - first)
        one.ask(FILL.replace("FIRST", str(first)).replace("COUNT", str(count)).replace("BEGIN", str(BEGIN)))
    before = time.process_time()
    with served(one) as url:
        pipe.send(url)
        pipe.recv()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((time.process_time() - before, peak, one.answered))


def main() -> None:
    spans, folder = int(sys.argv[1]), sys.argv[2]
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=engine, args=(folder, spans, theirs))
    child.start()
    url = ours.recv()
    slo_set = _slo_set(folder)
    start = datetime.fromtimestamp(BEGIN, UTC)
    before, began = time.process_time(), time.monotonic()
    with open_traces(TracesSettings(url, timeout=3600), "clickhouse", table="spans") as traces:
        found = retry_amplification.run(None, traces, slo_set, start + timedelta(hours=1), 3600)
        queries = traces.queries
    cpu, wall = time.process_time() - before, time.monotonic() - began
    ours.send("done")
    engine_cpu, engine_peak, answered = ours.recv()
    child.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    requests, attempts = int(found.edges["requests"].sum()), int(found.edges["attempts"].sum())
    print(f"{spans:,} spans: {len(found.edges):,} edges, {requests:,} requests, {attempts:,} attempts")
    print(f"ClickHouse: {engine_cpu:.1f} s of CPU, {engine_peak:,.0f} MB; {queries} queries")
    print(
        f"answers: {answered / 1e6:.1f} MB; sloctl: {cpu:.1f} s of CPU, {peak:,.0f} MB; {wall:.0f} s in all"
    )
    for finding in found.findings:
        if finding.code == "traces-thinned":
            print(finding.message)


def _slo_set(folder: str) -> SloSet:
    path = Path(folder).with_suffix(".yaml")
    path.write_text(SLO_SET)
    return spec.load([path])


if __name__ == "__main__":
    main()
