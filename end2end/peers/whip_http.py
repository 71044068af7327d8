"""What the peers have in common: HTTP, lines in, JSON lines out."""

import asyncio
import json
import sys
import urllib.error
import urllib.request


def say(**what):
    print(json.dumps(what), flush=True)


async def ask(method, url, body=None, headers=None):
    """Status, headers (names in small letters) and text of the answer."""

    def in_thread():
        request = urllib.request.Request(
            url, body.encode() if body is not None else None, headers or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    status, found, text = await asyncio.to_thread(in_thread)
    return status, {name.lower(): value for name, value in found.items()}, text


async def lines_of_stdin():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        yield line.decode().strip()
