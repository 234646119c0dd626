// Asks through the unmodified client and prints one JSON object.
// usage: node --require ./hosts.js ask_neverbounce.js KEY [HOST PORT VERSION]
// VERIPLEX_CLIENT is the name of the package, and VERIPLEX_API_VERSION that of the API by host name.
const http = require("node:http");
const { setTimeout } = require("node:timers/promises");

const library = require(process.env.VERIPLEX_CLIENT || "neverbounce");
const NeverBounce = library.default || library;

const [key, host, port, apiVersion] = process.argv.slice(2);

function client(apiKey) {
  const byName = process.env.VERIPLEX_API_VERSION;
  if (!host) return new NeverBounce(byName ? { apiKey, apiVersion: byName } : { apiKey });
  const opts = { host, port, protocol: "http:", agent: http.globalAgent };
  return new NeverBounce({ apiKey, apiVersion, opts });
}

function failed(error) {
  return { type: error.type, message: error.message };
}

function shown(found) {
  return found.response;
}

async function list(api) {
  const people = [
    { id: "3", email: "alice@postfix.test" },
    { id: "4", email: "nobody@postfix.test" },
  ];
  const supplied = NeverBounce.job.inputType.supplied;
  const created = await api.jobs.create(people, supplied, "people.csv", false, true, true);
  const id = created.job_id;
  const { complete, failed: broken } = NeverBounce.job.status;
  let status;
  do {
    await setTimeout(50);
    status = await api.jobs.status(id);
  } while (![complete, broken].includes(status.job_status));
  return {
    created,
    status,
    results: await api.jobs.results(id, { page: 1, items_per_page: 10 }),
    file: await api.jobs.download(id),
    found: await api.jobs.search({ job_id: id }),
    deleted: await api.jobs.delete(id),
    gone: await api.jobs.status(id).catch(failed),
  };
}

async function main() {
  const api = client(key);
  const known = await api.single.check("alice@postfix.test", true, true, 20, false);
  const answers = {
    known: shown(known),
    isValid: known.is(NeverBounce.result.valid) && known.hasFlag("smtp_connectable"),
    unknown: shown(await api.single.check("nobody@postfix.test")),
    catchAll: shown(await api.single.check("x83@catchall.test")),
    malformed: shown(await api.single.check("not-an-address")),
    missing: await api.single.check("").catch(failed),
    wrong: await client("private_" + "0".repeat(32))
      .single.check("alice@postfix.test")
      .catch(failed),
    account: await api.account.info(),
    jobs: await list(api),
  };
  process.stdout.write(JSON.stringify(answers));
}

main();
