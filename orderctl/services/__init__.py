"""What the daemons do, as synchronous code over the store Protocols."""
