"""What is sent to the page comes whole, bounded, or not at all."""

import asyncio

import pytest

pytest.importorskip("starlette")

from stylesdf.demo.bodies import WholeBodies  # noqa: E402


def send_to(app, messages: list, method: str = "POST", headers: tuple = (), max_bytes: int = 1000):
    """Return what the application behind got, None where it was not called, and the status that was answered."""
    got, sent = [], []

    async def behind(scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        got.append(body)
        got.append((await receive())["type"])

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": list(headers), "path": "/"}
    asyncio.run(app(behind, max_bytes)(scope, receive, send))
    return got, [message["status"] for message in sent if message["type"] == "http.response.start"]


def part(data: bytes, more: bool = True) -> dict:
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_body_comes_as_it_was_sent():
    assert send_to(WholeBodies, [part(b"a" * 400), part(b"b" * 600, False)]) == (
        [b"a" * 400 + b"b" * 600, "http.disconnect"],
        [],
    )
    assert send_to(WholeBodies, [part(b"", False)])[0][0] == b""
    assert send_to(WholeBodies, [part(b"x" * 5_000, False)], method="GET")[0][0] == b"x" * 5_000


def test_one_of_many_pieces_comes_whole():
    data = bytes(range(256)) * 8_000  # longer than what is kept in memory, and than a piece
    pieces = [part(data[i : i + 65_536]) for i in range(0, len(data), 65_536)] + [part(b"", False)]
    assert send_to(WholeBodies, pieces, max_bytes=1 << 22)[0][0] == data


@pytest.mark.parametrize(
    "messages, headers",
    [
        ([part(b"a" * 1001, False)], ()),
        ([part(b"a" * 400)] * 3, ()),
        ([], [(b"content-length", b"1001")]),
        ([], [(b"content-length", b"9" * 30)]),
    ],
)
def test_too_much_is_refused(messages, headers):
    assert send_to(WholeBodies, list(messages), headers=headers) == ([], [413])


def test_what_breaks_off_reaches_nobody():
    assert send_to(WholeBodies, [part(b"a" * 10)]) == ([], [])
    assert send_to(WholeBodies, []) == ([], [])
