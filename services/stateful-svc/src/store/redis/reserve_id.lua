-- KEYS[1] the reservation of a caller and an idempotency key, ARGV[1] the sealed id to reserve,
-- ARGV[2] the TTL in milliseconds, which a repetition renews. Returns the reserved id: the first
-- one.
local reserved = redis.call('GETEX', KEYS[1], 'PX', ARGV[2])
if reserved then
  return reserved
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
