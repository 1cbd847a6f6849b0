-- KEYS[1] a generation, KEYS[2] a document. ARGV[1] the generation that was there before the
-- document was read, ARGV[2] the document, ARGV[3] the seconds that it is kept, ARGV[4] those of
-- the generation. Returns whether it is stored: a write, or the loss of the generation, prevents it.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1] .. ARGV[2], 'EX', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
