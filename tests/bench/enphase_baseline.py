"""A stand-in for the stack that the original Enphase proxy is made of: Quart on hypercorn, httpx behind it.

Written afresh for the bench: a catch-all route, a new client for each request, certificate not verified, the
body read as text, status and Content-Type handed back. Run by an interpreter that has these three packages.
"""

from __future__ import annotations

import asyncio
import sys

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, Response, request

app = Quart("baseline")
ENVOY, TOKEN = "", ""


@app.route("/<path:path>", methods=["GET", "HEAD", "POST"])
async def catch_all(path: str) -> Response:
    """Ask the Envoy and hand its text back."""
    query = request.query_string.decode()
    url = f"{ENVOY}/{path}" + (f"?{query}" if query else "")
    async with httpx.AsyncClient(verify=False, timeout=300.0) as client:
        answer = await client.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
    return Response(answer.text, status=answer.status_code, content_type=answer.headers.get("Content-Type"))


if __name__ == "__main__":
    ENVOY, TOKEN, port = sys.argv[1:]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    asyncio.run(serve(app, config))
