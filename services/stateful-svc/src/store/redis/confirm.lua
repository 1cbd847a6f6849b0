-- KEYS[1] is a session's record. ARGV[1] is a lease, and ARGV[2] the newest of its tickets whose copy is known to be gone.
-- Returns the drops that are left, or nil when there is no such session.
local drops = redis.call('HGET', KEYS[1], 'drops')
if not drops then
  return nil
end
local marks = {}
for of, newest in string.gmatch(drops, '(%x+):(%d+)') do
  if of ~= ARGV[1] or tonumber(newest) > tonumber(ARGV[2]) then
    marks[#marks + 1] = of .. ':' .. newest
  end
end
local left = table.concat(marks, ' ')
if left ~= drops then
  redis.call('HSET', KEYS[1], 'drops', left)
end
return left
