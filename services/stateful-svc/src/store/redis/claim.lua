
-- The end of all scripts: which copy of the session may be served from memory (docs/adr/0005).
--
-- The last three of ARGV are the claim (look, take, write, take+write) and the sender's mark: its
-- lease ('' when it has none) and the fencing ticket of this operation. `holder` is the mark of the
-- one copy that may be served, `drops` are the marks of copies that may still exist. Returns {now,
-- held, owner, drops, not_before, outcome}: held is 1 when the sender may keep a copy of the result.
local outcome = operation()
if is_revoked then
  -- It shows nothing of the session, so it need not wait for copies.
  return {now, 0, owner, '', not_before, REVOKED}
end
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
  -- The sender dropped its earlier copy before it sent this operation.
  if left[lease] and left[lease] < ticket then
    left[lease] = nil
  end
  local of, newest = string.match(holder, '^(%x+):(%d+)$')
  local mine = lease .. ':' .. ARGV[#ARGV]
  if of == lease and tonumber(newest) <= ticket then
    holder = mine
  elseif of and (wrote or (takes and of ~= lease)) then
    -- Another instance's copy; or the sender's own, when a later operation of it was executed
    -- first.
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
return {now, held, owner, drops, not_before, outcome}
