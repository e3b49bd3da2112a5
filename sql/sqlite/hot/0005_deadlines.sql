-- Orders are timed out by their deadlines. The open ones are few, and the id tells the group: rows of other groups are passed over
-- without being looked at.
CREATE INDEX orders_open ON orders (deadline_at, order_id) WHERE status IN ('pending', 'processing');
