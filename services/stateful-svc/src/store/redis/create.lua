-- ARGV[4] client data, ARGV[5] the name in it or '', ARGV[6] the write's nonce, ARGV[7] and ARGV[8] the request's key and
-- fingerprint or ''.
-- Returns {created, expires}, or {'replayed', created, expires, nonce} when the request was done before; REFUSED when the
-- session was deleted, KEY_REUSED, and nil when there is such a session of another request.
if redis.call('EXISTS', record) == 1 then
  local fields = find('nonce')
  if not fields then
    return redis.call('HEXISTS', record, 'deleted') == 1 and REFUSED or nil
  end
  touch(fields[1])
  if fields[2] == ARGV[6] then
    -- An earlier attempt of this very act was done: its outcome is returned, as it was kept for repetitions.
    return {fields[1], expiry_from(fields[1], fields[1])}
  end
  local answer = kept(ARGV[7], ARGV[8])
  if type(answer) ~= 'string' then
    return answer
  end
  return {'replayed', fields[1], string.match(answer, '^(%d+):(%x+)$')}
end
redis.call('HSET', record, 'owner', caller, 'created', now, 'active', now, 'count', 0, 'version', 1, 'revision', 1,
  'nonce', ARGV[6], 'data', ARGV[4], 'name', ARGV[5])
found, owner, wrote = true, caller, true
local ends = touch(now)
keep(ARGV[7], ARGV[8], string.format('%.0f', ends), ARGV[6])
return {now, ends}
