"""Clients that keep a connection open, and fail when it ends unannounced.

A server that closes an idle connection may meet a request that is on its way. One that announces the end in its last response
(`Connection: close`) cannot. `loadtest` would see the difference once in many runs; these clients see it each time.
"""

import asyncio
import ssl

CONNECTIONS = 8
PAUSE_S = 0.2


class Kept:
    """Requests on kept connections."""

    def __init__(self, port, authority):
        self.port, self.context = port, ssl.create_default_context(cafile=authority)
        self.announced, self.unannounced = 0, []

    async def one(self):
        """Requests on one connection after the other, until cancelled."""
        while True:
            reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.context, family=2)
            try:
                while not await self.request(reader, writer):
                    await asyncio.sleep(PAUSE_S)
                self.announced += 1
            except (OSError, EOFError) as error:
                self.unannounced.append(str(error) or type(error).__name__)
            finally:
                writer.close()

    async def request(self, reader, writer):
        """Whether the response says that it is the last one."""
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length:"))
        await reader.readexactly(length)
        return "connection: close" in head

    async def during(self, operation):
        """Awaits an operation, and how many connections ended with and without a word meanwhile."""
        self.announced, self.unannounced = 0, []
        tasks = [asyncio.create_task(self.one()) for _ in range(CONNECTIONS)]
        try:
            return await operation
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(result, asyncio.CancelledError):
                    self.unannounced.append(f"{type(result).__name__}: {result}")
