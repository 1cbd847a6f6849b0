-- ARGV[4] the most messages, ARGV[5] the message's id, ARGV[6] its text, ARGV[7] its quote, ARGV[8] the write's nonce,
-- ARGV[9] and ARGV[10] the request's key and fingerprint or ''.
-- Returns {now, number, version, name, first, previous}, the last two nil for the first message; nil when there is no
-- such session, REFUSED when it is full, KEY_REUSED. When the message was taken before, returns {'replayed', number,
-- version, first, entries}: the entries are the message before it, if there is one, and the message.
local fields = find('count', 'version', 'name', 'first', 'last')
if not fields then
  return nil
end
local created, count, version, name, first, last = unpack(fields)
local answer = kept(ARGV[9], ARGV[10])
if answer == KEY_REUSED or (not answer and tonumber(count) >= tonumber(ARGV[4])) then
  touch(created)
  return answer or REFUSED
end
if answer then
  touch(created)
  local number, version = string.match(answer, '^(%d+):(%d+)$')
  return {'replayed', number, version, first, redis.call('LRANGE', messages, math.max(number - 2, 0), number - 1)}
end
local number = count + 1
-- The form is described in entry.rs. A bare number would be written with 14 digits at most.
redis.call('RPUSH', messages, string.format('1:%.0f:%s:%d:', now, ARGV[5], #name) .. name .. ARGV[6])
set('active', now, 'count', number, 'version', version + 1, 'nonce', ARGV[8], 'last', ARGV[7])
if not first then
  set('first', ARGV[7])
end
keep(ARGV[9], ARGV[10], number, version + 1)
touch(created)
announce()
return {now, number, version + 1, name, first, last}
