-- ARGV[4] the maximum number of messages, ARGV[5] the message's id, ARGV[6] its text, ARGV[7] its
-- quote, ARGV[8] the write's nonce, ARGV[9] and ARGV[10] the request's key and fingerprint or '',
-- ARGV[11] the precondition on the tag.
--
-- Returns {now, number, version, name, first, previous}, the last two nil for the first message;
-- nil when there is no such session; REFUSED when it is full; KEY_REUSED; PRECONDITION_FAILED. For
-- a repetition returns {'replayed', number, version, nonce, first, entries, own}. The nonce is ''
-- when an earlier version of this script kept the result. The entries are the previous message, if
-- any, and the message. own is 1 when an earlier attempt of this same operation appended it.
local fields = find('count', 'version', 'name', 'first', 'last', 'nonce')
if not fields then
  return nil
end
local created, count, version, name, first, last, nonce = unpack(fields)

local result = kept(ARGV[9], ARGV[10])
if not result and nonce == ARGV[8] then
  result = count .. ':' .. version .. ':' .. nonce
elseif not result and again then
  -- The message may be among those of the last two minutes, longer than any operation is retried.
  -- The version that it produced is not known any more.
  for number = count, 1, -1 do
    local at, id = string.match(redis.call('LINDEX', messages, number - 1), '^%d:(%d+):([^:]*):')
    if id == ARGV[5] then
      touch(created)
      return UNSURE
    elseif tonumber(at) < now - 120000 then
      break
    end
  end
end
if not result and not allows(ARGV[11], version, nonce) then
  result = PRECONDITION_FAILED
elseif not result and tonumber(count) >= tonumber(ARGV[4]) then
  result = REFUSED
end
if type(result) == 'number' then
  touch(created)
  return result
end
if result then
  touch(created)
  local number, version, made_by = string.match(result, '^(%d+):(%d+):?(%x*)$')
  local entries = redis.call('LRANGE', messages, math.max(number - 2, 0), number - 1)
  return {'replayed', number, version, made_by, first, entries, nonce == ARGV[8] and 1 or 0}
end
wrote = true
local number = count + 1
-- entry.rs describes the format. Lua would write a plain number with at most 14 digits.
redis.call('RPUSH', messages, string.format('1:%.0f:%s:%d:', now, ARGV[5], #name) .. name .. ARGV[6])
set('active', now, 'count', number, 'version', version + 1, 'nonce', ARGV[8], 'last', ARGV[7])
if not first then
  set('first', ARGV[7])
end
keep(ARGV[9], ARGV[10], number, version + 1, ARGV[8])
touch(created)
announce()
return {now, number, version + 1, name, first, last}
