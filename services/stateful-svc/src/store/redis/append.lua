-- ARGV[3] the most messages, ARGV[4] the message's id, ARGV[5] its text, ARGV[6] its quote.
-- Returns {now, number, version, name, first, previous}, the last two nil for the first message; nil when there is no
-- such session, and 0 when it is full.
local fields = find('count', 'version', 'name', 'first', 'last')
if not fields then
  return nil
end
local created, count, version, name, first, last = unpack(fields)
if tonumber(count) >= tonumber(ARGV[3]) then
  touch(created)
  return 0
end
local number = count + 1
-- The form is described in entry.rs. A bare number would be written with 14 digits at most.
redis.call('RPUSH', messages, string.format('1:%.0f:%s:%d:', now, ARGV[4], #name) .. name .. ARGV[5])
redis.call('HSET', record, 'active', now, 'count', number, 'version', version + 1, 'last', ARGV[6])
if not first then
  redis.call('HSET', record, 'first', ARGV[6])
end
touch(created)
return {now, number, version + 1, name, first, last}
