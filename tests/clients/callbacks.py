"""Deliveries that the reference library signs: taken once, and refused when they are late or changed. It verifies the node's own."""

import datetime
import json
import os
import urllib.error
import urllib.request

from standardwebhooks import Webhook, WebhookVerificationError

ADDRESS = os.environ["QUIPU_URL"] + "/callbacks/acme/hooks"
HOOK = Webhook(os.environ["HOOK_SECRET"])


def deliver(delivery: str, at: datetime.datetime, body: str, sent: str | None = None) -> tuple[int, dict[str, str], str]:
    headers = {
        "content-type": "application/json",
        "webhook-id": delivery,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": HOOK.sign(delivery, at, body),
    }
    request = urllib.request.Request(ADDRESS, data=(sent or body).encode(), headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


def told(answer: tuple[int, dict[str, str], str]) -> dict[str, object]:
    """What a refusal says, but for what differs from request to request."""
    return {name: value for name, value in json.loads(answer[2]).items() if name not in ("request_id", "time")}


def of_the_node() -> None:
    sent = json.loads(os.environ["DELIVERY"])
    said = HOOK.verify(sent["body"], sent["headers"])
    assert said["type"] == "order.placed" and said["data"] == {"number": "4711"}, said
    later = sent["headers"] | {"webhook-timestamp": str(int(sent["headers"]["webhook-timestamp"]) + 1)}
    for body, headers in ((sent["body"].replace("4711", "4712"), sent["headers"]), (sent["body"], later)):
        try:
            HOOK.verify(body, headers)
            raise AssertionError("something else is verified as well")
        except WebhookVerificationError:
            pass


def main() -> None:
    of_the_node()
    now = datetime.datetime.now(tz=datetime.timezone.utc)
    body = json.dumps({"text": "signed by a library"})
    first = deliver("msg_py_1", now, body)
    assert first[0] == 202 and "idempotent-replayed" not in first[1], first
    again = deliver("msg_py_1", now, body)
    assert again[0] == 202 and again[1]["idempotent-replayed"] == "true", again
    assert json.loads(again[2])["position"] == json.loads(first[2])["position"], (first, again)
    late = deliver("msg_py_2", now - datetime.timedelta(seconds=310), body)
    changed = deliver("msg_py_3", now, body, sent=body.replace("signed", "forged"))
    assert late[0] == 401 and changed[0] == 401 and told(late) == told(changed), (late, changed)
    print("done")


main()
