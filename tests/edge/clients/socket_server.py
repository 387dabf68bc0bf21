"""A WebSocket service that echoes, and closes when told to. Prints its port."""

import asyncio

import websockets


async def serve(socket, path=None):
    async for message in socket:
        if message == "close":
            await socket.close(4001, "as asked")
        else:
            await socket.send(message)


async def main():
    async with websockets.serve(serve, "127.0.0.1", 0, max_size=8 << 20) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
