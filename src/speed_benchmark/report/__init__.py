"""What reads stored records: rows, tables, pages, comparisons."""
