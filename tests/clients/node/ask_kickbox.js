// Asks through the unmodified client and prints one JSON object.
// usage: node --require ./hosts.js ask_kickbox.js KEY [BASE_URL [API_VERSION]]
const { setTimeout } = require("node:timers/promises");
const kickbox = require("kickbox");

const [key, base, version] = process.argv.slice(2);

function client(key) {
  const options = {};
  if (base) options.base = base;
  if (version) options.api_version = version;
  return kickbox.client(key, options);
}

function verify(api, email) {
  return new Promise((resolve) => {
    api.kickbox().verify(email, (error, response) =>
      resolve(error ? { message: error.message, code: error.code } : shown(response)),
    );
  });
}

function shown(response) {
  return { body: response.body, code: response.code, headers: response.headers };
}

function request(api, method, path, body, options) {
  return new Promise((resolve) => {
    api.httpClient.request(path, body, method, options, (error, response) =>
      resolve(error ? { message: error.message, code: error.code } : shown(response)),
    );
  });
}

async function batch(api) {
  const list = "alice@postfix.test\nnobody@postfix.test\nalice@postfix.test\n";
  const created = await request(api, "PUT", "/verify-batch", list, {
    request_type: "raw",
    headers: { "X-Kickbox-Filename": "people.txt" },
  });
  let status;
  do {
    await setTimeout(50);
    status = await request(api, "GET", `/verify-batch/${created.body.id}`, {}, { query: {} });
  } while (!["completed", "failed"].includes(status.body.status));
  return { created, status };
}

async function main() {
  const api = client(key);
  const answers = {
    known: await verify(api, "alice@postfix.test"),
    plus: await verify(api, "alice+news@postfix.test"),
    unknown: await verify(api, "nobody@postfix.test"),
    missing: await verify(api, ""),
    wrong: await verify(client("live_" + "0".repeat(64)), "alice@postfix.test"),
    balance: await request(api, "GET", "/balance", {}, { query: {} }),
    batch: await batch(api),
  };
  process.stdout.write(JSON.stringify(answers));
}

main();
