-- An order's timer: an empty key beside its entry, `t` where that has `o`, that expires at the deadline of an open order.
--
-- It is no key of the call, though the server is told of all others: where it cannot be written (the slot is on the move, or memory
-- is out) the entry is written all the same. A timer is a hint, and a missing one is swept up.
-- Beside the timers stand lists of them, `d` and the minute for `t` and the order's id, by which `touch` finds who is due.
local TIMER_LATE_MAX_MS = 10000

local settled, begun = nil, {}

-- Whether the slot of `key` is all here. While it moves an order's timer may be at the other end: a second one at this end would
-- keep the first from moving. Then a server does nothing that asks for two keys of which one is missing.
local function is_settled(key)
  if settled == nil then settled = type(redis.pcall('EXISTS', key .. ':never', key .. ':neither')) == 'number' end
  return settled
end

-- Put the order of the entry at `key` on the list of those who are due in the minute of `at_ms`, which goes a while after it.
local function enlist(key, at_ms)
  local minute = math.floor(tonumber(at_ms) / 60000)
  local list = 'd' .. key:sub(2, -37) .. string.format('%d', minute)
  redis.pcall('ZADD', list, at_ms, key:sub(-36))
  if not begun[list] then
    redis.pcall('PEXPIREAT', list, string.format('%d', (minute + 3) * 60000))
    begun[list] = true
  end
end

-- Give the order of the entry at `key` a timer at `at_ms` (the text of a Unix time); '0' takes it away.
local function set_timer(key, at_ms)
  if not is_settled(key) then return end
  local timer = 't' .. key:sub(2)
  if at_ms == '0' then
    redis.pcall('DEL', timer)
    return
  end
  local at = tonumber(at_ms)
  -- One that is there costs a look: nothing is written, and nothing sent to replicas.
  if redis.pcall('PEXPIRETIME', timer) == at then return end
  local late_ms = node_ms() - at
  if late_ms < TIMER_LATE_MAX_MS then
    redis.pcall('SET', timer, '', 'PXAT', at_ms)
    if late_ms < 0 then enlist(key, at_ms) end
    -- A deadline that has just passed is told of at once: looking is what makes the node notice. One that is long over is not:
    -- whoever reads an old log again would pour out an event for each order that was ever open.
    if late_ms >= 0 then redis.pcall('EXISTS', timer) end
  end
end
