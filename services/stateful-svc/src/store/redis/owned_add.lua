-- KEYS[1] the index of an owner's sessions: a hash whose fields are digests of sessions. KEYS[2] the
-- owner's `not_before`. ARGV[1] a session, ARGV[2] its affinity key, ARGV[3] the maximum number of
-- entries, ARGV[4] the TTL of the index in milliseconds. Returns `not_before`, '0' for none; nil
-- when the index is full.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return nil
end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
-- A repeated create renews the time, so that no reader takes its entry for that of a session that
-- never came to be.
redis.call('HSET', KEYS[1], ARGV[1], now .. ':' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return redis.call('GET', KEYS[2]) or '0'
