"""What a dashboard must hold to: queries that parse, labels that exist, variables that are defined, links that
lead somewhere."""
