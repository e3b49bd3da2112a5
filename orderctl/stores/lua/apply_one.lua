-- What *apply* does to one entry; `sync` does it, too. The numbers are places in `APPLIED` of orderctl/stores/redis.py.
local NOTHING, DELETED, FLOOR_RAISED, REPLACED, KEPT_NEWER, CONFLICT = 0, 1, 2, 3, 4, 5

-- Whether two entries hold the same: their kinds and tokens may differ, since a tentative is written before it is a record.
local function alike(one, other)
  return one:sub(3, 3) == other:sub(3, 3) and one:sub(29) == other:sub(29)
end

-- Bring the entry at `key` to what `put`, a record's bytes, holds, and its timer to `timer_at_ms`, unless the entry knows of a
-- newer version. `ttl_ms` is for where it replaces a record. Without an entry there is a timer all the same.
local function apply_one(key, put, ttl_ms, timer_at_ms)
  local _, new_version = parse(put)
  local value = get(key)
  local kind, version, token = parse(value)
  local knows_newer = kind ~= nil and kind ~= 'A' and new_version < version
  if not knows_newer then set_timer(key, timer_at_ms) end
  if kind == nil or kind == 'A' then
    if value == nil then return NOTHING end
    redis.call('DEL', key)
    return DELETED
  end
  if kind == 'L' then
    if new_version > version then
      redis.call('SET', key, value:sub(1, 4) .. put:sub(5, 12) .. value:sub(13), 'KEEPTTL')
    end
    return FLOOR_RAISED
  end
  if knows_newer then return KEPT_NEWER end
  if kind == 'T' then
    redis.call('SET', key, put:sub(1, 1) .. 'T' .. put:sub(3, 12) .. token .. put:sub(29), 'KEEPTTL')
  elseif value == put then
    -- As a rule: whoever changed the order has told the cache. Nothing is copied, and little is sent to replicas.
    redis.call('PEXPIRE', key, ttl_ms)
    return REPLACED
  else
    redis.call('SET', key, put, 'PX', ttl_ms)
  end
  if new_version == version and not alike(value, put) then return CONFLICT end
  return REPLACED
end
