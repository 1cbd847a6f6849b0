-- KEYS[1] what a user may know of. ARGV[1] a random text for a user of whom nothing is known,
-- ARGV[2] the seconds that it is kept. Returns the position, or a text that stands for an unknown
-- one.
local known = redis.call('GET', KEYS[1])
if known then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  return known
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
