-- ARGV[4] and ARGV[5] the key and fingerprint of a patch to be made, or ''. Returns {created,
-- active, count, version, revision, nonce, data, expires}; nil when there is no such session. For a
-- repeated patch returns {'replayed', created, active, count, version, expires, nonce, data} as of
-- that patch; KEY_REUSED.
local fields = find('active', 'count', 'version', 'revision', 'nonce', 'data')
if not fields then
  return nil
end
fields[8] = touch(fields[1])
local result = kept(ARGV[4], ARGV[5])
if type(result) == 'string' then
  return {'replayed', fields[1], string.match(result, '^(%d+):(%d+):(%d+):(%d+):(%x+):(.*)$')}
end
return result or fields
