-- What every script knows of an entry: the header of orderctl/stores/record.py (offsets there count from 0, here from 1).
local HEADER_BYTES, STATUSES = 44, 6
local VERSION_MAX = 9007199254740991  -- where doubles, and so this script's numbers, stop being exact
local NO_TOKEN = string.rep('\0', 16)

-- The kind, version and token of the entry in `value`; nil where its bytes mean nothing, just where `decode` refuses them.
local function parse(value)
  if value == nil or #value < HEADER_BYTES or value:byte(1) ~= 1 then return nil end
  local kind, has_status, has_body = value:sub(2, 2), value:byte(3) < STATUSES, #value > HEADER_BYTES
  local version = struct.unpack('>I8', value, 5)
  if version > VERSION_MAX then return nil end
  local has_order = kind == 'R' or kind == 'T'
  if not has_order and kind ~= 'L' and kind ~= 'A' then return nil end
  if has_order ~= has_body or has_order ~= has_status then return nil end
  return kind, version, value:sub(13, 28)
end

-- The bytes at `key`; nil where there is none. A key of another type has bytes that mean nothing: an error would end the
-- script, and with it the rest of the batch.
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' then return '' end
  return value or nil
end

-- SET, unless the node is out of memory; returns whether it was done. What finds no room is as good as evicted at once.
local function set(...)
  return redis.pcall('SET', ...).ok ~= nil
end
