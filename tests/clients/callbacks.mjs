// Deliveries that libraries sign: Standard Webhooks, and those of GitHub. The former verifies what the node sends.

import assert from "node:assert/strict";
import { sign } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";

const base = process.env.QUIPU_URL;
const body = JSON.stringify({ text: "signed by a library, with ünïcode" });

async function deliver(callback, headers, sent = body) {
  const answer = await fetch(`${base}/callbacks/acme/${callback}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: sent,
  });
  return { status: answer.status, replayed: answer.headers.get("idempotent-replayed"), text: await answer.text() };
}

const hook = new Webhook(process.env.HOOK_SECRET);
const sent = JSON.parse(process.env.DELIVERY);
assert.deepEqual(hook.verify(sent.body, sent.headers).data, { number: "4711" });
assert.throws(() => hook.verify(sent.body.replace("4711", "4712"), sent.headers));
assert.throws(() => hook.verify(sent.body, { ...sent.headers, "webhook-id": "another" }));
const at = new Date();
const standard = (id) => ({
  "webhook-id": id,
  "webhook-timestamp": `${Math.floor(at.getTime() / 1000)}`,
  "webhook-signature": hook.sign(id, at, body),
});
assert.equal((await deliver("hooks", standard("msg_js_1"))).status, 202);
const again = await deliver("hooks", standard("msg_js_1"));
assert.deepEqual([again.status, again.replayed], [202, "true"]);
assert.equal((await deliver("hooks", standard("msg_js_2"), body.replace("signed", "forged"))).status, 401);

const github = async (id) => ({
  "x-github-event": "push",
  "x-github-delivery": id,
  "x-hub-signature-256": await sign(process.env.HUB_SECRET, body),
});
assert.equal((await deliver("hub", await github("72d3162e-cc78-11e3-81ab-4c9367dc0958"))).status, 202);
const redelivered = await deliver("hub", await github("72d3162e-cc78-11e3-81ab-4c9367dc0958"));
assert.deepEqual([redelivered.status, redelivered.replayed], [202, "true"]);
assert.equal((await deliver("hooks", await github("another"))).status, 401);
console.log("done");
