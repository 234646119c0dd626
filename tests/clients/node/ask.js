// Asks through the unmodified clients and prints one JSON object.
// usage: node --require ./hosts.js ask.js EMAILABLE_KEY WHOISXML_KEY [EMAILABLE_BASE_URL]
const { setTimeout } = require("node:timers/promises");
const Emailable = require("emailable");
const EmailVerifier = require("email-verifier");

const [emailableKey, whoisxmlKey, baseUrl] = process.argv.slice(2);

function client(key) {
  const made = Emailable(key);
  if (baseUrl) made.client.instance.defaults.baseURL = baseUrl;
  return made;
}

function whoisxml(key, address) {
  return new Promise((resolve) => {
    new EmailVerifier(key, { retries: 1 }).verify(address, (error, data) =>
      resolve(error ? { error: error.message } : data),
    );
  });
}

async function batch(emailable) {
  const addresses = ["alice@postfix.test", "nobody@postfix.test", "alice@postfix.test"];
  const created = await emailable.batches.verify(addresses);
  const seen = [];
  let status;
  do {
    status = await emailable.batches.status(created.id);
    seen.push(status.message);
    await setTimeout(20);
  } while (!status.emails);
  return { created, seen, status };
}

async function main() {
  const emailable = client(emailableKey);
  const refused = (error) => error;
  const answers = {
    known: await emailable.verify("alice@postfix.test"),
    unknown: await emailable.verify("nobody@postfix.test", { accept_all: true }),
    account: await emailable.account(),
    missing: await emailable.verify("").catch(refused),
    batch: await batch(emailable),
    noBatch: await emailable.batches.status("nothing").catch(refused),
    emptyBatch: await emailable.batches.verify([]).catch(refused),
    wrong: await client("test_xxxxxxxxxx").verify("alice@postfix.test").catch(refused),
  };
  if (!baseUrl) {
    answers.whoisxml = await whoisxml(whoisxmlKey, "alice@postfix.test");
    answers.whoisxmlUnknown = await whoisxml(whoisxmlKey, "nobody@postfix.test");
  }
  process.stdout.write(JSON.stringify(answers));
}

main();
