"""What must happen in one step on the server, in Lua. All else is done by plain commands.

Only commands that Valkey 8 and Redis 6.2 both have are used, and the server's clock, since those of
the processes may differ. Times are whole microseconds, which a number of Lua holds exactly.
"""

from __future__ import annotations

from hashlib import sha1


class Script:
    """One script, and the digest by which a server that has run it knows it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


HIT = Script("""
local t = redis.call('TIME')
local now, count, per = t[1] * 1000000 + t[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = redis.call('LINDEX', KEYS[1], 0)
while oldest and oldest + per <= now do
  redis.call('LPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], 0)
end
local calls = redis.call('LLEN', KEYS[1])
if calls >= count then return {-1, oldest + per - now} end
redis.call('RPUSH', KEYS[1], now)
redis.call('PEXPIRE', KEYS[1], math.ceil(per / 1000))
return {count - calls - 1, 0}
""")
"""A moving window of the times of calls. Returns how many more fit; or -1, and the microseconds
until one does."""

TURN = Script("""
local t = redis.call('TIME')
local now, interval, burst = t[1] * 1000000 + t[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now - burst)
if due > now then return due - now end
if interval > 0 then
  local matters = math.max(math.ceil((due + interval + burst - now) / 1000), 1)
  redis.call('SET', KEYS[1], string.format('%d', due + interval), 'PX', matters)
end
return 0
""")
"""GCRA: when the next turn is due. Returns the microseconds until then, or takes it and returns 0.
"""

DELAY = Script("""
local t = redis.call('TIME')
local due = t[1] * 1000000 + t[2] + ARGV[1]
if due > tonumber(redis.call('GET', KEYS[1]) or 0) then
  redis.call('SET', KEYS[1], string.format('%d', due), 'PX', math.max(math.ceil(ARGV[1] / 1000), 1))
end
return 0
""")
"""No turn is due for so many microseconds."""

TAKE = Script("""
local t = redis.call('TIME')
local now, me, ttl = t[1] * 1000 + math.floor(t[2] / 1000), ARGV[2], tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local waiting, held, places = redis.call('GET', KEYS[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local gives_way = waiting and waiting ~= me and (held + 1) * tonumber(ARGV[6]) > places
if gives_way or redis.call('ZCARD', KEYS[1]) >= places then
  if not gives_way then redis.call('SET', KEYS[2], me, 'PX', 1000) end
  return 0
end
if waiting == me then redis.call('DEL', KEYS[2]) end
redis.call('ZADD', KEYS[1], now + ttl, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ttl)
return 1
""")
"""Places under a lease. One that holds its share or more gives way to another that waits. Returns 1
if the place was taken."""

HOLD = Script("""
local t = redis.call('TIME')
local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], until_ms, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
""")
"""Renews the leases of places, also of those that the server has lost."""

LOOK_OR_LEAD = Script("""
local found = redis.call('GET', KEYS[1])
if found then return found end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
""")
"""The value: an answer, or the token of the process that looks for it; empty if that is now us."""

STILL_LEADS = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
"""Extends the lease of a token, or ends it with 0 milliseconds, unless something else is there."""
