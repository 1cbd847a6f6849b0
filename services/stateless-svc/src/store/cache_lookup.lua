-- KEYS[1] a generation, KEYS[2] a document. ARGV[1] the generation to begin where there is none,
-- ARGV[2] the seconds that it may wait for a document. Returns the generation, and the document if
-- it is of that.
local generation = redis.call('GET', KEYS[1])
if not generation then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
  return {ARGV[1], false}
end
local kept = redis.call('GET', KEYS[2])
if kept and string.sub(kept, 1, #generation) == generation then
  return {generation, string.sub(kept, #generation + 1)}
end
return {generation, false}
