"""Asks a zone about good and bad tokens at once, over one connection of HTTP/2.

usage: h2_httpx.py URL CA-FILE GOOD-TOKEN BAD-TOKEN COUNT
Prints, as JSON, how many of each had which outcome.
"""
import asyncio
import collections
import json
import sys

import httpx


async def main():
    url, ca, good, bad, count = sys.argv[1:5] + [int(sys.argv[5])]
    outcomes = collections.Counter()
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    async with httpx.AsyncClient(http2=True, http1=False, verify=ca, limits=limits, timeout=120) as client:
        async def ask(kind, token):
            try:
                answer = await client.post(url + "/v1/authenticate", json={"token": token, "require": {}})
                outcomes[f"{kind} {answer.http_version} {answer.status_code}"] += 1
            except httpx.HTTPError as error:
                outcomes[f"{kind} {type(error).__name__}"] += 1

        await asyncio.gather(*(ask(*pair) for _ in range(count) for pair in (("good", good), ("bad", bad))))
    print(json.dumps(outcomes))


asyncio.run(main())
