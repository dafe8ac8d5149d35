"""Plain ``aiobotocore``: concurrent requests of ten messages; each worker receives and deletes in turns.

It requests the same attributes as the adapter, so that the service does the same work. With ``--keep-alive`` it also
asks to keep connections, which LocalStack closes otherwise. The credentials are the emulators' own.
"""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from itertools import cycle, islice
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from brokerbench.bench.calibration.peers.plain_loop import Figure, Stopwatch, arguments, payloads, tell

_ENTRIES = 10


async def publish(client: Any, url: str, given: Namespace) -> Figure:
    bodies = cycle(payloads(given.size))

    async def send_until(end_s: float) -> int:
        count = 0
        while time.perf_counter() < end_s:
            entries = [
                {"Id": str(at), "MessageBody": b64encode(body).decode()}
                for at, body in enumerate(islice(bodies, _ENTRIES))
            ]
            answer = await client.send_message_batch(QueueUrl=url, Entries=entries)
            count += len(answer["Successful"])
        return count

    return await _counted(send_until, given)


async def consume(client: Any, url: str, given: Namespace) -> Figure:
    """For ``--seconds`` after ``--warmup`` seconds; the queue must hold more messages than that takes."""

    async def take_until(end_s: float) -> int:
        count = 0
        while time.perf_counter() < end_s:
            answer = await client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=_ENTRIES,
                WaitTimeSeconds=0,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
                MessageAttributeNames=["All"],
            )
            messages = answer.get("Messages", ())
            if not messages:
                continue
            for message in messages:
                b64decode(message["Body"].partition(":")[2])
            entries = [
                {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)
            ]
            answer = await client.delete_message_batch(QueueUrl=url, Entries=entries)
            count += len(answer["Successful"])
        return count

    return await _counted(take_until, given)


async def _counted(work_until: Callable[[float], Awaitable[int]], given: Namespace) -> Figure:
    async def together(seconds: float) -> int:
        end_s = time.perf_counter() + seconds
        return sum(await asyncio.gather(*(work_until(end_s) for _ in range(given.concurrency))))

    await together(given.warmup)
    clock = Stopwatch()
    return clock.figure(await together(given.seconds))


def keep_alive(request: Any, **_: Any) -> None:
    request.headers["Connection"] = "keep-alive"


async def main(given: Namespace) -> Figure:
    config = AioConfig(
        max_pool_connections=given.concurrency,
        parameter_validation=False,
        retries={"total_max_attempts": 1, "mode": "standard"},
        proxies={},
    )
    async with get_session().create_client(
        "sqs",
        region_name="us-east-1",
        endpoint_url=given.address,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    ) as client:
        if given.keep_alive:
            client.meta.events.register("before-send.sqs", keep_alive)
        url = (await client.get_queue_url(QueueName=given.channel))["QueueUrl"]
        return await (publish if given.work == "publish" else consume)(client, url, given)


if __name__ == "__main__":
    tell(asyncio.run(main(arguments("sqs", ("publish", "consume")))))
