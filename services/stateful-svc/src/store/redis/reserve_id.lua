-- KEYS[1] names what a caller creates under a key. ARGV[1] is the id to reserve there, sealed, and ARGV[2] for how long, in
-- milliseconds, also after a repetition. Returns the id that is reserved: the first one.
local reserved = redis.call('GETEX', KEYS[1], 'PX', ARGV[2])
if reserved then
  return reserved
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
