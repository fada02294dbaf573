// Libraries for OAuth in JavaScript, unmodified, against a node over TLS: openid-client, oauth4webapi and jose.

import assert from "node:assert/strict";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";

const url = process.env.QUIPU_URL;
const back = "https://app.example/back";
const scope = "openid offline_access email cap:org.read cap:run.*";
const sorted = (text) => text.split(" ").sort();

async function send(path, body) {
  const answer = await fetch(`${url}/v1/orgs/acme/${path}`, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.QUIPU_TOKEN}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.ok([201, 202].includes(answer.status), `${path}: ${await answer.clone().text()}`);
  return answer.json();
}

/** A client that is registered; its secret, where it has one. */
async function register(id, authentication, grants, more = {}) {
  const asksPeople = grants.includes("authorization_code");
  const scopes = asksPeople
    ? ["cap:openid.sign_in", "cap:openid.email", "cap:openid.refresh", "cap:org.read", "cap:run.*"]
    : ["cap:run.*", "cap:stats.read"];
  const described = { name: id, authentication, grants, scopes, ...(asksPeople ? { redirect_uris: [back] } : {}), ...more };
  await send(`applications/${id}`, described);
  if (grants.some((grant) => grant === "client_credentials" || grant === "token_exchange")) {
    await send(`principals/svc_${id}`, { name: id, owner: "ada" });
    await send(`applications/${id}/link_service`, { service: `svc_${id}` });
  }
  return authentication.startsWith("client_secret") ? (await send(`applications/${id}/rotate_secret`, {})).shown : undefined;
}

/** What a page would send: where its form leads, and the fields that are filled in already. */
function form(page) {
  const plain = (text) => text.replace(/&quot;/g, '"').replace(/&#39;/g, "'").replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  const attribute = (tag, name) => plain(new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1] ?? "");
  const fields = new URLSearchParams();
  for (const [tag] of page.matchAll(/<input [^>]*>/g)) fields.set(attribute(tag, "name"), attribute(tag, "value"));
  return { action: attribute(/<form [^>]*>/.exec(page)[0], "action"), fields };
}

/** A person opens the page, signs in and answers; where they are sent back to. */
async function signIn(address, decision = "allow") {
  const page = await fetch(address, { redirect: "manual" });
  assert.equal(page.status, 200, await page.clone().text());
  const { action, fields } = form(await page.text());
  fields.set("address", process.env.PERSON_ADDRESS);
  fields.set("password", process.env.PERSON_PASSWORD);
  fields.set("decision", decision);
  const answer = await fetch(new URL(action, address), { method: "POST", body: fields, redirect: "manual" });
  assert.ok([302, 303].includes(answer.status), await answer.clone().text());
  return new URL(answer.headers.get("location"));
}

// openid-client: a person lets a client in, and it goes on until a refresh token is shown twice.
async function byCode() {
  const secret = await register("web", "client_secret_basic", ["authorization_code", "refresh_token"]);
  const config = await openid.discovery(new URL(url), "acme.web", undefined, openid.ClientSecretBasic(secret));
  openid.enableNonRepudiationChecks(config);
  const told = config.serverMetadata();
  assert.equal(told.issuer, url);
  const pkceCodeVerifier = openid.randomPKCECodeVerifier();
  const [expectedState, expectedNonce] = [openid.randomState(), openid.randomNonce()];
  const asked = openid.buildAuthorizationUrl(config, {
    redirect_uri: back,
    scope,
    state: expectedState,
    nonce: expectedNonce,
    max_age: "300",
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
  });
  const checks = { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true, maxAge: 300 };
  await assert.rejects(openid.authorizationCodeGrant(config, await signIn(asked, "deny"), checks), { error: "access_denied" });
  const location = await signIn(asked);
  const mixedUp = new URL(location);
  mixedUp.searchParams.set("iss", "https://else.example");
  await assert.rejects(openid.authorizationCodeGrant(config, mixedUp, checks), ({ cause }) => /"iss"/.test(cause.message));
  const first = await openid.authorizationCodeGrant(config, location, checks);
  const claims = first.claims();
  assert.deepEqual([claims.iss, claims.aud, claims.nonce], [url, "acme.web", expectedNonce]);
  assert.ok(claims.sub.startsWith("usr_") && claims.auth_time <= claims.iat);
  assert.deepEqual(sorted(first.scope), sorted(scope));
  const keys = jose.createRemoteJWKSet(new URL(told.jwks_uri));
  const access = await jose.jwtVerify(first.access_token, keys, { issuer: url, audience: url, typ: "at+jwt", algorithms: ["ES256"] });
  assert.equal(access.payload.sub, claims.sub);
  // What logs in is no access token, and the other way round.
  await assert.rejects(jose.jwtVerify(first.id_token, keys, { issuer: url, audience: url, typ: "at+jwt" }));
  await jose.jwtVerify(first.id_token, keys, { issuer: url, audience: "acme.web" });
  const about = await openid.fetchUserInfo(config, first.access_token, claims.sub);
  assert.deepEqual(about, { sub: claims.sub, email: process.env.PERSON_ADDRESS, email_verified: false });
  const runs = await openid.fetchProtectedResource(config, first.access_token, new URL(`${url}/v1/orgs/acme/runs`), "GET");
  assert.equal(runs.status, 200, await runs.text());
  const second = await openid.refreshTokenGrant(config, first.refresh_token);
  assert.notEqual(second.refresh_token, first.refresh_token);
  assert.equal(second.claims()?.sub, claims.sub);
  const third = await openid.refreshTokenGrant(config, second.refresh_token, { scope });
  assert.equal((await openid.tokenIntrospection(config, third.access_token)).active, true);
  await assert.rejects(openid.refreshTokenGrant(config, first.refresh_token), { error: "invalid_grant" });
  assert.equal((await openid.tokenIntrospection(config, third.access_token)).active, false);
  await assert.rejects(openid.refreshTokenGrant(config, third.refresh_token), { error: "invalid_grant" });
  await assert.rejects(openid.fetchUserInfo(config, third.access_token, claims.sub), { status: 401 });
  // What is refused before anybody is asked, in words that the library understands.
  const given = Object.fromEntries(asked.searchParams);
  for (const [changes, error] of [
    [{ prompt: "none" }, "login_required"],
    [{ code_challenge_method: "plain" }, "invalid_request"],
    [{ scope: `${scope} role:owner` }, "invalid_scope"],
  ]) {
    const answer = await fetch(openid.buildAuthorizationUrl(config, { ...given, ...changes }), { redirect: "manual" });
    await assert.rejects(openid.authorizationCodeGrant(config, new URL(answer.headers.get("location")), checks), { error });
  }
  const elsewhere = openid.buildAuthorizationUrl(config, { ...given, redirect_uri: `${back}/../else` });
  const stays = await fetch(elsewhere, { redirect: "manual" });
  assert.deepEqual([stays.status, stays.headers.get("location")], [400, null]);
  await stays.body.cancel();
}

// openid-client: by itself, and for somebody else whose token it was shown.
async function byItself() {
  const secret = await register("ci", "client_secret_basic", ["client_credentials", "token_exchange"]);
  const config = await openid.discovery(new URL(url), "acme.ci", undefined, openid.ClientSecretBasic(secret));
  const tokens = await openid.clientCredentialsGrant(config, { scope: "cap:run.*" });
  assert.equal(tokens.scope, "cap:run.*");
  const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
  const wanted = { issuer: url, audience: url, typ: "at+jwt" };
  const { payload } = await jose.jwtVerify(tokens.access_token, keys, wanted);
  assert.equal(payload.sub, "acme/svc_ci");
  await assert.rejects(jose.jwtVerify(tokens.access_token, keys, { ...wanted, audience: "https://else.example" }));
  const exchanged = await openid.genericGrantRequest(config, "urn:ietf:params:oauth:grant-type:token-exchange", {
    subject_token: tokens.access_token,
    subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
    scope: "cap:run.start",
  });
  assert.deepEqual([exchanged.scope, exchanged.issued_token_type], ["cap:run.start", "urn:ietf:params:oauth:token-type:access_token"]);
  assert.equal((await openid.tokenIntrospection(config, exchanged.access_token)).act.sub, "acme/svc_ci");
  // For another resource (RFC 8707): it says so, and opens nothing here.
  const resource = "https://files.example/";
  const other = await openid.clientCredentialsGrant(config, { scope: "cap:run.*", resource });
  assert.equal((await jose.jwtVerify(other.access_token, keys, { ...wanted, audience: resource })).payload.sub, "acme/svc_ci");
  await assert.rejects(openid.fetchProtectedResource(config, other.access_token, new URL(`${url}/v1/me`), "GET"), { status: 401 });
  assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).active, true);
  await openid.tokenRevocation(config, tokens.access_token);
  assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).active, false);
  // What it was made from has ended.
  assert.equal((await openid.tokenIntrospection(config, exchanged.access_token)).active, false);
  await openid.tokenRevocation(config, "no token at all");
}

// oauth4webapi: a client that keeps no secret, as a program on people's machines.
async function publicClient(server) {
  await register("spa", "none", ["authorization_code", "refresh_token"]);
  const client = { client_id: "acme.spa" };
  const [verifier, state, nonce] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState(), oauth.generateRandomNonce()];
  const asked = new URL(server.authorization_endpoint);
  const challenge = await oauth.calculatePKCECodeChallenge(verifier);
  const request = { client_id: "acme.spa", redirect_uri: back, response_type: "code", scope, state, nonce };
  asked.search = new URLSearchParams({ ...request, code_challenge: challenge, code_challenge_method: "S256" });
  const params = oauth.validateAuthResponse(server, client, await signIn(asked), state);
  const answer = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), params, back, verifier);
  const first = await oauth.processAuthorizationCodeResponse(server, client, answer, { expectedNonce: nonce, requireIdToken: true });
  const { sub } = oauth.getValidatedIdTokenClaims(first);
  const about = await oauth.userInfoRequest(server, client, first.access_token);
  await oauth.processUserInfoResponse(server, client, sub, about);
  const shown = new Request(url, { headers: { authorization: `Bearer ${first.access_token}` } });
  assert.equal((await oauth.validateJwtAccessToken(server, shown, url)).client_id, "acme.spa");
  const next = () => oauth.refreshTokenGrantRequest(server, client, oauth.None(), first.refresh_token);
  const second = await oauth.processRefreshTokenResponse(server, client, await next());
  await assert.rejects(next().then((again) => oauth.processRefreshTokenResponse(server, client, again)), { error: "invalid_grant" });
  const over = await fetch(`${url}/v1/me`, { headers: { authorization: `Bearer ${second.access_token}` } });
  assert.equal(over.status, 401);
}

// oauth4webapi: a client that signs, and what it finds out by itself.
async function signing(server) {
  const pair = await oauth.generateKeyPair("ES256", { extractable: true });
  const { kty, crv, x, y } = await jose.exportJWK(pair.publicKey);
  await register("signs", "private_key_jwt", ["client_credentials"], { keys: [{ kty, crv, x, y }] });
  const client = { client_id: "acme.signs" };
  const by = oauth.PrivateKeyJwt(pair.privateKey);
  const grant = (scope) => oauth.clientCredentialsGrantRequest(server, client, by, new URLSearchParams({ scope }));
  const granted = await oauth.processClientCredentialsResponse(server, client, await grant("cap:stats.read"));
  assert.equal(granted.token_type, "bearer");
  const refused = oauth.processClientCredentialsResponse(server, client, await grant("role:owner"));
  await assert.rejects(refused, { error: "invalid_scope" });
  const isActive = async () => {
    const answer = await oauth.introspectionRequest(server, client, by, granted.access_token);
    return (await oauth.processIntrospectionResponse(server, client, answer)).active;
  };
  assert.equal(await isActive(), true);
  await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, by, granted.access_token));
  assert.equal(await isActive(), false);
  const refusal = await fetch(`${url}/v1/orgs/acme/runs`, { headers: { authorization: `Bearer ${granted.access_token}` } });
  assert.equal(refusal.status, 401);
  const [challenge] = await challenges(granted.access_token);
  assert.equal(challenge.parameters.resource_metadata, `${url}/.well-known/oauth-protected-resource`);
}

/** What a refusal of the API says of how to go on, as the library reads it. */
async function challenges(token) {
  try {
    await oauth.protectedResourceRequest(token, "GET", new URL(`${url}/v1/orgs/acme/runs`));
    return [];
  } catch (error) {
    return error.cause;
  }
}

const found = await oauth.discoveryRequest(new URL(url), { algorithm: "oauth2" });
const server = await oauth.processDiscoveryResponse(new URL(url), found);
const described = await oauth.resourceDiscoveryRequest(new URL(url));
const resource = await oauth.processResourceDiscoveryResponse(new URL(url), described);
assert.deepEqual(resource.authorization_servers, [url]);
await byCode();
await byItself();
await publicClient(server);
await signing(server);
console.log("done");
