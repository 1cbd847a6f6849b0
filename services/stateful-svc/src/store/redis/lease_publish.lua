-- KEYS[1] a lease and its channel, ARGV[1] the message to publish. A script instead of a plain
-- PUBLISH: on a Cluster it runs on the lease's own node, to which the holder is subscribed. So
-- messages stay in order with renewals. Returns the number of renewals; nil when there is no such
-- lease.
redis.call('PUBLISH', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
