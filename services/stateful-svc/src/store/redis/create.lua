-- ARGV[3] client data, ARGV[4] the name in it or ''.
-- Returns {created, expires}; nil when there is such a session already.
if redis.call('EXISTS', record) == 1 then
  return nil
end
redis.call('HSET', record, 'created', now, 'active', now, 'count', 0, 'version', 1, 'revision', 1,
  'data', ARGV[3], 'name', ARGV[4])
return {now, touch(now)}
