// Asks through the unmodified client and prints one JSON object.
// usage: node ask_reacher.js KEY [URL_OF_THE_CHECK]
const { checkSingle } = require("@reacherhq/api");

const [key, backendUrl] = process.argv.slice(2);

function check(to_email, apiToken = key) {
  const refused = (error) => ({ status: error.response.status, data: error.response.data });
  return checkSingle({ to_email }, { apiToken, backendUrl }).catch(refused);
}

async function main() {
  const answers = {
    known: await check("alice@postfix.test"),
    unknown: await check("nobody@postfix.test"),
    catchAll: await check("x81@catchall.test"),
    dead: await check("user@no-such-domain.test"),
    malformed: await check("foo@bar"),
    empty: await check(""),
    wrong: await check("alice@postfix.test", "wrong"),
  };
  process.stdout.write(JSON.stringify(answers));
}

main();
