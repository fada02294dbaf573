// Introspection by a node beside oidc-provider, in turns and by the same client: QUIPU_URL and QUIPU_TOKEN name the node.
// `npm install oidc-provider` first; `node introspection.mjs` prints requests a second of both, and their ratio.

import { fork } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { fileURLToPath } from "node:url";

const CONNECTIONS = 64;
const ROUNDS = Number(process.env.ROUNDS ?? 5);
const SECONDS = Number(process.env.SECONDS ?? 3);
const basic = (id, secret) => `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
const form = "application/x-www-form-urlencoded";

// The peer is a process of its own, as the node is.
async function serve() {
  const { Provider } = await import("oidc-provider");
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  const issuer = `http://127.0.0.1:${port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: "ci", client_secret: "secret", grant_types: ["client_credentials"], redirect_uris: [], response_types: [] }],
    features: { clientCredentials: { enabled: true }, introspection: { enabled: true }, devInteractions: { enabled: false } },
  });
  provider.listen(port, "127.0.0.1", () => process.send(issuer));
  process.on("disconnect", () => process.exit());
}

async function token(url, path, authorization) {
  const answer = await fetch(`${url}${path}`, {
    method: "POST",
    headers: { authorization, "content-type": form },
    body: "grant_type=client_credentials",
  });
  const told = await answer.json();
  if (!told.access_token) throw new Error(`${url}${path}: ${JSON.stringify(told)}`);
  return told.access_token;
}

async function ours() {
  const url = process.env.QUIPU_URL;
  const send = async (path, body) => {
    const answer = await fetch(`${url}/v1/orgs/peer/${path}`, {
      method: "POST",
      headers: { authorization: `Bearer ${process.env.QUIPU_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`);
    return answer.json();
  };
  await send("orgs", { name: "Peer" });
  await send("principals/svc_ci", { name: "CI", owner: "ada" });
  const client = { name: "CI", grants: ["client_credentials"], authentication: "client_secret_basic", scopes: ["cap:stats.read"] };
  await send("applications/ci", client);
  await send("applications/ci/link_service", { service: "svc_ci" });
  const { shown } = await send("applications/ci/rotate_secret", {});
  const authorization = basic("peer.ci", shown);
  return { url, path: "/oauth/introspect", authorization, token: await token(url, "/oauth/token", authorization) };
}

async function theirs() {
  const child = fork(fileURLToPath(import.meta.url), ["serve"]);
  const [url] = await once(child, "message");
  const authorization = basic("ci", "secret");
  const path = "/token/introspection";
  return { child, url, path, authorization, token: await token(url, "/token", authorization) };
}

// Requests a second over connections that stay open; each answer must say that the token counts.
async function rate({ url, path, authorization, token }) {
  const { hostname, port, host } = new URL(url);
  const body = `token=${token}`;
  const request =
    `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n` +
    `Content-Type: ${form}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const end = performance.now() + SECONDS * 1000;
  const one = () =>
    new Promise((done, fail) => {
      let [count, text] = [0, ""];
      const socket = net.connect(Number(port), hostname, () => socket.write(request));
      socket.setNoDelay();
      socket.on("error", fail);
      socket.on("data", (data) => {
        text += data;
        const head = text.indexOf("\r\n\r\n");
        const length = /content-length: (\d+)/i.exec(text);
        if (head < 0 || !length || text.length < head + 4 + Number(length[1])) return;
        if (!text.includes('"active":true')) return fail(new Error(text));
        [count, text] = [count + 1, ""];
        if (performance.now() < end) return socket.write(request);
        socket.destroy();
        done(count);
      });
    });
  const counts = await Promise.all(Array.from({ length: CONNECTIONS }, one));
  return counts.reduce((sum, count) => sum + count, 0) / SECONDS;
}

if (process.argv[2] === "serve") {
  await serve();
} else {
  const [node, peer] = [await ours(), await theirs()];
  const rounds = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push([await rate(node), await rate(peer)]);
  peer.child.kill();
  const median = (all) => all.toSorted((a, b) => a - b)[all.length >> 1];
  const told = (all) => all.map((rate) => rate.toFixed(0)).join(" ");
  const ratio = median(rounds.map(([own, other]) => own / other));
  console.log(`quipu ${told(rounds.map(([own]) => own))}/s; oidc-provider ${told(rounds.map(([, other]) => other))}/s; ${ratio.toFixed(1)} ×`);
}
