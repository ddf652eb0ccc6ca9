"""What people see: the line while it runs, and the tables after it."""
