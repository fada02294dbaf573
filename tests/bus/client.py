"""What a person with nats-py and the CloudEvents SDK does: calls, queued commands, receipts, the feed.

Talks to the server that NATS_URL names as the org ORG; prints one JSON object.
"""

import asyncio
import hashlib
import json
import os

import nats
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

ORG = os.environ["ORG"]
QUEUED = 20


def headers(command_id, **more):
    return {"Idempotency-Key": command_id, "Quipu-On-Behalf-Of": "ada", **more}


def receipt_subject(command_id):
    return f"quipu.v1.receipt.{ORG}.{hashlib.sha256(command_id.encode()).hexdigest()[:32]}"


async def call(nc, entity, command, body, command_id, **more):
    subject = f"quipu.v1.call.{ORG}.{entity}.{command}"
    answer = await nc.request(subject, json.dumps(body).encode(), timeout=20, headers=headers(command_id, **more))
    told = answer.headers or {}
    return {"status": int(told.get("Nats-Service-Error-Code", 200)), "code": told.get("Nats-Service-Error"), "body": json.loads(answer.data)}


async def main():
    nc = await nats.connect(os.environ["NATS_URL"])
    js = nc.jetstream()
    said = {}
    said["org"] = await call(nc, f"org.{ORG}", "create", {"name": "By call"}, "py-org")
    said["room"] = await call(nc, "conversation.room", "create", {"type": "group"}, "py-room")
    said["post"] = await call(nc, "conversation.room", "post", {"body": "by call"}, "py-post")
    said["again"] = await call(nc, "conversation.room", "post", {"body": "by call"}, "py-post")
    said["other_body"] = await call(nc, "conversation.room", "post", {"body": "another"}, "py-post")
    said["stale"] = await call(nc, "conversation.room", "post", {"body": "x"}, "py-stale", **{"If-Match": '"1"'})
    said["unknown"] = await call(nc, "conversation.room", "dance", {}, "py-dance")

    receipts = await nc.subscribe(f"quipu.v1.receipt.{ORG}.*")
    for n in range(QUEUED):
        subject = f"quipu.v1.cmd.{ORG}.conversation.room.post"
        await js.publish(subject, json.dumps({"body": f"queued {n}"}).encode(), headers=headers(f"py-q{n}"))
    live = {}
    while len(live) < QUEUED:
        message = await receipts.next_msg(timeout=20)
        live[message.headers["Quipu-Command-Id"]] = json.loads(message.data)
    kept = {}
    for n in range(QUEUED):
        message = await js.get_last_msg("QUIPU_V1_RECEIPT", receipt_subject(f"py-q{n}"))
        kept[f"py-q{n}"] = json.loads(message.data)
    said["receipts_agree"] = live == kept
    said["queued_versions"] = [kept[f"py-q{n}"]["version"] for n in range(QUEUED)]

    feed = await js.pull_subscribe(f"quipu.v1.feed.{ORG}.conversation.>", stream="QUIPU_V1_FEED")
    events = []
    while not events or events[-1]["version"] < said["queued_versions"][-1]:
        for message in await feed.fetch(50, timeout=20):
            event = JSONFormat().read(CloudEvent, message.data)
            assert event.get_id() == message.headers["Nats-Msg-Id"], event
            events.append(
                {
                    "id": event.get_id(),
                    "type": event.get_type(),
                    "source": event.get_source(),
                    "version": event.get_extension("streamversion"),
                    "subject": message.subject,
                    "data": event.get_data(),
                }
            )
            await message.ack()
    said["events"] = events
    print(json.dumps(said))
    await nc.close()


asyncio.run(main())
