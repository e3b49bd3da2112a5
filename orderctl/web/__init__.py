"""The asynchronous edge: HTTP in and out, requests gathered into batches."""
