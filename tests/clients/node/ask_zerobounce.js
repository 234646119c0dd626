// Asks through the unmodified client and prints one JSON object.
// usage: node --require ./hosts.js ask_zerobounce.js KEY [BASE_URL]
// Lists are asked for by host name alone, since the client has the bulk host's URL as a constant.
const { setTimeout } = require("node:timers/promises");
const ZeroBounceSDK = require("@zerobounce/zero-bounce-sdk");

const [key, base] = process.argv.slice(2);

// The browser that the client hands a file to.
let saved;
globalThis.window = { navigator: { msSaveOrOpenBlob: (blob, name) => (saved = { blob, name }) } };

function client(key) {
  const api = new ZeroBounceSDK();
  api.init(key, base);
  return api;
}

async function list(send, status, fetchFile, remove) {
  const file = new File(["email\nalice@postfix.test\nnobody@postfix.test\n"], "people.csv");
  const sent = await send({ file, email_address_column: 1, has_header_row: true });
  const id = sent.file_id;
  let found;
  do {
    await setTimeout(50);
    found = await status(id);
  } while (!["Complete", "Failed"].includes(found.file_status));
  await fetchFile(id);
  const text = await saved.blob.text();
  const name = saved.name;
  const deleted = await remove(id);
  return { sent, status: found, saved: { name, text }, deleted, gone: await status(id) };
}

async function main() {
  const api = client(key);
  const wrong = client("0".repeat(32));
  const today = new Date().toISOString().slice(0, 10);
  const answers = {
    known: await api.validateEmail("alice@postfix.test", { ip_address: "127.0.0.1", timeout: 20 }),
    unknown: await api.validateEmail("nobody@postfix.test"),
    catchAll: await api.validateEmail("x85@catchall.test"),
    malformed: await api.validateEmail("not-an-address"),
    credits: await api.getCredits(),
    usage: await api.getApiUsage(today, today),
    activity: await api.getEmailActivity("alice@postfix.test"),
    guess: await api.findEmailByDomain({ domain: "postfix.test", first_name: "Ada" }),
    wrong: await wrong.validateEmail("alice@postfix.test"),
    wrongCredits: await wrong.getCredits(),
  };
  if (!base) {
    answers.batch = await api.validateBatch([
      { email_address: "alice@postfix.test" },
      { email_address: "nobody@postfix.test" },
    ]);
    answers.file = await list(
      (file) => api.sendFile(file),
      (id) => api.getFileStatus(id),
      (id) => api.getFile(id),
      (id) => api.deleteFile(id),
    );
    answers.scores = await list(
      (file) => api.sendScoringFile(file),
      (id) => api.getScoringFileStatus(id),
      (id) => api.getScoringFile(id),
      (id) => api.deleteScoringFile(id),
    );
  }
  process.stdout.write(JSON.stringify(answers));
}

main();
