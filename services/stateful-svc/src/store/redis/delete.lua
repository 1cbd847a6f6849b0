-- Returns 1, also when the session was deleted before; nil when the caller has no such session.
local deleted, owner = unpack(redis.call('HMGET', record, 'deleted', 'owner'))
if deleted then
  return may_use(owner) and 1 or nil
end
if not find() then
  return nil
end
-- UNLINK frees a long history in the background. What stays is a tombstone: no write can bring the session back.
redis.call('UNLINK', record, messages)
redis.call('HSET', record, 'deleted', now, 'owner', owner or '')
redis.call('PEXPIREAT', record, now + ARGV[2])
return 1
