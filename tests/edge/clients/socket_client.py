"""A WebSocket client: socket_client.py URL CA KEY_ID SECRET."""

import asyncio
import ssl
import sys

import websockets

url, ca, key, secret = sys.argv[1:]
headers = {"X-Access-Key-Id": key, "X-Access-Key-Secret": secret}
trusting = ssl.create_default_context(cafile=ca)
named = "additional_headers" if int(websockets.__version__.split(".")[0]) >= 14 else "extra_headers"


def connect(headers):
    return websockets.connect(url, ssl=trusting, max_size=8 << 20, **{named: headers})


async def main():
    async with connect(headers) as socket:
        for message in ["hello", "\u00e9", b"\x00\xff" * 50_000, "x" * (1 << 20)]:
            await socket.send(message)
            assert await socket.recv() == message
        await asyncio.wait_for(await socket.ping(), 20)
        await socket.send("close")
        try:
            await socket.recv()
            raise AssertionError("it did not close")
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd.code == 4001 and closed.rcvd.reason == "as asked", closed
    try:
        async with connect({}):
            raise AssertionError("it was let in without a key")
    except Exception as refused:
        assert "401" in str(refused), refused


asyncio.run(main())
