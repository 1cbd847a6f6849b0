-- KEYS[1] the failed logins of a username from an address. Returns how long to wait, milliseconds.
local wait_until = tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
local time = redis.call('TIME')
return math.max(0, wait_until - (time[1] * 1000 + math.floor(time[2] / 1000)))
