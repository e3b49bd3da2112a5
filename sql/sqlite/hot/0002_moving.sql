-- Final orders move to the archive, and their references are forgotten some time later.

-- The final rows, oldest first; they stay for seconds, so it is small. MySQL has no partial index: one on (status, updated_at), and
-- a UNION ALL of the four final statuses, each with the LIMIT, reads as few rows. An index holds the id as well, and the id
-- tells the group, so rows of other groups are passed over without being looked at.
CREATE INDEX orders_final ON orders (updated_at, order_id) WHERE status IN ('success', 'failed', 'cancelled', 'timeout');

CREATE INDEX order_refs_moved ON order_refs (moved_at) WHERE moved_at IS NOT NULL;
