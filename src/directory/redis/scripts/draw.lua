-- Draws requests from quotas that a fleet shares. A quota fills up evenly, by this server's clock, and holds as many
-- requests as a minute gives. It can be owed: what was let through before it was drawn is paid back, a minute's worth
-- at most.
-- KEYS the quotas, ARGV[1] requests a minute, then for each quota: let through without having been drawn, drawn but
-- not used, wanted
-- Each quota answers with what was drawn, and what is left, in thousandths of a request.
local most = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local out = {'ok'}
for number, quota in ipairs(KEYS) do
  local left, kept = most, redis.call('GET', quota)
  if kept then
    local before, since = string.match(kept, '^(%-?[%d.]+) (%d+)$')
    if not before then return {'foreign', quota} end
    left = math.min(most, before + math.max(0, now - since) * most / 60000)
  end
  local owed, unused, wanted = tonumber(ARGV[number * 3 - 1]), tonumber(ARGV[number * 3]), tonumber(ARGV[number * 3 + 1])
  left = math.max(-most, math.min(most, left - owed + unused))
  -- Nobody takes more than half, so that the last ones stay for whoever comes first.
  local drawn = math.min(wanted, math.max(0, math.floor(left / 2)))
  left = left - drawn
  redis.call('SET', quota, string.format('%.6f %.0f', left, now), 'PX', 120000)
  out[#out + 1] = drawn
  out[#out + 1] = math.floor(left * 1000)
end
return out
