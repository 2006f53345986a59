"""The test library's WebSocket client, against a server that is not ours either."""

import asyncio
import http
import json
import threading

import pytest
import websockets

import ws

PAYLOAD = '{ "event":"x","n":1.10, "n":1e2,"s":"\\u00e9é\\/" }'


def event(payload, number):
    return (f'{{"kind":"event","envelope":{{"cursor":"c{number}","event_id":"e{number}",'
            f'"worker_id":"w","payload":{payload},"ts_ms":1}}}}')


@pytest.fixture
def serve():
    """serve(handler) → URL; the handler gets the connection."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    def start(handler, **options):
        async def listen():
            server = await websockets.serve(handler, "127.0.0.1", 0, **options)
            return "http://127.0.0.1:%d" % list(server.sockets)[0].getsockname()[1]
        return asyncio.run_coroutine_threadsafe(listen(), loop).result(10)

    yield start
    loop.call_soon_threadsafe(loop.stop)


def test_keeps_the_exact_bytes_of_a_payload(serve):
    async def handler(connection, *_):
        await connection.send(event(PAYLOAD, 1))
        await connection.send(event("{}", 2))

    with ws.Client(serve(handler)) as client:
        first, second = client.events(2)
        assert first.payload_bytes == PAYLOAD.encode()
        assert (second.cursor, second.event_id, second.payload_bytes) == ("c2", "e2", b"{}")
        assert client.closed()[0] == 1000


def test_takes_events_up_to_the_seam_and_diagnostics_after_it(serve):
    async def handler(connection, *_):
        for text in (json.dumps({"kind": "hello", "hello": {}}), event("{}", 1),
                     json.dumps({"kind": "caught_up", "cursor": "c1"}), event("{}", 2),
                     json.dumps({"kind": "diagnostic",
                                 "diagnostic": {"code": "runtime.x", "message": ""}})):
            await connection.send(text)
        await connection.close(4410, "expired")

    with ws.Client(serve(handler)) as client:
        assert [e.cursor for e in client.until_caught_up()] == ["c1"]
        assert client.diagnostic("runtime.x")["code"] == "runtime.x"
        assert client.frame() is None
        assert client.closed() == (4410, "expired")
        assert [e.cursor for e in client.all_events()] == ["c1", "c2"]


def test_an_early_end_fails_with_what_had_come(serve):
    async def handler(connection, *_):
        await connection.send(event("{}", 1))

    with ws.Client(serve(handler)) as client:
        with pytest.raises(AssertionError, match="1 of 2 events"):
            client.events(2)


def test_a_refused_upgrade_gives_status_and_code(serve):
    async def handler(connection, *_):
        pass

    if int(websockets.__version__.split(".")[0]) >= 14:
        async def refuse(connection, _request):
            response = connection.respond(401, "no")
            response.headers["Sightline-Code"] = "runtime.unauthorized"
            return response
    else:
        async def refuse(_path, _headers):
            return http.HTTPStatus.UNAUTHORIZED, {"Sightline-Code": "runtime.unauthorized"}, b"no"

    with pytest.raises(ws.Refused) as refused:
        ws.Client(serve(handler, process_request=refuse))
    assert (refused.value.status, refused.value.code) == (401, "runtime.unauthorized")


def test_sends_token_and_subprotocols(serve):
    seen = []

    async def handler(connection, *_):
        headers = getattr(connection, "request_headers", None)
        headers = headers or connection.request.headers
        seen.append((headers["Authorization"], headers["Sec-WebSocket-Protocol"]))

    url = serve(handler, subprotocols=["sightline.v1"])
    with ws.Client(url, token="t", subprotocols=["sightline.v1"],
                   bearer_subprotocol="secret") as client:
        assert client.subprotocol == "sightline.v1"
        client.closed()
    assert seen == [("Bearer t", "sightline.v1, bearer.c2VjcmV0")]
