"""What is measured, and with what: the clock, the memory, the machine."""
