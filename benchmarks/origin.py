"""A fast local origin: serves JPEG cutouts from memory, one file an id, on a free loopback port.

    python -m benchmarks.origin FOLDER [LATENCY_S]

prints its URL and ends with its standard input. It speaks only as much HTTP as is needed to keep connections alive,
so that it takes little of the machine from what is measured.
"""

import asyncio
import re
import sys
from pathlib import Path

RA = re.compile(rb"[?&]ra=([0-9.eE+-]+)")


class Origin(asyncio.Protocol):
    """Answer each request on a connection with a whole JPEG."""

    def __init__(self, answers: list[bytes], latency_s: float = 0.0) -> None:
        self.answers = answers
        self.latency_s = latency_s
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self.received = (self.received + data).split(b"\r\n\r\n")
        for request in requests:
            found = RA.search(request)
            # The position's right ascension is the number of the file, in units of 0.01 degrees.
            index = round(float(found.group(1)) * 100) if found else 0
            body = self.answers[index % len(self.answers)]
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self.transport.write, body)
            else:
                self.transport.write(body)


def answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def serve(folder: Path, latency_s: float = 0.0) -> None:
    answers = [answer(file.read_bytes()) for file in sorted(folder.glob("*.jp*g"))]
    server = await asyncio.get_running_loop().create_server(
        lambda: Origin(answers, latency_s), "127.0.0.1", 0
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), *map(float, sys.argv[2:3])))
