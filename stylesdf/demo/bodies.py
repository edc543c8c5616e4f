"""What is sent to the page: bounded, and taken whole or not at all."""

from __future__ import annotations

import tempfile

from starlette.responses import PlainTextResponse

MAX_BYTES = 10_000_000  # of one request
IN_MEMORY = 1 << 20  # bytes of one request; more lie on the disk meanwhile
CHUNK = 1 << 18
WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


class WholeBodies:
    """ASGI middleware that hands a request on once its body is here.

    Gradio writes an upload into its folder as it comes and leaves it there when the sender goes away, and takes JSON
    of any size. Here what is too large is refused (413), and what is broken off leaves nothing.

    Args:
        app: The application behind it.
        max_bytes: Of one body.
    """

    def __init__(self, app, max_bytes: int = MAX_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope, receive, send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in WITHOUT_BODY:
            await self.app(scope, receive, send)
            return
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as body:
            is_complete, size = False, _stated_length(scope)
            while not is_complete and size <= self.max_bytes:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body.write(message.get("body", b""))
                is_complete, size = not message.get("more_body", False), max(size, body.tell())
            if size > self.max_bytes:
                refusal = PlainTextResponse(f"The request has more than {self.max_bytes:,} bytes.", 413)
                await refusal(scope, receive, send)
                return
            size = body.tell()
            body.seek(0)
            is_over = False

            async def again() -> dict:
                nonlocal is_over
                if is_over:
                    return await receive()
                chunk = body.read(CHUNK)
                is_over = body.tell() == size
                return {"type": "http.request", "body": chunk, "more_body": not is_over}

            await self.app(scope, again, send)


def _stated_length(scope) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() else 0
