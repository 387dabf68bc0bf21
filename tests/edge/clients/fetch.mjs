// Node's fetch: fetch.mjs URL KEY_ID SECRET; the CA comes by NODE_EXTRA_CA_CERTS.
import assert from "node:assert/strict";

const [url, key, secret] = process.argv.slice(2);
const headers = {"X-Access-Key-Id": key, "X-Access-Key-Secret": secret};
for (let n = 0; n < 3; n++) {
  const answer = await fetch(`${url}/things?page=1`, {headers});
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), {ok: true});
}
const basic = "Basic " + Buffer.from(`${key}:${secret}`).toString("base64");
const json = {"Content-Type": "application/json"};
let answer = await fetch(`${url}/things`, {method: "POST", headers: {...json, Authorization: basic}, body: JSON.stringify({a: 1})});
assert.equal(answer.status, 200);
await answer.arrayBuffer();
const pieces = new ReadableStream({
  start(to) {
    for (const piece of ['{"a":', " 1", "}"]) to.enqueue(new TextEncoder().encode(piece));
    to.close();
  },
});
answer = await fetch(`${url}/things`, {method: "POST", headers: {...json, ...headers}, body: pieces, duplex: "half"});
assert.equal(answer.status, 200);
await answer.arrayBuffer();
answer = await fetch(`${url}/things`);
assert.deepEqual([answer.status, (await answer.json()).code], [401, "credentials-missing"]);
answer = await fetch(`${url}/other`, {headers});
assert.deepEqual([answer.status, (await answer.json()).code], [403, "endpoint-unknown"]);
