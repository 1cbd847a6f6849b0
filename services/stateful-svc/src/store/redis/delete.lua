-- ARGV[4] the precondition on the tag. Returns 1; also for a session deleted before, whatever the
-- precondition. Returns nil when the caller has no such session; PRECONDITION_FAILED.
local fields = find('version', 'nonce')
if not fields then
  -- A claimed session lives on under another id.
  local deleted, claimed = unpack(redis.call('HMGET', record, 'deleted', 'claimed'))
  return deleted and not claimed and may_use(owner) and 1 or nil
end
if not allows(ARGV[4], fields[2], fields[3]) then
  touch(fields[1])
  return PRECONDITION_FAILED
end
wrote = true
-- UNLINK frees a long history in the background. A tombstone remains, so that no write can recreate
-- the session.
redis.call('UNLINK', record, messages)
redis.call('HSET', record, 'deleted', now, 'owner', owner)
if holder ~= '' or drops ~= '' then
  redis.call('HSET', record, 'holder', holder, 'drops', drops)
end
redis.call('PEXPIREAT', record, now + ARGV[2])
announce()
return 1
