"""What the users of two orgs may and may not, with the permissions of ops/docs/bus.md; prints one JSON object.

Talks to the SASL listener KAFKA as the user acme, once as one with a wrong password.
"""

import json
import os
import time

from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
}
PATIENCE = 30


def config(password="acme", **more):
    return {
        "bootstrap.servers": os.environ["KAFKA"],
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "acme",
        "sasl.password": password,
        **more,
    }


def publish(topic, key, body, **headers):
    """The error of the broker's answer; none where it took the message."""
    producer = Producer(config(**{"enable.idempotence": True, "message.timeout.ms": PATIENCE * 1000}))
    told = []
    producer.produce(topic, key=key, value=json.dumps(body), headers=headers, on_delivery=lambda error, _: told.append(error))
    producer.flush(PATIENCE)
    assert told, topic
    return told[0]


def first_of(consumer):
    """A message, or the code of the first refusal."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            return message
        if message.error().code() in REFUSALS:
            return message.error()
    raise TimeoutError


def reads(topic, group="acme.reader"):
    """What comes of reading a topic as a member of a group."""
    consumer = Consumer(config(**{"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}))
    consumer.subscribe([topic])
    try:
        return first_of(consumer)
    finally:
        consumer.close()


def denied(found):
    return isinstance(found, KafkaError) and found.code() in REFUSALS


def refuses_topic(name):
    # Kept until it has answered: its end would be the answer.
    admin = AdminClient(config())
    try:
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(PATIENCE)
    except Exception as error:  # the client's own class, with the broker's error inside
        return denied(error.args[0])
    return False


def refuses_password():
    told = []
    producer = Producer(config(password="guessed", error_cb=told.append))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not any(denied(error) for error in told):
        producer.poll(0.1)
    return any(denied(error) for error in told)


ada = {"Quipu-Command": "create", "Quipu-On-Behalf-Of": "ada"}
said = {
    "denied": {
        "a wrong password": refuses_password(),
        "commands of another org": denied(publish("quipu.commands.beta", "beta/org/beta", {}, **ada)),
        "commands in the common topic": denied(publish("quipu.commands", "acme/org/acme", {}, **ada)),
        "forge a receipt": denied(publish("quipu.receipts.acme", "acme/x", {})),
        "forge an event": denied(publish("quipu.feed.acme", "acme/org/acme", {})),
        "the marks": denied(publish("quipu.marks", "x", {})),
        "another org's receipts": denied(reads("quipu.receipts.beta")),
        "another org's feed": denied(reads("quipu.feed.beta")),
        "everybody's receipts": denied(reads("quipu.receipts")),
        "everybody's feed": denied(reads("quipu.feed")),
        "one's own commands, with all that others of the org wrote": denied(reads("quipu.commands.acme")),
        "another org's group": denied(reads("quipu.feed.acme", "beta.reader")),
        "the nodes' group": denied(reads("quipu.receipts.acme", "quipu.commands")),
        "a topic of one's own": refuses_topic("quipu.commands.gamma"),
    }
}

receipts = Consumer(config(**{"group.id": "acme.receipts", "auto.offset.reset": "earliest"}))
receipts.subscribe(["quipu.receipts.acme"])
said["answers"] = []
for entity, body, command_id in [("org/acme", {"name": "Acme"}, "p-1"), ("conversation/c", {"type": "group"}, "p-2")]:
    refused = publish("quipu.commands.acme", f"acme/{entity}", body, **ada, **{"Idempotency-Key": command_id})
    assert refused is None, refused
    found = first_of(receipts)
    assert not isinstance(found, KafkaError), found
    said["answers"].append({"status": dict(found.headers())["quipu-status"].decode(), **json.loads(found.value())})
receipts.commit(asynchronous=False)
receipts.close()

# As it was sent, it is another org's, and the topic is acme's.
refused = publish("quipu.commands.acme", "beta/org/beta", {"name": "Forged"}, **ada, **{"Idempotency-Key": "p-3"})
assert refused is None, refused
told = Consumer(config(**{"group.id": "acme.receipts", "auto.offset.reset": "earliest"}))
told.subscribe(["quipu.receipts.acme"])
said["forged"] = json.loads(first_of(told).value())
told.close()

feed = Consumer(config(**{"group.id": "acme.feed", "auto.offset.reset": "earliest"}))
feed.subscribe(["quipu.feed.acme"])
said["events"] = []
while len(said["events"]) < 2:
    event = json.loads(first_of(feed).value())
    if event["streamversion"] == 1:
        said["events"] = sorted([*said["events"], event["type"]])
feed.close()
print(json.dumps(said))
