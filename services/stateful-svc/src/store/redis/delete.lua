-- ARGV[4] the condition on the session's tag.
-- Returns 1, also when the session was deleted before, whatever the condition: what it asks for is so. Returns nil when the
-- caller has no such session, and OVERTAKEN.
local fields = find('version', 'nonce')
if not fields then
  return redis.call('HEXISTS', record, 'deleted') == 1 and may_use(owner) and 1 or nil
end
if not allows(ARGV[4], fields[2], fields[3]) then
  touch(fields[1])
  return OVERTAKEN
end
wrote = true
-- UNLINK frees a long history in the background. What stays is a tombstone: no write can bring the session back.
redis.call('UNLINK', record, messages)
redis.call('HSET', record, 'deleted', now, 'owner', owner)
if holder ~= '' or drops ~= '' then
  redis.call('HSET', record, 'holder', holder, 'drops', drops)
end
redis.call('PEXPIREAT', record, now + ARGV[2])
announce()
return 1
