"""What an operator types: the kafka-topics.sh and kafka-acls.sh commands of MANUAL on the broker KAFKA, for each of ORGS.

The manual has them for the org acme and for nodes that are User:quipu; nodes of this test are User:ANONYMOUS. Prints how many it ran.
"""

import argparse
import os
import shlex

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

admin = AdminClient(
    {
        "bootstrap.servers": os.environ["KAFKA"],
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "operator",
        "sasl.password": "operator",
    }
)

topics = argparse.ArgumentParser()
topics.add_argument("--create", action="store_true", required=True)
topics.add_argument("--bootstrap-server", required=True)
topics.add_argument("--topic", required=True)
topics.add_argument("--partitions", type=int, required=True)
topics.add_argument("--config", action="append", default=[])

acls = argparse.ArgumentParser()
acls.add_argument("--add", action="store_true", required=True)
acls.add_argument("--bootstrap-server", required=True)
acls.add_argument("--allow-principal", required=True)
acls.add_argument("--operation", action="append", required=True)
acls.add_argument("--topic", action="append", default=[])
acls.add_argument("--group", action="append", default=[])
acls.add_argument("--resource-pattern-type", default="literal")


def make(words):
    asked = topics.parse_args(words)
    config = dict(entry.split("=", 1) for entry in asked.config)
    return admin.create_topics([NewTopic(asked.topic, asked.partitions, 1, config=config)])


def allow(words):
    asked = acls.parse_args(words)
    principal = "User:ANONYMOUS" if asked.allow_principal == "User:quipu" else asked.allow_principal
    pattern = ResourcePatternType[asked.resource_pattern_type.upper()]
    resources = [(ResourceType.TOPIC, name) for name in asked.topic] + [(ResourceType.GROUP, name) for name in asked.group]
    assert resources, words
    return admin.create_acls(
        [
            AclBinding(kind, name, pattern, principal, "*", AclOperation[operation.upper()], AclPermissionType.ALLOW)
            for kind, name in resources
            for operation in asked.operation
        ]
    )


with open(os.environ["MANUAL"], encoding="utf-8") as manual:
    typed = [line[2:].strip() for line in manual if line.startswith(("$ kafka-topics.sh ", "$ kafka-acls.sh "))]
ran = 0
for org in os.environ["ORGS"].split(","):
    for line in typed:
        program, *words = shlex.split(line.replace("acme", org))
        for answer in {"kafka-topics.sh": make, "kafka-acls.sh": allow}[program](words).values():
            answer.result(30)
        ran += 1
print(ran)
