-- KEYS[1] the `not_before` of a user, ARGV[1] a new one, ARGV[2] the TTL in milliseconds. Keeps the
-- later one and returns it.
local known = redis.call('GET', KEYS[1])
if known and tonumber(known) >= tonumber(ARGV[1]) then
  return known
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
