-- What signing in needs of one key: its record and its account's, and the version they hold at.
-- KEYS[1] the directory, ARGV[1] the format, ARGV[2] the key id
local got = redis.call('HMGET', KEYS[1], 'format', 'version', 'key:' .. ARGV[2])
if got[1] ~= ARGV[1] then
  if got[1] or redis.call('EXISTS', KEYS[1]) == 1 then return {'foreign', got[1] or 'no format'} end
  return {'ok', '0', false, false}
end
if not got[3] then return {'ok', got[2], false, false} end
local read, key = pcall(cjson.decode, got[3])
if not read or type(key) ~= 'table' or type(key.account) ~= 'string' then return {'ok', got[2], got[3], false} end
return {'ok', got[2], got[3], redis.call('HGET', KEYS[1], 'account:' .. key.account)}
