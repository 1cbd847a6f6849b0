-- KEYS[1] is a lease that nobody has had before; ARGV[1] for how long it stays when nobody ends it, in milliseconds.
-- Returns 1; 0 when somebody has had it.
return redis.call('SET', KEYS[1], 0, 'NX', 'PX', ARGV[1]) and 1 or 0
