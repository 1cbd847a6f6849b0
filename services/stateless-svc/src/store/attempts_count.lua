-- KEYS[1] the failed logins of a username from an address. ARGV[1] the first failure with a wait,
-- ARGV[2] that wait, ARGV[3] the longest, ARGV[4] when the failures are forgotten: milliseconds.
local count = redis.call('HINCRBY', KEYS[1], 'count', 1)
if count >= tonumber(ARGV[1]) then
  local wait = math.min(ARGV[2] * 2 ^ (count - ARGV[1]), tonumber(ARGV[3]))
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + wait))
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
