local clock_ms = nil

-- The time by this node, as of the call's beginning.
local function node_ms()
  if clock_ms == nil then
    local time = redis.call('TIME')
    clock_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return clock_ms
end
