-- KEYS[1] a session's record, ARGV[1] a lease, ARGV[2] the newest of its tickets whose copy is
-- gone. Returns the remaining drops; nil when there is no such session.
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
