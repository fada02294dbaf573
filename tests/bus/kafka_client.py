"""What a person with confluent-kafka and the CloudEvents SDK does: publishes commands, reads receipts and the feed.

Talks to the brokers that KAFKA names, topics PREFIX.*, as the org ORG; prints one JSON object.
"""

import json
import os
import time

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from confluent_kafka import Consumer, Producer

BROKERS, PREFIX, ORG = os.environ["KAFKA"], os.environ["PREFIX"], os.environ["ORG"]
QUEUED = 20

producer = Producer({"bootstrap.servers": BROKERS, "enable.idempotence": True, "linger.ms": 0})


def publish(entity, command, body, command_id, **more):
    headers = {"Quipu-Command": command, "Idempotency-Key": command_id, "Quipu-On-Behalf-Of": "ada", **more}
    producer.produce(f"{PREFIX}.commands", key=f"{ORG}/{entity}", value=json.dumps(body), headers=headers)
    assert producer.flush(20) == 0


def reader(topic):
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": f"reader-of-{topic}", "auto.offset.reset": "earliest"})
    consumer.subscribe([f"{PREFIX}.{topic}"])
    return consumer


def messages(consumer):
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            yield message


def receipt(found):
    headers = dict(found.headers())
    body = json.loads(found.value())
    return {
        "key": found.key().decode(),
        "status": int(headers["quipu-status"]),
        "code": headers.get("quipu-code", b"").decode(),
        "type": headers["content-type"].decode(),
        "correlation": headers.get("x-correlation-id", b"").decode(),
        "body": body,
    }


told = reader("receipts")
receipts = messages(told)
said = {}
for name, entity, command, body, more in [
    ("org", f"org/{ORG}", "create", {"name": "By Kafka"}, {}),
    ("room", "conversation/room", "create", {"type": "group"}, {"X-Correlation-Id": "py"}),
    ("post", "conversation/room", "post", {"body": "first"}, {}),
    ("again", "conversation/room", "post", {"body": "first"}, {}),
    ("other_body", "conversation/room", "post", {"body": "another"}, {}),
    ("stale", "conversation/room", "post", {"body": "x"}, {"If-Match": '"1"'}),
    ("unknown", "conversation/room", "dance", {}, {}),
]:
    command_id = "py-post" if name in ("again", "other_body") else f"py-{name}"
    publish(entity, command, body, command_id, **more)
    said[name] = receipt(next(receipts))
for n in range(QUEUED):
    publish("conversation/room", "post", {"body": f"queued {n}"}, f"py-q{n}")
queued = {}
while len(queued) < QUEUED:
    found = receipt(next(receipts))
    queued[found["body"]["command_id"]] = found["body"]["version"]
said["queued_versions"] = [queued[f"py-q{n}"] for n in range(QUEUED)]
told.close()

feed = reader("feed")
events = []
for message in messages(feed):
    if not message.key().decode().startswith(f"{ORG}/conversation/"):
        continue
    event = from_kafka_event(KafkaMessage(headers=dict(message.headers()), key=message.key(), value=message.value()))
    assert event.get_extension("partitionkey") == message.key().decode(), event
    events.append(
        {
            "id": event.get_id(),
            "type": event.get_type(),
            "source": event.get_source(),
            "version": event.get_extension("streamversion"),
            "data": event.get_data(),
        }
    )
    if events[-1]["version"] >= said["queued_versions"][-1]:
        break
feed.close()
said["events"] = events
print(json.dumps(said))
