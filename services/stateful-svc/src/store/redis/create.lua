-- ARGV[4] client data, ARGV[5] the name in it or '', ARGV[6] the write's nonce, ARGV[7] and ARGV[8]
-- the request's key and fingerprint or '', ARGV[9] the owner's `not_before`. With restored messages,
-- ARGV[10] and ARGV[11] are the quotes of the first and the last one, and the others are their
-- entries without the beginning. Returns {created, expires}; {'replayed', created,
-- expires, nonce} for a repetition; REFUSED when the session was deleted; KEY_REUSED; nil when
-- another request created the session.
if redis.call('EXISTS', record) == 1 then
  local fields = find('nonce')
  if not fields then
    return redis.call('HEXISTS', record, 'deleted') == 1 and REFUSED or nil
  end
  touch(fields[1])
  if fields[2] == ARGV[6] then
    -- An earlier attempt of this same operation was executed: its result is returned.
    return {fields[1], expiry_from(fields[1], fields[1])}
  end
  local result = kept(ARGV[7], ARGV[8])
  if type(result) ~= 'string' then
    return result
  end
  return {'replayed', fields[1], string.match(result, '^(%d+):(%x+)$')}
end
-- The last three are for claim.lua.
local count = math.max(#ARGV - 3 - 11, 0)
redis.call('HSET', record, 'owner', caller, 'created', now, 'active', now, 'count', count, 'version', 1, 'revision', 1,
  'nonce', ARGV[6], 'data', ARGV[4], 'name', ARGV[5])
if count > 0 then
  redis.call('HSET', record, 'first', ARGV[10], 'last', ARGV[11])
  for i = 12, 11 + count do
    redis.call('RPUSH', messages, string.format('2:%.0f:', now) .. ARGV[i])
  end
end
if ARGV[9] ~= '0' then
  not_before = ARGV[9]
  redis.call('HSET', record, 'not_before', not_before)
end
found, owner, wrote = true, caller, true
local ends = touch(now)
keep(ARGV[7], ARGV[8], string.format('%.0f', ends), ARGV[6])
return {now, ends}
