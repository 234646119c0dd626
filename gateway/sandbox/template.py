"""The text of `docs/sandbox.md` around its tables."""

TEMPLATE = """\
# The sandbox

`veriplex sandbox` answers the five vendors' APIs off-line, in memory and the same every time, so
that a test suite needs no network, no account and no credits. It needs no configuration:

```console
$ veriplex sandbox --port 8025
emailable  http://127.0.0.1:8025/emailable/v1 …
listening on http://127.0.0.1:8025
```

`--port 0` picks a free port, and the last line names it. `--key KEY` adds a test key for every
dialect, `--seed TEXT` draws other samples, `--seed random` draws anew each time, as the vendors'
own test keys do. SIGTERM ends it with exit code 0. The same test keys are answered by
`veriplex serve`, beside live keys: a test key is never charged, never limited and never leads to a
vendor or a mail server.

`[log]` of the settings holds here as it does for `serve`, but for the line that `serve` writes of
each request: that is written at `level = "debug"` alone, since the control API's log shows more.

{{keys}}

Any other key is refused as the vendor refuses it.

## What an address is told

A sample is a function of seed, dialect and address, and of the checks asked for. It stays what it
is across releases unless the changelog says otherwise. What follows from the address is right:
domain, user, tag, names, free, role and disposable. Malformed addresses are answered as malformed.

These get the answer that they name, in every dialect. A tag is free: `deliverable+7@example.com`
is another address with the same answer. In Emailable's batches they have no effect, as the vendor
says; in the others' they have.

{{magic}}

`slow@example.com` is not ready in time, however often it is asked about, wherever the vendor has an
answer for that (Emailable's 249); elsewhere it is a timeout. Nothing really waits.

## Statuses and states on demand

One word makes any endpoint answer with any problem of its vendor, in the vendor's own body. There
are four ways to say it:

| way | example | holds for |
| --- | --- | --- |
| in an address | `ada+simulate-429@example.org` | a request, or a batch, with this address |
| behind the key | `test_sandbox-simulate-429` | every request with this key |
| Emailable's parameter | `simulate=payment_error` | a batch or its status |
| a fault | `{"simulate": "429", "times": 3}` | as it says (see below) |

A word is a status of HTTP or the name of a problem. Where a vendor has no such status, the nearest
problem is answered as the vendor words it: the table shows the status that comes of it, in brackets
at single endpoints. 429 and 503 ask to wait one second, where the vendor says so at all.

{{problems}}

Batches of a test key are complete at the first look. These words show them in another state; in an
address they stay with the batch, behind the key they hold for that look alone. States that are half
way have half of the rows.

{{jobs}}

## The control API

Under `/veriplex/v1/`, JSON in and out. On `veriplex sandbox` no key is needed; `?key=KEY`, or a
bearer token, narrows a call to what belongs to that key. On `veriplex serve` a key is needed, and
`keys` is refused.

| call | what it does |
| --- | --- |
| `GET sandbox` | seed, base URLs, well-known keys |
| `POST keys` | a fresh key for each dialect, isolated from all others: one set a test worker |
| `GET requests` | the log, oldest first; `limit` (100) newest |
| `GET requests/last`, `requests/count`, `requests/ID` | one request, or how many |
| `GET requests/wait?count=N&timeout_s=S` | answers once N requests are there, 408 after S seconds |
| `DELETE requests` | empties the log |
| `GET`, `POST`, `DELETE faults`, `DELETE faults/ID` | shows, sets, removes faults |
| `GET`, `POST`, `DELETE clock` | shows, sets, resets the clock: everybody's, or the key's own |
| `POST reset` | log, faults, batches and clock as at the start; with a key only what is its own |

Requests can be filtered by `dialect`, `operation`, `method`, `status`, `path`, `problem`, `after`
(an id) and `text` (in query or body). Each shows what was sent and answered, and for a refused or
malformed request the reason. Keys are cut down to their last four characters wherever they stand,
in bodies that cannot be read as well: the one that was sent, whatever has the shape of a key of any
dialect, and what a member or parameter called `api_key`, `apikey` or `access_token` holds. The log
is a ring of 3,000 requests and 8 MB of bodies.

A fault says whom it hits, how often, and what goes wrong:

| member | meaning |
| --- | --- |
| `dialect`, `operation` | only these requests |
| `rate`, `seed` | this share of them (0 to 1), drawn from the seed |
| `skip`, `times` | after so many, and so often: fail three times, then succeed |
| `simulate` | a word for a problem, as above |
| `limit` | `{"count": 10, "per_s": 60}`: a real limiter, 429 beyond it |
| `latency_ms` | `100`, `[50, 200]` (uniform) or `{"median": 100, "sigma": 0.5}` (log-normal) |
| `connection` | `reset`, `truncate`, or `drip` with `"drip": {"bytes": 16, "every_ms": 50}` |

Webhooks of batches are sent to private addresses alone, and by the clock: hourly for three days,
until one is answered with 200. A fault with `"operation": "webhook"` makes tries fail unsent, so
that `times: 1` and then `advance_s: 3600` show a delivery that comes an hour late.

The clock takes `{"at": "2027-01-01T00:00:00Z"}`, `{"advance_s": 3600}` and `{"frozen": true}`,
alone or together. Everything in the sandbox goes by it: retention, slow batches, hourly webhooks,
limiters and `Retry-After`, the month of an account, the request log. With a key it is the clock of
what belongs to that key alone, which goes by everybody's until it is set, and on top of it from
then on; it shows the same again after `DELETE clock` or `POST reset`. A limiter that was set for
everybody counts apart for keys with a clock of their own. While a clock shows another time than the
real one, samples say that they were verified then; otherwise they say 2026-01-01.

## In tests

Python, with pytest: `pip install pytest-veriplex veriplex` brings the fixture `veriplex_sandbox`.

```python
import emailable


def test_signup(veriplex_sandbox):
    client = emailable.Client(veriplex_sandbox.keys["emailable"])
    client.base_url = veriplex_sandbox.base_urls["emailable"] + "/"
    assert client.verify("deliverable@example.com").state == "deliverable"
    assert veriplex_sandbox.last(operation="verify")["status"] == 200
```

The server runs in a process of its own for the whole session; each test has fresh keys, and so a
log, faults and a clock of its own.

| of the fixture | what it is |
| --- | --- |
| `url`, `base_urls["emailable"]`, `keys["emailable"]` | the server; what a client needs |
| `key("emailable", "429")` | the key that gets this word's outcome every time |
| `requests(…)`, `last(…)`, `count(…)` | the log of this test, by the filters above |
| `wait_for(2, timeout_s=5.0, …)` | the requests, as soon as there are that many |
| `fault(simulate="429", times=2)`, `clear_faults()` | faults, with the members above |
| `clock(advance_s=3600)` | moves the clock; returns what it shows |
| `reset()` | forgets all of it; done after each test |

What the sandbox refuses raises `veriplex_pytest.ControlError`. The plugin needs nothing but pytest
and a server. It starts the one that `VERIPLEX_COMMAND` names, else the one installed beside it,
else `veriplex` on `PATH`, else `uvx veriplex`, in a folder of its own and without `PYTHONPATH`: a
project may have a `gateway`, an `engine` or an `adapters` of its own.

Node, with the official client:

```js
const emailable = require('emailable')('test_7aff7fc0142c65f86a00')
emailable.client.instance.defaults.baseURL = 'http://127.0.0.1:8025/emailable/v1/'
```

Ruby, with the official client:

```ruby
module Sandboxed
  def initialize
    super
    @base_url = 'http://127.0.0.1:8025/emailable/v1'
    @connection = create_connection(URI(@base_url))
  end
end
Emailable::Client.prepend(Sandboxed)
Emailable.api_key = 'test_7aff7fc0142c65f86a00'
```

Go, without a client:

```go
base := os.Getenv("EMAILABLE_BASE_URL") // http://127.0.0.1:8025/emailable/v1
req, _ := http.NewRequest("GET", base+"/verify?email=deliverable@example.com", nil)
req.Header.Set("Authorization", "Bearer test_7aff7fc0142c65f86a00")
```

PHP, with Guzzle:

```php
$client = new GuzzleHttp\\Client(['base_uri' => 'http://127.0.0.1:8025/emailable/v1/']);
$reply = $client->get('verify', ['query' => [
    'email' => 'deliverable@example.com', 'api_key' => 'test_7aff7fc0142c65f86a00']]);
```

In a container: `docker compose up sandbox`. For GitHub Actions: `docs/github-actions.yml`. The
Python and the socket parts of this page are run in the tests of this repository, Emailable's own
suites for Python and Node were run against it by hand; Ruby, Go, PHP, the image and the workflow
are examples that were not run.
"""
