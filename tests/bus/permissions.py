"""What the users of two orgs may and may not, with the permissions of ops/docs/bus.md; prints one JSON object."""

import asyncio
import json
import os

import nats

URL = os.environ["NATS_URL"]


async def denied(connect, act):
    """Whether the server refuses what `act` does."""
    refusals = []

    async def told(error):
        refusals.append(str(error).lower())

    nc = await connect(told)
    try:
        await act(nc)
        await nc.flush()
        # The server sends its refusal before it answers the ping of the flush; the client may tell it a moment later.
        for _ in range(100):
            if refusals:
                break
            await asyncio.sleep(0.01)
    finally:
        await nc.close()
    return any("permissions violation" in refusal for refusal in refusals)


def user(name):
    async def connect(error_cb):
        return await nats.connect(URL, user=name, password=name, inbox_prefix=f"_INBOX_{name}".encode(), error_cb=error_cb)

    return connect


async def main():
    async def publish(subject):
        return await denied(user("acme"), lambda nc: nc.publish(subject, b"{}", headers={"Idempotency-Key": "x", "Quipu-On-Behalf-Of": "ada"}))

    async def subscribe(subject):
        return await denied(user("acme"), lambda nc: nc.subscribe(subject))

    said = {
        "denied": {
            "call for another org": await publish("quipu.v1.call.beta.org.beta.create"),
            "queue for another org": await publish("quipu.v1.cmd.beta.org.beta.create"),
            "forge an event": await publish("quipu.v1.feed.acme.org.created"),
            "forge a receipt": await publish("quipu.v1.receipt.acme.x"),
            "another org's feed": await subscribe("quipu.v1.feed.beta.>"),
            "everybody's feed": await subscribe("quipu.v1.feed.>"),
            "another org's receipts": await subscribe("quipu.v1.receipt.beta.*"),
            "another org's inbox": await subscribe("_INBOX_beta.>"),
            "take part in calls": await subscribe("quipu.v1.call.>"),
            "another org's stored receipts": await publish("$JS.API.DIRECT.GET.QUIPU_V1_RECEIPT.quipu.v1.receipt.beta.x"),
            "a consumer of one's own": await publish("$JS.API.CONSUMER.CREATE.QUIPU_V1_FEED.mine.quipu.v1.feed.acme.>"),
            "another org's consumer": await publish("$JS.API.CONSUMER.MSG.NEXT.QUIPU_V1_FEED.beta"),
            "the log or the marks": await publish("$KV.QUIPU_V1_MARKS.x"),
        }
    }
    acme = await nats.connect(URL, user="acme", password="acme", inbox_prefix=b"_INBOX_acme")
    feed = await acme.subscribe("quipu.v1.feed.acme.>")
    receipts = await acme.subscribe("quipu.v1.receipt.acme.*")
    who = {"Quipu-On-Behalf-Of": "ada"}
    answer = await acme.request("quipu.v1.call.acme.org.acme.create", b'{"name":"Acme"}', timeout=20, headers={"Idempotency-Key": "p-1", **who})
    said["called"] = json.loads(answer.data)
    stored = await acme.jetstream().publish("quipu.v1.cmd.acme.conversation.c.create", b'{"type":"group"}', headers={"Idempotency-Key": "p-2", **who})
    said["queued"] = stored.stream
    said["receipt"] = json.loads((await receipts.next_msg(timeout=20)).data)
    said["events"] = [json.loads((await feed.next_msg(timeout=20)).data)["type"] for _ in range(2)]
    # The consumer that an operator made.
    batch = await acme.jetstream().pull_subscribe_bind("acme", "QUIPU_V1_FEED")
    said["stored"] = []
    while len(said["stored"]) < 2:
        for message in await batch.fetch(2, timeout=20):
            said["stored"].append(json.loads(message.data)["type"])
            await message.ack()
    await acme.close()
    print(json.dumps(said))


asyncio.run(main())
