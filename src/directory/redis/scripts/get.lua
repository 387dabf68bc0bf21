-- Some fields.
-- KEYS[1] the directory, ARGV[1] the format, then the fields
local format = redis.call('HGET', KEYS[1], 'format')
if format ~= ARGV[1] then
  if format or redis.call('EXISTS', KEYS[1]) == 1 then return {'foreign', format or 'no format'} end
end
local out = {'ok'}
for at = 2, #ARGV do out[at] = redis.call('HGET', KEYS[1], ARGV[at]) end
return out
