// A whole flow through generated types: `tsc --strict` reads it, and a node answers it.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string | undefined> };

type Run = components["schemas"]["RunRow"];

const org = "typed-ts";
const client = createClient<paths>({
  baseUrl: process.env.QUIPU_URL ?? "",
  headers: { Authorization: `Bearer ${process.env.QUIPU_TOKEN}`, "Quipu-On-Behalf-Of": "ada" },
});

// What is not an answer is a problem, and says so.
function taken<T>({ data, error }: { data?: T; error?: components["schemas"]["Problem"] }): T {
  if (error !== undefined) throw new Error(`${error.code}: ${error.detail} ${error.fix ?? ""}`);
  if (data === undefined) throw new Error("no answer");
  return data;
}

function check(holds: boolean, what: unknown): void {
  if (!holds) throw new Error(JSON.stringify(what));
}

async function until(look: () => Promise<Run | undefined>): Promise<Run> {
  for (let attempt = 0; attempt < 200; attempt++) {
    const run = await look();
    if (run !== undefined) return run;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("no such run in time");
}

const entity = (id: string) => ({ params: { path: { org, id } } });

taken(await client.POST("/v1/orgs/{org}/orgs/{id}", { ...entity(org), body: { name: "Typed" } }));
taken(
  await client.POST("/v1/orgs/{org}/agents/{id}", {
    ...entity("scout"),
    body: { name: "Scout", model: { provider: "scripted", model: "demo" } },
  }),
);
taken(
  await client.POST("/v1/orgs/{org}/conversations/{id}", {
    ...entity("desk"),
    body: { type: "group", participants: [{ principal: "scout", kind: "agent" }] },
  }),
);
const posted = taken(
  await client.POST("/v1/orgs/{org}/conversations/{id}/post", {
    params: { path: { org, id: "desk" }, header: { "Idempotency-Key": "post-1" } },
    body: { body: "What can you do?" },
  }),
);
const messages = taken(
  await client.GET("/v1/orgs/{org}/conversations/{id}/messages", {
    params: { path: { org, id: "desk" }, query: { min_position: posted.position } },
  }),
);
check(messages.items[0]?.body === "What can you do?" && messages.items[0].sender === "ada", messages);

// The agent's turn is a run.
await until(async () => {
  const query = { agent: "scout", state: "completed" } as const;
  const runs = taken(await client.GET("/v1/orgs/{org}/runs", { params: { path: { org }, query } }));
  return runs.items[0];
});

// A node's config has the type that its component asks for.
const definition: components["schemas"]["Definition"] = {
  name: "refund",
  inputs: { amount: { type: "number" } },
  outputs: { answer: { type: "string" } },
  nodes: [
    { id: "ask", component: "wait_approval", config: { approvers: ["ada"] } },
    { id: "pay", component: "map", config: { expression: "'paid ' + string(input)" } },
  ],
  edges: [
    { from: "input.amount", to: "ask.in" },
    { from: "ask.approved", to: "pay.in" },
    { from: "pay.out", to: "output.answer" },
  ],
};
taken(
  await client.POST("/v1/orgs/{org}/runs/{id}", { ...entity("refund-1"), body: { definition, input: { amount: 240 } } }),
);
const state = (wanted: Run["state"]) =>
  until(async () => {
    const { data } = await client.GET("/v1/orgs/{org}/runs/{id}", entity("refund-1"));
    return data?.state === wanted ? data : undefined;
  });
await state("running");
taken(await client.POST("/v1/orgs/{org}/runs/{id}/approve", { ...entity("refund-1"), body: { node: "ask" } }));
const run = await state("completed");
check(JSON.stringify(run.output) === '{"answer":"paid 240"}', run);

const lost = await client.POST("/v1/orgs/{org}/conversations/{id}/post", {
  ...entity("nowhere"),
  body: { body: "Hello" },
});
check(lost.error?.status === 404 && lost.error.code === "conversation_not_found", lost.error);
console.log("done");
