-- ARGV[4] an owner, ARGV[5] its `not_before`. Raises that of the session, which ends the live
-- connections of older tokens. Does not reset the idle time. Returns 1; nil when the owner has no
-- such session.
local fields = redis.call('HMGET', record, 'owner', 'holder', 'drops', 'not_before', 'created')
if fields[1] ~= ARGV[4] or not fields[5] then
  return nil
end
found, owner, holder, drops, not_before = true, fields[1], fields[2] or '', fields[3] or '', fields[4] or '0'
if tonumber(not_before) < tonumber(ARGV[5]) then
  -- Copies of the session have the old one. Those are dropped as before any other write.
  wrote, not_before = true, ARGV[5]
  set('not_before', not_before)
  announce()
end
return 1
