-- Records by an index, each with what stands beside it.
-- KEYS[1] the directory, ARGV: format, index, what record names begin with, what the names beside them begin with,
-- a record that must be there ('' for none)
local format = redis.call('HGET', KEYS[1], 'format')
if format ~= ARGV[1] then
  if format or redis.call('EXISTS', KEYS[1]) == 1 then return {'foreign', format or 'no format'} end
end
if ARGV[5] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[5]) == 0 then return {'missing'} end
local out = {'ok'}
for id in string.gmatch(redis.call('HGET', KEYS[1], ARGV[2]) or '', '%S+') do
  out[#out + 1] = redis.call('HGET', KEYS[1], ARGV[3] .. id)
  out[#out + 1] = ARGV[4] ~= '' and redis.call('HGET', KEYS[1], ARGV[4] .. id)
end
return out
