-- ARGV[4] the revision of the data that the patch was merged into, ARGV[5] the data after the
-- patch, ARGV[6] the name in it or '', ARGV[7] the tag that the session must still have or '',
-- ARGV[8] the write's nonce, ARGV[9] and ARGV[10] the request's key and fingerprint or '', ARGV[11]
-- the maximum number of kept patches. Returns {created, active, count, version, expires}; nil when
-- there is no such session. Returns REFUSED when revision or tag have changed, or the key was used:
-- the next read tells which. The revision counts changes of the data alone, so that messages do not
-- conflict with a patch without a tag.
local fields = find('count', 'version', 'revision', 'nonce', 'active')
if not fields then
  return nil
end
local created, count, version, revision, nonce, active = unpack(fields)
local ends = touch(created)
local key, fingerprint, tag = ARGV[9], ARGV[10], version .. '-' .. nonce
if nonce == ARGV[8] then
  -- An earlier attempt of this same operation was executed: its result is returned.
  return {created, active, count, version, expiry_from(active, created)}
end
if revision ~= ARGV[4] or (ARGV[7] ~= '' and ARGV[7] ~= tag) or kept(key, fingerprint) then
  return again and key == '' and UNSURE or REFUSED
end
wrote = true
redis.call('HSET', record, 'active', now, 'version', version + 1, 'revision', revision + 1, 'nonce', ARGV[8],
  'data', ARGV[5], 'name', ARGV[6])
if key ~= '' then
  -- A kept result holds the whole data, so only the last few are kept: the newest replaces the
  -- oldest.
  local slot = 'patch:' .. redis.call('HINCRBY', record, 'patches', 1) % ARGV[11]
  local oldest = redis.call('HGET', record, slot)
  if oldest then
    redis.call('HDEL', record, 'key:' .. oldest)
  end
  redis.call('HSET', record, slot, key)
  keep(key, fingerprint, string.format('%.0f', now), count, version + 1, string.format('%.0f', ends), ARGV[8], ARGV[5])
end
announce()
return {created, now, count, version + 1, ends}
