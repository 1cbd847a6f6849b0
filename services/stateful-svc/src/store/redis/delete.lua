-- Returns 1, also when the session was deleted before; nil when the caller has no such session.
if not find() then
  return redis.call('HEXISTS', record, 'deleted') == 1 and may_use(owner) and 1 or nil
end
-- UNLINK frees a long history in the background. What stays is a tombstone: no write can bring the session back.
redis.call('UNLINK', record, messages)
redis.call('HSET', record, 'deleted', now, 'owner', owner)
if holder ~= '' or drops ~= '' then
  redis.call('HSET', record, 'holder', holder, 'drops', drops)
end
redis.call('PEXPIREAT', record, now + ARGV[2])
announce()
return 1
