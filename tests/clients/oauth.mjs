// Libraries for OAuth in JavaScript, unmodified, against a node: openid-client, oauth4webapi and jose.

import assert from "node:assert/strict";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";

const url = process.env.QUIPU_URL;
const send = async (path, body) => {
  const answer = await fetch(`${url}/v1/orgs/acme/${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.QUIPU_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.ok([201, 202].includes(answer.status), `${path}: ${await answer.clone().text()}`);
  return answer.json();
};

await send("orgs", { name: "Acme" });
await send("principals/svc_ci", { name: "CI", owner: "ada" });
await send("applications/ci", {
  name: "CI",
  grants: ["client_credentials"],
  authentication: "client_secret_basic",
  scopes: ["cap:run.*", "cap:stats.read"],
});
await send("applications/ci/link_service", { service: "svc_ci" });
const { shown } = await send("applications/ci/rotate_secret", {});

// The address is one of this machine's own, without TLS.
const insecure = { execute: [openid.allowInsecureRequests] };
const config = await openid.discovery(new URL(url), "acme.ci", undefined, openid.ClientSecretBasic(shown), insecure);
const tokens = await openid.clientCredentialsGrant(config, { scope: "cap:run.*" });
assert.equal(tokens.scope, "cap:run.*");
const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
const wanted = { issuer: url, audience: url, typ: "at+jwt" };
const { payload } = await jose.jwtVerify(tokens.access_token, keys, wanted);
assert.equal(payload.sub, "acme/svc_ci");
await assert.rejects(jose.jwtVerify(tokens.access_token, keys, { ...wanted, audience: "https://else.example" }));
assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).active, true);
await openid.tokenRevocation(config, tokens.access_token);
assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).active, false);

const options = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(url);
const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...options });
const server = await oauth.processDiscoveryResponse(issuer, found);
const client = { client_id: "acme.ci" };
const asked = new URLSearchParams({ scope: "cap:stats.read" });
const answer = await oauth.clientCredentialsGrantRequest(server, client, oauth.ClientSecretBasic(shown), asked, options);
const granted = await oauth.processClientCredentialsResponse(server, client, answer);
assert.equal(granted.token_type, "bearer");
const refused = await oauth.clientCredentialsGrantRequest(
  server,
  client,
  oauth.ClientSecretBasic(shown),
  new URLSearchParams({ scope: "role:owner" }),
  options,
);
await assert.rejects(oauth.processClientCredentialsResponse(server, client, refused), { error: "invalid_scope" });
console.log("done");
