"""A network between clients and a server on this machine, which can be cut."""

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Iterator

from infra.local.process import free_ports

CHUNK = 1 << 16


class Proxy:
    """Listens on `port`, and hands on what comes to the server that is on `target` now."""

    def __init__(self, port: int) -> None:
        self.port, self.target = port, 0
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Let nothing through, in neither direction, as a cable does that is pulled: nobody is told."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def mend(self) -> None:
        """Let what waits through, and what comes."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def reset(self) -> None:
        """End every connection, as a firewall does that has forgotten them."""
        self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        async with server:
            await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, to_writer}
        try:
            await asyncio.gather(self._pump(reader, to_writer), self._pump(to_reader, writer))
        finally:
            self._writers -= {writer, to_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


@contextlib.contextmanager
def local_proxy() -> Iterator[Proxy]:
    """Yield a proxy on a free port, whose `target` is still to be said."""
    (port,) = free_ports(1)
    proxy = Proxy(port)
    serving = proxy._loop.create_task(proxy._serve())

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            proxy._loop.run_until_complete(serving)
        proxy._loop.run_until_complete(_cancel(asyncio.all_tasks(proxy._loop)))
        proxy._loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy._loop.call_soon_threadsafe(serving.cancel)
        thread.join(10)


async def _cancel(tasks: Iterable["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
