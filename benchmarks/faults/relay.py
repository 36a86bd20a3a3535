"""Carries bytes between two TCP addresses, both ways, unchanged: ``relay LISTEN_HOST LISTEN_PORT HOST PORT``.

A station trusts plain HTTP to its own machine only; with a relay at either end, what is between may be a bad link.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress


def main(arguments: Sequence[str]) -> int:
    """Relay until killed."""
    host, port, far_host, far_port = arguments
    asyncio.run(_relay(host, int(port), far_host, int(far_port)))
    return 0


async def _relay(host: str, port: int, far_host: str, far_port: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(far_host, far_port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    server = await asyncio.start_server(accept, host, port)
    print(f"ready at {host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
