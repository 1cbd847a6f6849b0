-- KEYS[1] is a lease, and the name of its channel; ARGV[1] as in lease_take.lua; ARGV[2] is told on the channel.
-- Returns 1; 0 when the lease was ended: it never comes back.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
