-- Write each where there is nothing or `absent`, if its expiry can be trusted by this node's own clock.
-- KEYS: entries. ARGV: the longest life in ms, and for each: the entry's bytes, its expiry (Unix ms), when its timer is to go off
-- (Unix ms, 0 for never). Returns 1 or 0 for each.
-- include entry.lua
-- include node_time.lua
-- include timer.lua
local now_ms = node_ms()
local latest_ms = now_ms + tonumber(ARGV[1])
local done = {}
for i, key in ipairs(KEYS) do
  local value, expires_ms = ARGV[3 * i - 1], ARGV[3 * i]
  done[i] = 0
  if tonumber(expires_ms) > now_ms and tonumber(expires_ms) <= latest_ms then
    local kind = parse(get(key))
    if (kind == nil or kind == 'A') and set(key, value, 'PXAT', expires_ms) then
      set_timer(key, ARGV[3 * i + 1])
      done[i] = 1
    end
  end
end
return done
