-- ARGV[3] the revision of the data that the patch was merged into, ARGV[4] the data after the patch, ARGV[5] the name in
-- it or ''.
-- Returns {created, now, count, version, expires}; nil when there is no such session, and 0 when the data has another
-- revision by now. The revision counts changes of the data alone, so messages don't disturb a patch.
local fields = find('count', 'version', 'revision')
if not fields then
  return nil
end
local created, count, version, revision = unpack(fields)
if revision ~= ARGV[3] then
  return 0
end
redis.call('HSET', record, 'active', now, 'version', version + 1, 'revision', revision + 1,
  'data', ARGV[4], 'name', ARGV[5])
return {created, now, count, version + 1, touch(created)}
