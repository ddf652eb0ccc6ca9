"""The parent: plan what is asked for, measure what is missing, store each record at once."""
