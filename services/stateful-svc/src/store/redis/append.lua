-- ARGV[4] the most messages, ARGV[5] the message's id, ARGV[6] its text, ARGV[7] its quote, ARGV[8] the write's nonce,
-- ARGV[9] and ARGV[10] the request's key and fingerprint or '', ARGV[11] the condition on the session's tag.
-- Returns {now, number, version, name, first, previous}, the last two nil for the first message; nil when there is no
-- such session, REFUSED when it is full, KEY_REUSED, OVERTAKEN. When the message was taken before, returns {'replayed',
-- number, version, nonce, first, entries, own}: the nonce is '' when an earlier version of this script kept the reply, the
-- entries are the message before it, if there is one, and the message; own is 1 when an earlier attempt of this very act
-- took it.
local fields = find('count', 'version', 'name', 'first', 'last', 'nonce')
if not fields then
  return nil
end
local created, count, version, name, first, last, nonce = unpack(fields)

local answer = kept(ARGV[9], ARGV[10])
if not answer and nonce == ARGV[8] then
  answer = count .. ':' .. version .. ':' .. nonce
elseif not answer and again then
  -- It may be among the messages of the last two minutes, which is longer than anybody repeats an act; but which version it
  -- made is not known any more.
  for number = count, 1, -1 do
    local at, id = string.match(redis.call('LINDEX', messages, number - 1), '^1:(%d+):([^:]*):')
    if id == ARGV[5] then
      touch(created)
      return UNSURE
    elseif tonumber(at) < now - 120000 then
      break
    end
  end
end
if not answer and not allows(ARGV[11], version, nonce) then
  answer = OVERTAKEN
elseif not answer and tonumber(count) >= tonumber(ARGV[4]) then
  answer = REFUSED
end
if type(answer) == 'number' then
  touch(created)
  return answer
end
if answer then
  touch(created)
  local number, version, made_by = string.match(answer, '^(%d+):(%d+):?(%x*)$')
  local entries = redis.call('LRANGE', messages, math.max(number - 2, 0), number - 1)
  return {'replayed', number, version, made_by, first, entries, nonce == ARGV[8] and 1 or 0}
end
wrote = true
local number = count + 1
-- The form is described in entry.rs. A bare number would be written with 14 digits at most.
redis.call('RPUSH', messages, string.format('1:%.0f:%s:%d:', now, ARGV[5], #name) .. name .. ARGV[6])
set('active', now, 'count', number, 'version', version + 1, 'nonce', ARGV[8], 'last', ARGV[7])
if not first then
  set('first', ARGV[7])
end
keep(ARGV[9], ARGV[10], number, version + 1, ARGV[8])
touch(created)
announce()
return {now, number, version + 1, name, first, last}
