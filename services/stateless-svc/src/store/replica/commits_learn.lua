-- KEYS[1] what a user may know of. ARGV[1] what was there, ARGV[2] a position that was read later,
-- ARGV[3] the seconds that it is kept. A change meanwhile, or the loss of the key, prevents it.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
