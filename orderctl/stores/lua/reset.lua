#!lua flags=allow-oom
-- One step of dropping a group: delete what is found among some of the slot's keys; the step that has seen all of them sets
-- the mark. KEYS: the group's mark, and a key that never exists: while the slot moves from node to node, when each sees
-- only some of its keys, a missing one of two makes the server answer TRYAGAIN instead of running this.
-- ARGV: the mark, the beginning of the entries' names, how many keys to look at.
-- Returns how many were deleted, 1 if that was all, and how many keys to look at next.
local mark, prefix, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local keys = redis.call('CLUSTER', 'GETKEYSINSLOT', redis.call('CLUSTER', 'KEYSLOT', KEYS[1]), count)
local found, dropped = 0, 0
for _, key in ipairs(keys) do
  -- Other groups and timers share the slot.
  if key:sub(1, #prefix) == prefix then
    found = found + 1
    dropped = dropped + redis.call('UNLINK', key)
  end
end
if #keys < count then
  redis.call('SET', KEYS[1], mark)
  return {dropped, 1, count}
end
-- The same keys are listed first each time: where most of them are not this group's entries, only more of them help. So the last
-- step looks at all of its timers, which stay: some 2 µs each, and one reason to have many groups.
return {dropped, 0, found * 2 < count and count * 2 or count}
