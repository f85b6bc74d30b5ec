"""The truth: what orders, fills and executions are (``domain``), and where they are kept (``db``)."""
