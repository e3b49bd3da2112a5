"""One verb of the operator a file; each returns a value and prints nothing."""
