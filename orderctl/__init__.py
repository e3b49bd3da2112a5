"""orderctl: the order service of a payment gateway, an operator's command line and the daemons behind it."""

__version__ = "0.1.0"
