
-- What all scripts end with: whose copy of the session may be served from memory (docs/adr/0005).
--
-- ARGV's last three are the claim (look, take, write, take+write) and the sender's mark: its lease ('' when it has none)
-- and the ticket that it drew for this act. `holder` is the mark of the one copy that may be served, `drops` are marks of
-- copies that are not known to be gone.
-- Returns {now, held, owner, drops, outcome}: held is 1 when the sender may keep a copy of what it reads here.
local outcome = act()
local claim, lease, ticket = unpack(ARGV, #ARGV - 2)
local takes = lease ~= '' and string.sub(claim, 1, 4) == 'take'
local held = 0
if found and claim ~= 'look' then
  local was_holder, was_drops = holder, drops
  local left = {}
  for of, newest in string.gmatch(drops, '(%x+):(%d+)') do
    left[of] = tonumber(newest)
  end
  ticket = tonumber(ticket)
  -- What the sender had from before this act was gone before it sent it.
  if left[lease] and left[lease] < ticket then
    left[lease] = nil
  end
  local of, newest = string.match(holder, '^(%x+):(%d+)$')
  local mine = lease .. ':' .. ARGV[#ARGV]
  if of == lease and tonumber(newest) <= ticket then
    holder = mine
  elseif of and (wrote or (takes and of ~= lease)) then
    -- A stranger's copy; or the sender's own, when a later act of its own came first.
    left[of] = math.max(left[of] or 0, tonumber(newest))
    holder = takes and of ~= lease and mine or ''
  elseif takes and not of then
    holder = mine
  end
  local marks = {}
  for of, newest in pairs(left) do
    marks[#marks + 1] = string.format('%s:%.0f', of, newest)
  end
  drops = table.concat(marks, ' ')
  if holder ~= was_holder or drops ~= was_drops then
    set('holder', holder, 'drops', drops)
  end
  held = holder == mine and 1 or 0
end
if #changes > 0 then
  redis.call('HSET', record, unpack(changes))
end
return {now, held, owner, drops, outcome}
