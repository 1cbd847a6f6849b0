-- KEYS[1] a new lease, ARGV[1] its TTL in milliseconds.
-- Returns 1; 0 when the lease exists already.
return redis.call('SET', KEYS[1], 0, 'NX', 'PX', ARGV[1]) and 1 or 0
