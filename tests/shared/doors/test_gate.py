"""The gate of every service: what a body may be, what every answer carries; on real sockets where it matters."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.types import EventDict

from shared.doors.doors import Doors
from shared.doors.gate import Gate
from tests.shared.doors.chains import bearer

KEYED = {"Idempotency-Key": "k"}
JSON = {"Content-Type": "application/json"}


async def post(http: httpx2.AsyncClient, body: str | bytes, **headers: str) -> httpx2.Response:
    fresh = {"Idempotency-Key": str(uuid.uuid4())}
    return await http.post(
        "/chains", content=body, headers=fresh | JSON | {k.replace("_", "-"): v for k, v in headers.items()}
    )


def problem(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["detail_zh"]
    assert body["detail_en"]
    assert body["status"] == answer.status_code
    return answer.status_code, body["code"]


def nested(depth: int, inner: str = "1") -> str:
    return '{"name":"n","more":' + "[" * depth + inner + "]" * depth + "}"


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ('{"name":"n","more":{"$where":"1"}}', "more.$where", "key-refused"),
        ('{"name":"n","more":[{"a":{"$gt":""}}]}', "more.0.a.$gt", "key-refused"),
        ('{"name":{"$ne":null}}', "name.$ne", "key-refused"),
        ('{"name":"n","more":{"a.b":1}}', "more.a.b", "key-refused"),
        ('{"name":"n","more":{"a\\u0000":1}}', "more.a\ufffd", "key-refused"),
        ('{"name":"n","name":"m"}', "name", "key-twice"),
        ('{"name":"n","more":{"a":1,"b":2,"a":1}}', "more.a", "key-twice"),
        ('{"name":"n","more":NaN}', "more", "number-not-finite"),
        ('{"name":"n","more":-Infinity}', "more", "number-not-finite"),
        ('{"name":"n","more":1e999}', "more", "number-not-finite"),
        ('{"name":"n","more":9223372036854775808}', "more", "number-not-finite"),
        ('{"name":"a\\u0000b"}', "name", "text-refused"),
        ('{"name":"\\ud800"}', "name", "text-refused"),
        (nested(32), "more.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0", "json-too-deep"),
        (nested(100_000), "body", "json-too-deep"),
        ("[" * 500_000, "body", "json-too-deep"),
        ('{"name":', "body", "json-invalid"),
        ('{"name":"n"} {}', "body", "json-invalid"),
        (b'{"name":"\xc4\xe3"}', "body", "json-invalid"),
        (b'\xef\xbb\xbf{"name":"n"}', "body", "json-invalid"),
        ('{"name":"n","more":' + "1" * 5000 + "}", "body", "json-invalid"),
        ("1", "body", "model_attributes_type"),
    ],
)
async def test_a_json_body_no_store_may_see_is_refused_naming_the_field(
    http: httpx2.AsyncClient, body: str | bytes, field: str, rule: str
) -> None:
    answer = await post(http, body)

    assert problem(answer) == (422, "invalid-input")
    [error] = answer.json()["errors"]
    assert (error["field"], error["rule"]) == (field, rule)


async def test_what_is_just_inside_the_limits_is_let_in(http: httpx2.AsyncClient) -> None:
    assert (await post(http, nested(31))).status_code == 201
    assert (await post(http, '{"name":"n","more":9223372036854775807}')).status_code == 201
    assert (await post(http, json.dumps({"name": "n", "more": "x" * (1024 * 1024 - 40)}))).status_code == 201
    assert (await post(http, '{"name":"名 $a.b"}', Content_Type="application/json; charset=utf-8")).status_code == 201


async def test_a_body_over_a_mebibyte_is_refused_whether_it_tells_its_length_or_not(http: httpx2.AsyncClient) -> None:
    body = json.dumps({"name": "n", "more": "x" * 1024 * 1024}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    told = await post(http, body)
    untold = await http.post("/chains", content=pieces(), headers=KEYED | JSON)

    assert problem(told) == problem(untold) == (413, "body-too-large")


@pytest.mark.parametrize(
    "headers",
    [{"Content_Type": "text/plain"}, {"Content_Type": "application/x-www-form-urlencoded"},
     {"Content_Type": "text/xml"}, {"Content_Type": ""}, {"Content_Encoding": "gzip"},
     {"Content_Type": "application/json-patch+json"}],
)  # fmt: skip
async def test_another_type_of_body_is_refused(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    assert problem(await post(http, '{"name":"n"}', **headers)) == (415, "media-type-unsupported")


async def test_nul_in_a_path_or_a_query_is_refused(http: httpx2.AsyncClient) -> None:
    query = await http.get("/chains?cursor=a%00b")
    path = await http.post("/chains/a%00b/rename", headers=KEYED)

    assert problem(query) == problem(path) == (422, "invalid-input")
    assert query.json()["errors"][0]["field"] == "cursor"


async def test_every_answer_is_a_problem_with_safe_headers_and_a_correlation_id(
    http: httpx2.AsyncClient, logged: list[EventDict]
) -> None:
    answers = {
        404: await http.get("/nothing"),
        405: await http.delete("/chains"),
        401: await http.get("/chains", headers={"Authorization": "Bearer x"}),
        403: await http.post("/chains", json={"name": "n"}, headers=KEYED | bearer(roles="auditor")),
        400: await http.post("/chains", json={"name": "n"}),
        422: await http.post("/chains", json={}, headers=KEYED),
        500: await http.post("/chains/broken/rename", headers=KEYED),
    }

    for status, answer in answers.items():
        assert problem(answer)[0] == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cache-control"] == "no-store"
        assert uuid.UUID(answer.headers["x-correlation-id"])
    assert answers[405].headers["allow"] == "GET, POST" or set(answers[405].headers["allow"].split(", ")) <= {
        "GET",
        "POST",
    }
    assert "planted" not in answers[500].text
    [broken] = [event for event in logged if event["event"] == "request.broken"]
    assert "planted" in repr(broken["exc_info"])


async def test_the_callers_correlation_id_goes_through_and_a_bad_one_is_replaced(http: httpx2.AsyncClient) -> None:
    good = await post(http, '{"name":"n"}', X_Correlation_Id="walk-000-111")
    bad = await post(http, '{"name":"n"}', X_Correlation_Id="a b\tc")

    assert good.headers["x-correlation-id"] == good.json()["details"]["correlation"] == "walk-000-111"
    assert uuid.UUID(bad.headers["x-correlation-id"])


async def test_a_command_without_a_body_needs_no_content_type(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/chains/c/rename", headers=KEYED)).status_code == 200


# --- forms ---


async def upload(
    http: httpx2.AsyncClient, content: bytes, name: str = "a.xlsx", key: str = "k", **data: str
) -> httpx2.Response:
    return await http.post("/imports", files={"file": (name, content)}, data=data, headers={"Idempotency-Key": key})


async def test_the_same_file_under_another_name_is_the_same_request_and_another_content_is_not(
    http: httpx2.AsyncClient,
) -> None:
    first = await upload(http, b"content", note="n")
    again = await upload(http, b"content", name="copy of a.xlsx", note="n")

    assert first.status_code == 201
    assert first.json() == again.json() == {"size": 7, "note": "n", "version": 1}
    assert problem(await upload(http, b"Content", note="n")) == (422, "idempotency-key-reused")
    assert problem(await upload(http, b"content", note="m")) == (422, "idempotency-key-reused")


async def test_a_form_over_its_limits_is_refused(http: httpx2.AsyncClient) -> None:
    large = await upload(http, bytes(6 * 1024 * 1024 + 1))
    many = await http.post("/imports", files=[("file", (f"{n}", b"x")) for n in range(5)], headers=KEYED)
    fields = await http.post("/imports", files={"file": b"x"}, data={f"f{n}": "x" for n in range(33)}, headers=KEYED)
    nul = await upload(http, b"x", note="a\0b")
    cut = await http.post(
        "/imports",
        content=b"--b\r\nContent-Disposition: form-data; na",
        headers=KEYED | {"Content-Type": "multipart/form-data; boundary=b"},
    )
    without = await http.post("/imports", content=b"x", headers=KEYED | {"Content-Type": "multipart/form-data"})

    assert problem(large) == (413, "body-too-large")
    assert problem(many) == problem(fields) == problem(without) == (400, "body-malformed")
    assert problem(nul) == (422, "invalid-input")
    assert problem(cut)[0] in (400, 422)


async def test_nobody_unknown_sends_a_file(app: FastAPI) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 200:
            read += 1
            yield bytes(65536)

    async with served(app) as url, httpx2.AsyncClient(base_url=url) as http:
        answer = await http.post(
            "/imports", content=endless(), headers=KEYED | {"Content-Type": "multipart/form-data; boundary=b"}
        )

    assert problem(answer) == (401, "unauthenticated")


# --- keys, chunks, clocks, measures ---


async def test_chunks_go_under_numbered_keys_and_only_the_first_is_held_against_if_match(
    http: httpx2.AsyncClient, doors: Doors
) -> None:
    kept: Any = doors.commands
    kept.version = 4

    stale = await http.post("/chains/c/rename", headers=KEYED | {"If-Match": '"3"'})
    answer = await http.post("/chains/c/rename", headers=KEYED | {"If-Match": '"4"'})
    again = await http.post("/chains/c/rename", headers=KEYED | {"If-Match": '"4"'})

    assert problem(stale) == (412, "stale-version")
    assert answer.json() == again.json()
    assert answer.json()["version"] == 7
    keys = [key for key, _ in kept.order]
    assert [key.removeprefix(keys[2]) for key in keys] == ["#0", "#1", ""]
    assert [expected for _, expected in kept.order] == [4, None, None]


async def test_a_command_broken_between_chunks_goes_on_where_it_broke(http: httpx2.AsyncClient, doors: Doors) -> None:
    kept: Any = doors.commands

    broken = await http.post("/chains/broken/rename", headers=KEYED)
    mended = await http.post("/chains/broken/rename", headers=KEYED)

    assert problem(broken) == problem(mended) == (500, "internal")
    assert [key[-2:] for key, _ in kept.order] == ["#0"]


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201, "键"])
async def test_a_key_that_is_none_is_refused(http: httpx2.AsyncClient, key: str) -> None:
    answer = await http.post("/chains", json={"name": "n"}, headers={"Idempotency-Key": key.encode()})

    assert problem(answer) == (400, "idempotency-key-missing")


@pytest.mark.parametrize("version", ["3", 'W/"3"', '"a"', '""', '"1","2"'])
async def test_an_if_match_that_is_no_version_is_refused(http: httpx2.AsyncClient, version: str) -> None:
    answer = await http.post("/chains", json={"name": "n"}, headers=KEYED | {"If-Match": version})

    assert problem(answer) == (400, "if-match-malformed")


@pytest.mark.parametrize(
    ("effective", "read_as"),
    [("2026-01-01", "2026-01-01 23:59:59.999999+08:00"), ("2026-01-01T08:00:00+08:00", "2026-01-01 08:00:00+08:00"),
     ("2026-01-01T00:00:00Z", "2026-01-01 00:00:00+00:00")],
)  # fmt: skip
async def test_a_civil_date_means_the_end_of_that_day_in_shanghai(
    http: httpx2.AsyncClient, effective: str, read_as: str
) -> None:
    answer = await http.get("/chains", params={"effective": effective, "known": 12})

    assert answer.json() == {"by": "somebody", "effective": read_as, "known": 12}


@pytest.mark.parametrize(
    "effective", ["2026-02-30", "yesterday", "2026-01-01T00:00:00", "0001-01-01T00:00:00+08:00", "9999-12-31", "2026"]
)
async def test_what_is_no_instant_is_refused(http: httpx2.AsyncClient, effective: str) -> None:
    answer = await http.get("/chains", params={"effective": effective})

    assert problem(answer) == (422, "invalid-input")
    assert answer.json()["errors"][0]["field"] == "effective"


async def test_commands_are_counted_by_outcome_and_timed(http: httpx2.AsyncClient, doors: Doors) -> None:
    await post(http, '{"name":"n"}')
    await http.post("/chains", json={"name": "n"}, headers=KEYED | bearer(roles="auditor"))
    await http.post("/chains", json={"name": "n"}, headers=KEYED | {"If-Match": '"99"'})
    await http.post("/chains/broken/rename", headers=KEYED)

    def counted(outcome: str) -> float | None:
        labels = {"action": "chain.register", "outcome": outcome}
        return doors.metrics.registry.get_sample_value("liandong_commands_total", labels)

    assert [counted(outcome) for outcome in ("accepted", "refused", "failed")] == [1, 2, 1]
    timed = doors.metrics.registry.get_sample_value("liandong_command_seconds_count", {"action": "chain.register"})
    assert timed == 1


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("given", "inside"),
    [(TRACE, TRACE), (None, ""), ("00-0-0-01", ""), (TRACE.replace("0af7", "0AF7"), ""), (TRACE + "; drop", ""),
     ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "")],
)  # fmt: skip
async def test_a_command_runs_inside_the_trace_its_request_came_with(
    http: httpx2.AsyncClient, doors: Doors, monkeypatch: pytest.MonkeyPatch, given: str | None, inside: str
) -> None:
    carried: dict[str, str] = {}
    kept: Any = doors.commands
    execute = kept.execute

    async def spying(**arguments: Any) -> Any:
        async def in_a_task() -> None:
            TraceContextTextMapPropagator().inject(carried)

        await asyncio.create_task(in_a_task())
        return await execute(**arguments)

    monkeypatch.setattr(kept, "execute", spying)
    answer = await post(http, '{"name":"n"}', **({} if given is None else {"traceparent": given}))

    assert answer.status_code == 201
    assert carried.get("traceparent", "") == inside
    assert not trace.get_current_span().get_span_context().is_valid


# --- on a socket ---


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


async def test_a_slow_sender_keeps_nobody_waiting(app: FastAPI) -> None:
    async with served(app) as url, httpx2.AsyncClient(base_url=url, headers=bearer()) as http:
        host, port = url.removeprefix("http://").split(":")
        slow = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
        for _, writer in slow:
            writer.write(
                b"POST /chains HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
            )
            await writer.drain()

        answers = await asyncio.gather(*(http.get("/chains") for _ in range(20)))

        assert {answer.status_code for answer in answers} == {200}
        for _, writer in slow:
            writer.close()


async def test_a_body_that_never_ends_is_told_so(doors: Doors, app: FastAPI) -> None:
    impatient = partial(Gate, verifier=doors.verifier, larger={}, body_seconds=0.1)(app)
    async with served(impatient) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /chains HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
        )

        head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)
        writer.close()

    assert head.startswith(b"HTTP/1.1 408")


async def test_a_sender_of_far_too_much_gets_the_answer_and_not_a_broken_pipe(app: FastAPI) -> None:
    async with served(app) as url, httpx2.AsyncClient(base_url=url, headers=bearer() | KEYED, timeout=30) as http:
        answer = await http.post("/chains", content=bytes(20 * 1024 * 1024), headers=JSON)

    assert problem(answer) == (413, "body-too-large")
