-- Gives a session without owner to the caller, under a new id. KEYS[3] and KEYS[4] are record and
-- messages of the new id, in the same slot. ARGV[4] the sealed new id, or '' to look only, ARGV[5]
-- the precondition on the tag, ARGV[6] and ARGV[7] the request's key and fingerprint or '', ARGV[8]
-- the write's nonce, ARGV[9] the owner's `not_before`.
--
-- Returns {'adopted', sealed id}; {'replayed', sealed id} when the caller adopted it before;
-- {'own', ''} when the session is the caller's under its present id; {'free', ''} when ARGV[4] is
-- ''; nil when the caller has no such session; PRECONDITION_FAILED; KEY_REUSED.
local fields = find('version', 'nonce')
if not fields then
  local sealed = redis.call('HGET', record, 'claimed')
  if not sealed or caller == '' or owner ~= caller then
    return nil
  end
  -- An earlier attempt of this same operation, or an earlier request.
  return sealed == ARGV[4] and {'adopted', sealed} or {'replayed', sealed}
end
local created, version, nonce = unpack(fields)
local ends = touch(created)
if owner ~= '' then
  return {'own', ''}
end
if kept(ARGV[6], ARGV[7]) then
  return KEY_REUSED
end
if not allows(ARGV[5], version, nonce) then
  return PRECONDITION_FAILED
end
if ARGV[4] == '' then
  return {'free', ''}
end
wrote = true
local new = KEYS[3]
redis.call('RENAME', record, new)
if redis.call('EXISTS', messages) == 1 then
  redis.call('RENAME', messages, KEYS[4])
end
redis.call('HSET', new, 'owner', caller, 'active', now, 'version', version + 1, 'nonce', ARGV[8])
redis.call('HDEL', new, 'holder', 'drops')
if ARGV[9] ~= '0' then
  redis.call('HSET', new, 'not_before', ARGV[9])
end
if ARGV[6] ~= '' then
  redis.call('HSET', new, 'key:' .. ARGV[6], ARGV[7] .. ':')
end
redis.call('PEXPIREAT', new, ends)
-- A tombstone as after a delete, which also answers repetitions. It names the copies of the old id
-- that are still to be dropped.
redis.call('HSET', record, 'deleted', now, 'owner', caller, 'claimed', ARGV[4])
if holder ~= '' or drops ~= '' then
  redis.call('HSET', record, 'holder', holder, 'drops', drops)
end
redis.call('PEXPIREAT', record, now + ARGV[2])
announce()
return {'adopted', ARGV[4]}
