#!lua flags=allow-oom
-- Bring each entry to a committed version, unless it is newer. Also when the node is out of memory: what is old must go.
-- KEYS: entries. ARGV, for each: the record's bytes, its time to live in ms, when its timer is to go off (Unix ms, 0 for never).
-- Returns for each what was done.
-- include entry.lua
-- include node_time.lua
-- include timer.lua
-- include apply_one.lua
local done = {}
for i, key in ipairs(KEYS) do done[i] = apply_one(key, ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]) end
return done
