-- KEYS[1] a lease and its channel, ARGV[1] the TTL in milliseconds, ARGV[2] the message to publish.
-- Returns 1; 0 when the lease was deleted, which is final.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
