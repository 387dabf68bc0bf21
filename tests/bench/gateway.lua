-- The yardstick for the same job on nginx: sign-in, decision, rewriting, audit.
local json = require "cjson"

local gateway = { redis_port = 6379 }
local waiting, shares = {}, { Blob = { read = true } }
for n = 1, 1000 do shares["Process_" .. n] = { read = true, create = true } end

-- Sends commands in one go over a pooled connection and gives their answers.
local function redis(commands)
  local socket = ngx.socket.tcp()
  socket:settimeout(1000)
  assert(socket:connect("127.0.0.1", gateway.redis_port))
  local wire = {}
  for _, words in ipairs(commands) do
    wire[#wire + 1] = "*" .. #words .. "\r\n"
    for _, word in ipairs(words) do wire[#wire + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n" end
  end
  assert(socket:send(wire))
  local answers = {}
  for n = 1, #commands do
    local line = assert(socket:receive())
    local size = line:match("^%$(-?%d+)")
    if size and tonumber(size) >= 0 then
      answers[n] = socket:receive(tonumber(size))
      socket:receive(2)
    elseif not size then
      answers[n] = line
    end
  end
  socket:setkeepalive(60000, 16)
  return answers
end

local function key(id)
  local known = ngx.shared.keys:get(id)
  if known then return known end
  known = redis({ { "GET", "bench:key:" .. id } })[1] or ""
  ngx.shared.keys:set(id, known, 30)
  return known
end

function gateway.decide()
  local headers = ngx.req.get_headers()
  local id, secret, subject = headers["x-access-key-id"], headers["x-access-key-secret"], headers["x-impersonate-user"]
  if type(id) ~= "string" or type(secret) ~= "string" then return ngx.exit(401) end
  local hash, account = key(id):match("^(%x+)|(.*)$")
  if not hash or ngx.md5(secret) ~= hash then return ngx.exit(401) end
  local found = ngx.re.match(ngx.var.uri, [[^/process/2/[^/]+/([^/]+)]], "jo")
  local process = found and found[1]
  local action = ngx.req.get_method() == "POST" and "create" or "read"
  ngx.ctx.record = { account = account, subject = subject, process = process, action = action }
  if not process or not shares[process] or not shares[process][action] then return ngx.exit(403) end
  if subject and not subject:find("@acme.example", 1, true) then return ngx.exit(403) end
  ngx.req.clear_header("x-access-key-id")
  ngx.req.clear_header("x-access-key-secret")
  ngx.req.clear_header("x-impersonate-user")
  if subject then ngx.req.set_header("X-Forwarded-User", subject) end
end

function gateway.record()
  local record = ngx.ctx.record or {}
  record.time, record.method, record.path, record.status = ngx.now(), ngx.req.get_method(), ngx.var.uri, ngx.status
  record.client, record.request_id = ngx.var.remote_addr, ngx.var.request_id
  waiting[#waiting + 1] = json.encode(record)
end

function gateway.ship_every(seconds)
  ngx.timer.every(seconds, function()
    local batch, commands = waiting, {}
    waiting = {}
    for _, record in ipairs(batch) do
      commands[#commands + 1] = { "XADD", "bench:audit", "MAXLEN", "~", "100000", "*", "record", record }
      if #commands == 500 then redis(commands); commands = {} end
    end
    if #commands > 0 then redis(commands) end
  end)
end

return gateway
