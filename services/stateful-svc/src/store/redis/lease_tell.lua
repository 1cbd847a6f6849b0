-- KEYS[1] is a lease, and the name of its channel; ARGV[1] is told on the channel.
-- A script and no bare PUBLISH, so that on a cluster it goes by way of the lease's own node, where the holder listens: what
-- is told stays in order with renewals. Returns how often the lease was renewed; nil when there is none.
redis.call('PUBLISH', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
