// Asks a zone about good and bad tokens at once, over one connection of HTTP/2.
//
// usage: h2_node.mjs URL CA-FILE GOOD-TOKEN BAD-TOKEN COUNT
// Prints, as JSON, how many of each had which outcome.
import http2 from "node:http2";
import fs from "node:fs";

const [url, ca, good, bad, count] = process.argv.slice(2);
const session = http2.connect(url, { ca: fs.readFileSync(ca) });
session.on("error", () => {});
session.on("goaway", () => note("session goaway"));
const outcomes = {};
const note = (outcome) => { outcomes[outcome] = (outcomes[outcome] ?? 0) + 1; };

function ask(kind, token) {
  return new Promise((resolve) => {
    let status = "none";
    let stream;
    try {
      stream = session.request({ ":method": "POST", ":path": "/v1/authenticate", "content-type": "application/json" });
    } catch (error) {
      note(`${kind} ${error.code}`);
      return resolve();
    }
    stream.on("response", (headers) => { status = headers[":status"]; });
    stream.on("error", (error) => { status = error.code; });
    stream.on("close", () => { note(`${kind} HTTP/2 ${status}`); resolve(); });
    stream.resume();
    stream.end(JSON.stringify({ token, require: {} }));
  });
}

const all = [];
for (let i = 0; i < Number(count); i++) all.push(ask("good", good), ask("bad", bad));
await Promise.all(all);
const ended = new Promise((resolve) => session.on("close", resolve));
session.close();
await ended;
console.log(JSON.stringify(outcomes));
