"""What came out: records, their store, their statistics and their verdicts."""
