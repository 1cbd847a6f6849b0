-- ARGV[4] and ARGV[5] the key and fingerprint of a patch that is about to be made, or ''.
-- Returns {created, active, count, version, revision, nonce, data, expires}; nil when there is no such session. When the
-- patch was made before, returns {'replayed', created, active, count, version, expires, nonce, data} as they were then,
-- or KEY_REUSED.
local fields = find('active', 'count', 'version', 'revision', 'nonce', 'data')
if not fields then
  return nil
end
fields[8] = touch(fields[1])
local answer = kept(ARGV[4], ARGV[5])
if type(answer) == 'string' then
  return {'replayed', fields[1], string.match(answer, '^(%d+):(%d+):(%d+):(%d+):(%x+):(.*)$')}
end
return answer or fields
